"""pass@k of result counts with an interval, and the comparison of two policies on the same problems.

Both take the counts that result files keep: n samples of a problem, c of them correct.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from crlhf.evaluation.intervals import (
    Interval,
    mcnemar,
    minimum_detectable_difference,
    paired_bootstrap,
    score_interval,
)
from crlhf.evaluation.pass_at_k import PassCount, pass_at_k_per_problem

Counts = Mapping[str, PassCount]
"""n and c of each problem, by problem_id."""


class Bootstrap(NamedTuple):
    """How intervals are made: resamples, coverage, seed."""

    n: int = 10_000
    confidence: float = 0.95
    seed: int = 0


class Comparison(NamedTuple):
    """The second policy against the first, at one k.

    Attributes:
        difference: mean over problems of pass@k of the second less the first, with its paired interval.
        n_gained: problems of which the second solved a larger share of samples than the first.
        n_lost: of which it solved a smaller share.
        mcnemar_p: of the exact test; None unless both have one sample a problem.
        minimum_detectable_difference: what a comparison like this one would see with power 0.8.
        assumption: what that rests on.
    """

    difference: Interval
    n_gained: int
    n_lost: int
    mcnemar_p: float | None
    minimum_detectable_difference: float
    assumption: str


def score(counts: Counts, k: int, bootstrap: Bootstrap) -> Interval:
    """Mean pass@k over problems with its interval over problems; see `intervals.score_interval`.

    Raises:
        ValueError: there is no problem, or one has fewer than k samples.
    """
    return score_interval(pass_at_k_per_problem(counts.values(), k), *bootstrap)


def too_few_samples(counts: Counts, k: int) -> list[str]:
    """The problems that pass@k is refused for: those with fewer than k samples."""
    return [problem_id for problem_id, count in counts.items() if count.n < k]


def compare(first: Counts, second: Counts, k: int, bootstrap: Bootstrap) -> Comparison:
    """Compare two policies on the problems of `first`; see `Comparison`.

    Raises:
        ValueError: the problems differ, are fewer than two, or one has fewer than k samples.
    """
    if first.keys() != second.keys():
        raise ValueError("a paired comparison needs the same problems on both sides")
    pairs = [(count, second[problem_id]) for problem_id, count in first.items()]
    a, b = (pass_at_k_per_problem([pair[side] for pair in pairs], k) for side in (0, 1))
    detectable = minimum_detectable_difference([y - x for x, y in zip(a, b, strict=True)])
    shares = [y.c * x.n - x.c * y.n for x, y in pairs]
    is_single = all(x.n == y.n == 1 for x, y in pairs)
    test = mcnemar([x.c == 1 for x, _ in pairs], [y.c == 1 for _, y in pairs]) if is_single else None
    return Comparison(
        paired_bootstrap(a, b, *bootstrap),
        sum(share > 0 for share in shares),
        sum(share < 0 for share in shares),
        test.p_value if test else None,
        detectable.difference,
        detectable.assumption,
    )


def mean_over_models(counts: Sequence[Counts], k: int) -> list[float]:
    """The mean of several models' pass@k on each problem, by the first model's order of problems.

    Raises:
        ValueError: there is no model, the problems differ, or one has fewer than k samples.
    """
    problems = list(counts[0]) if counts else []
    if not problems or any(set(problems) != set(one) for one in counts):
        raise ValueError("a mean over models needs the same problems for all of them")
    values = [pass_at_k_per_problem([one[problem_id] for problem_id in problems], k) for one in counts]
    return [sum(column) / len(column) for column in zip(*values, strict=True)]
