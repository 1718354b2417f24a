"""What the references of HumanEval+ and MBPP+ return. Has effects by nature: runs them in a process of its own.

References come with the benchmark's file and are trusted as its tests are. `main` is that process: it reads a problem a
line and answers a line, in the sandbox's encoding of values.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

from crlhf.errors import InputError
from crlhf.evaluation.plus_files import Answers, PlusProblem
from crlhf.evaluation.sandbox import wire

_SOURCE = str(Path(__file__).resolve().parents[2])
_BOOT = "import sys; sys.path.insert(0, sys.argv.pop(1)); from crlhf.evaluation.ground_truth import main; main()"


def reference_answers(problems: Iterable[PlusProblem]) -> Iterator[Answers]:
    """The answers of each problem's reference, in order, as they come.

    Raises:
        InputError: a reference fails on an input, or returns what cannot be compared.
    """
    command = [sys.executable, "-I", "-W", "ignore", "-c", _BOOT, _SOURCE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for problem in problems:
            job = problem._asdict() | {"inputs": wire.encode(problem.inputs, _refuse), "not_none": problem.is_not_none}
            process.stdin.write(json.dumps(job) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
            answer: dict[str, Any] = json.loads(line) if line.endswith("\n") else {"error": "its process ended"}
            if "error" in answer:
                raise InputError(f"{problem.problem_id}: the reference cannot be run: {answer['error']}")
            yield Answers(wire.decode(answer["values"], _refuse), answer["seconds"])
        process.stdin.close()


def run_reference(job: dict[str, Any]) -> dict[str, Any]:
    """The answers for one problem, encoded, or what went wrong."""
    space: dict[str, Any] = {}
    values: dict[str, list[Any]] = {}
    seconds: dict[str, list[float]] = {}
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(job["reference"], space)
            function = space[job["entry_point"]]
            for kind, inputs in wire.decode(job["inputs"], _refuse).items():
                values[kind], seconds[kind] = [], []
                for arguments in inputs:
                    given = deepcopy(arguments)
                    started = time.perf_counter()
                    value = function(*given)
                    seconds[kind].append(time.perf_counter() - started)
                    values[kind].append(value is not None if job["not_none"] else value)
        return {"values": wire.encode(values, _refuse), "seconds": seconds}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"[:200]}


def main() -> None:
    """Entry point of the process."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    for line in sys.stdin:
        print(json.dumps(run_reference(json.loads(line))), file=answers, flush=True)


def _refuse(value: Any) -> Any:
    raise wire.WireError(f"a value of type {type(value).__name__} cannot be compared")
