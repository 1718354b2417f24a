"""How often the rules for wrong lines find the line that is wrong, measured where it is known.

Single faults are injected into programs that pass, kept when running proves them, and handed to `find_wrong_lines` as
if nobody knew the line. Two variants are told apart:

- `with_original`: the program the fault was injected in is among the passing programs. An upper bound: a real
  completion is not one slip away from a program at hand.
- `without_original`: it is not, nor any program that differs from it in layout and names only. This is what to expect.

Notation: of `F` faults, the marked lines are exactly the true one in `exact` of them; of the marked lines the share
`precision` is truly wrong; `recall` is the share of faults whose line is marked; `noise` is the share of all judgeable
lines whose label is wrong. Intervals are Wilson's (doi:10.1080/01621459.1927.10502953), at 95 %, and take lines of one
program for independent, so those of precision and noise are somewhat too narrow.

Edge: injected faults parse, so the rule `syntax` and programs that break off are not covered.

Departs from the paper: it has no simulated truth.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from crlhf.crowd.alignment import align
from crlhf.crowd.faults import inject_faults
from crlhf.crowd.honeypots import Run
from crlhf.crowd.wrong_lines import WrongLines, find_wrong_lines
from crlhf.languages import Fault, get_language
from crlhf.lines import sha256_text
from crlhf.schema import Verdict, program_of

Z_95 = 1.959963984540054
_RATES = (("exact", "n_exact", "n_faults"), ("precision", "n_found", "n_marked"), ("recall", "n_found", "n_faults"))


class Interval(NamedTuple):
    """A share with the ends of its 95 % interval."""

    value: float
    low: float
    high: float


class LabelNoise(NamedTuple):
    """The measurement.

    `table` has one row per variant and method (`all` for all of them): counts `n_faults, n_exact, n_found, n_marked,
    n_lines, n_mislabelled`, and `exact, precision, recall, noise`, each with `_low` and `_high`. `notes` say what could
    not be measured.
    """

    table: pd.DataFrame
    n_wanted: int
    n_faults: int
    notes: tuple[str, ...]


class _Case(NamedTuple):
    """A proved fault: the problem, the program it was injected in, and what running it showed."""

    problem: dict[str, Any]
    base: str
    fault: Fault
    verdict: Verdict


def wilson(n_successes: int, n: int) -> Interval:
    """Share of successes with Wilson's 95 % interval; all three are NaN when `n` is 0.

    (p + z^2/2n +- z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n), doi:10.1080/01621459.1927.10502953.
    """
    if n == 0:
        return Interval(math.nan, math.nan, math.nan)
    p, z2 = n_successes / n, Z_95**2
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z_95 * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return Interval(p, max(0.0, middle - half), min(1.0, middle + half))


def label_noise(
    problems: pd.DataFrame, run: Run, seed: int, n: int, passing: Mapping[str, Sequence[str]] | None = None
) -> LabelNoise:
    """Measure the rules for wrong lines on up to `n` injected faults, spread over problems and kinds.

    Args:
        problems: problems under PROBLEMS whose prompt is a description; others are left out.
        run: runs programs against tests.
        seed: of the draws.
        n: how many proved faults to measure on.
        passing: problem_id -> completions that passed; without any, `without_original` cannot be measured.
    """
    rows = [dict(row) for _, row in problems.iterrows() if row["kind"] == "description"]
    known: dict[str, list[str]] = {}
    for row in rows:
        known[row["problem_id"]] = sorted({row["reference"], *(passing or {}).get(row["problem_id"], ())})
    cases = _prove_faults(rows, known, run, seed, n)
    found: list[dict[str, Any]] = []
    for case in cases:
        programs = known[case.problem["problem_id"]]
        others = [program for program in programs if not _is_same(program, case.base, case.problem)]
        found.append(_outcome("with_original", case, programs))
        if others:
            found.append(_outcome("without_original", case, others))
    notes = [f"{n} faults were asked for and {len(cases)} could be proved"] if len(cases) < n else []
    if cases and not any(row["variant"] == "without_original" for row in found):
        notes.append("no problem has two passing programs, so nothing is known of alignment without the original")
    return LabelNoise(_table(found), n, len(cases), tuple(notes))


def _prove_faults(
    rows: list[dict[str, Any]], known: Mapping[str, Sequence[str]], run: Run, seed: int, n: int
) -> list[_Case]:
    """Up to `n` faults that fail or raise when run, problems and programs taking turns."""
    queues = []
    for row in rows:
        for base in known[row["problem_id"]]:
            rng = np.random.default_rng([seed, int(sha256_text(f"{row['problem_id']}\n{base}")[:16], 16)])
            queues.append([(row, base, fault) for fault in inject_faults(base, rng, n, get_language(row["language"]))])
    queues = [queues[i] for i in np.random.default_rng(seed).permutation(len(queues))]
    waiting = [queue[turn] for turn in range(max(map(len, queues), default=0)) for queue in queues if turn < len(queue)]
    cases: list[_Case] = []
    while waiting and len(cases) < n:
        batch, waiting = waiting[: n - len(cases)], waiting[n - len(cases) :]
        programs = [program_of(row, fault.code, f"fault-{i}") for i, (row, _, fault) in enumerate(batch)]
        verdicts = {verdict.program_id: verdict for verdict in run(programs)}
        for program, (row, base, fault) in zip(programs, batch, strict=True):
            verdict = verdicts.get(program.program_id)
            if verdict is not None and verdict.verdict in ("fail", "error"):
                cases.append(_Case(row, base, fault, verdict))
    return cases


def _is_same(program: str, base: str, problem: dict[str, Any]) -> bool:
    """True when two programs differ at most in layout and in names."""
    return align(program, base, problem["entry_point"], get_language(problem["language"])).similarity == 1


def _outcome(variant: str, case: _Case, others: Sequence[str]) -> dict[str, Any]:
    """Counts of one case under one variant."""
    fault = case.fault
    language, entry_point = get_language(case.problem["language"]), case.problem["entry_point"]
    wrong: WrongLines = find_wrong_lines(fault.code, case.verdict, "stop", others, entry_point, language)
    is_found = fault.line_no in wrong.line_nos
    return {
        "variant": variant,
        "method": wrong.method,
        "n_faults": 1,
        "n_exact": int(wrong.line_nos == (fault.line_no,)),
        "n_found": int(is_found),
        "n_marked": len(wrong.line_nos),
        "n_lines": len(language.judgeable_lines(fault.code)),
        "n_mislabelled": len(wrong.line_nos) + 1 - 2 * int(is_found),
    }


def _table(found: list[dict[str, Any]]) -> pd.DataFrame:
    """Sums and rates per variant and method, and per variant over `all` methods."""
    counts = ["n_faults", "n_exact", "n_found", "n_marked", "n_lines", "n_mislabelled"]
    frame = pd.DataFrame(found, columns=["variant", "method", *counts])
    sums = pd.concat([frame.assign(method="all"), frame]).groupby(["variant", "method"], as_index=False)[counts].sum()
    for name, numerator, denominator in (*_RATES, ("noise", "n_mislabelled", "n_lines")):
        intervals = [wilson(int(a), int(b)) for a, b in zip(sums[numerator], sums[denominator], strict=True)]
        for part in Interval._fields:
            column = name if part == "value" else f"{name}_{part}"
            sums[column] = pd.Series([getattr(interval, part) for interval in intervals], dtype="float64")
    return sums
