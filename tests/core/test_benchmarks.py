"""Benchmarks print tables that nothing else reads: the quick ones run here in small, so that they do not rot."""

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


def table(*words):
    answer = subprocess.run([sys.executable, *map(str, words)], cwd=FOLDER, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr[-2000:]
    return answer.stdout.splitlines()


def test_the_page_under_a_small_load_loses_nothing():
    header, row = table("page.py", "--annotators", 3, "--seconds", 1, "--pause", 0)[-2:]
    found = dict(zip(header.split()[-3:], map(int, row.split()[-3:]), strict=True))
    assert found["accepted"] > 0
    assert (found["lost"], found["refused"]) == (0, 0)


def test_the_speed_of_aggregation_is_printed_without_crowd_kit():
    lines = table("aggregation.py", "speed", "--labels", 2000, "--annotators", 20)
    assert [line.split(",")[0].strip() for line in lines[-3:]] == ["dawid_skene", "one_coin", "crlhf aggregate"]


@pytest.mark.parametrize("name", ["generation", "lookalikes", "ppo", "rounds", "sandbox", "verdicts"])
def test_the_longer_ones_say_how_they_are_called(name):
    assert table(f"{name}.py", "--help")[0].startswith(f"usage: {name}.py")
