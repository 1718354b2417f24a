"""A runner of programs for these tests: one fresh interpreter a batch, trusted programs only."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import pytest

from crlhf.schema import Program, Verdict

CHILD = r"""
import io, json, signal, sys, traceback

def stop(*_):
    raise TimeoutError("deadline")

def line_of(error):
    found = None
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename == "<program>":
            found = frame.lineno
    return found

def verdict(code, setup_code, tests):
    space = {"__name__": "program"}
    try:
        exec(compile(code, "<program>", "exec"), space)
        exec(setup_code, space)
    except SyntaxError as error:
        return "error", f"SyntaxError: {error.msg}", error.lineno, None
    except Exception as error:
        return "error", repr(error), line_of(error), None
    for number, test in enumerate(tests):
        try:
            exec(test, space)
        except AssertionError:
            return "fail", f"test {number} failed", None, number
        except TimeoutError:
            raise
        except Exception as error:
            return "error", type(error).__name__ + ": " + str(error), line_of(error), number
    return "pass", "", None, None

signal.signal(signal.SIGALRM, stop)
out = sys.stdout
sys.stdout = io.StringIO()
answers = []
for code, setup_code, tests in json.load(sys.stdin):
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        answers.append(verdict(code, setup_code, tests))
    except TimeoutError:
        answers.append(("timeout", "deadline", None, None))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
json.dump(answers, out)
"""


def run_programs(programs: list[Program]) -> list[Verdict]:
    """Run each program in a child interpreter; verdicts in the order given."""
    question = json.dumps([(program.code, program.setup_code, program.tests) for program in programs])
    child = subprocess.run(
        [sys.executable, "-I", "-c", CHILD], input=question, capture_output=True, text=True, timeout=120, check=True
    )
    return [
        Verdict(program.program_id, verdict, reason, line_no, failed_test_no, "none", 0.0)
        for program, (verdict, reason, line_no, failed_test_no) in zip(programs, json.loads(child.stdout), strict=True)
    ]


@pytest.fixture(name="run")
def runner() -> Callable[[list[Program]], list[Verdict]]:
    return run_programs
