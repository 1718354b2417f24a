import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from crlhf.evaluation.problems import load_starter
from crlhf.languages.python import judgeable_lines

STARTER = Path(__file__).resolve().parents[2] / "data" / "starter" / "problems.jsonl"

# Reads problems from standard input, runs each test in its own namespace, prints what went wrong.
RUNNER = """
import json, sys
broken = []
for problem_id, program, setup_code, tests in json.load(sys.stdin):
    for number, test in enumerate(tests):
        space = {}
        try:
            exec(program, space)
            exec(setup_code, space)
            exec(test, space)
        except Exception as error:
            broken.append([problem_id, number, repr(error)])
json.dump(broken, sys.stdout)
"""


@pytest.fixture(scope="module")
def starter():
    return load_starter(STARTER)


def run_tests(rows):
    answer = subprocess.run(
        [sys.executable, "-I", "-c", RUNNER],
        input=json.dumps(rows),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return json.loads(answer.stdout)


def test_every_reference_passes_its_own_tests(starter):
    columns = ("problem_id", "reference", "setup_code", "tests")
    assert run_tests(list(zip(*(starter[name] for name in columns), strict=True))) == []


def test_every_test_needs_the_reference_to_do_something(starter):
    # a program that returns None everywhere, or whose class has no methods, must not pass all tests of any problem
    rows = []
    for row in starter.itertuples():
        kind = "class" if f"class {row.entry_point}" in row.reference else "def"
        empty = f"class {row.entry_point}:\n    pass\n" if kind == "class" else f"{row.entry_point} = lambda *a: None\n"
        rows.append([row.problem_id, empty, row.setup_code, row.tests])
    assert {problem_id for problem_id, _, _ in run_tests(rows)} == set(starter["problem_id"])


def test_set_is_large_varied_and_numbered_in_order():
    rows = [json.loads(line) for line in STARTER.read_text(encoding="utf-8").splitlines()]
    assert [row["number"] for row in rows] == list(range(1, len(rows) + 1))
    assert len(rows) >= 64
    topics = Counter(topic for row in rows for topic in row["topics"])
    wanted = {
        "strings", "lists", "dicts", "numbers", "recursion", "parsing", "dates", "sets", "sorting", "classes",
    }  # fmt: skip
    assert set(topics) == wanted
    assert min(topics.values()) >= 4
    first = {topic for row in rows[:16] for topic in row["topics"]}
    assert first >= wanted - {"sets"}
    assert len({row["entry_point"] for row in rows}) == len({row["description"] for row in rows}) == len(rows)


def test_tests_of_a_problem_differ_and_references_are_short(starter):
    for row in starter.itertuples():
        assert len(set(row.tests)) == len(row.tests) >= 5, row.problem_id
        assert len(judgeable_lines(row.reference)) <= 12, row.problem_id
