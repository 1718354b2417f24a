"""Intervals of a score over problems, and comparisons of two policies on the same problems.

Legend: `N` problems, `x_i` the value of problem i (its pass@k). Problems are the unit of resampling: samples of one
problem are not independent, and a benchmark is read as a sample of the problems that one could have written.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Values = Sequence[float] | npt.NDArray[np.float64]
_BLOCK = 2_000_000  # resampled values held at a time


class Interval(NamedTuple):
    """A value with the two ends of its interval."""

    value: float
    low: float
    high: float


class McNemar(NamedTuple):
    """Discordant problems of two policies and the exact two-sided p-value."""

    n_only_first: int
    n_only_second: int
    p_value: float


class DetectableDifference(NamedTuple):
    """The smallest difference that would be seen, and what it rests on, in words for a report."""

    difference: float
    assumption: str


def bootstrap_mean(values: Values, n_bootstrap: int, confidence: float, seed: int) -> Interval:
    """Mean of `values` with its percentile bootstrap interval over problems.

    Draws N problems with replacement `n_bootstrap` times; the ends are the (1 -+ confidence) / 2 quantiles of the
    means (Efron & Tibshirani 1993, chapter 13). The quantiles interpolate linearly.

    Args:
        values: one value a problem, (N,).
        n_bootstrap: number of resamples.
        confidence: coverage, for example 0.95.
        seed: the same seed gives the same interval.

    Raises:
        ValueError: there are no values, or one is not finite.

    Departs from the paper: the paper gives no intervals.
    """
    x = _finite(values)
    means = _resampled_means(x, n_bootstrap, seed)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(x.mean()), float(low), float(high))


def score_interval(values: Values, n_bootstrap: int, confidence: float, seed: int) -> Interval:
    """`bootstrap_mean` of scores in [0, 1], with an honest interval where all problems agree.

    When every problem scored the same v, each resample is the sample itself and the bootstrap has no width. Up to the
    share u = 1 - (alpha/2)^(1/N) of problems could behave otherwise although none of N did (Clopper-Pearson,
    doi:10.1093/biomet/26.4.404, alpha = 1 - confidence); were those all 0 or all 1, the mean would be one of the ends
    [v (1 - u), v + (1 - v) u]. For v = 0 and v = 1 that is the exact interval of 0 or N successes in N trials.
    """
    x = _finite(values)
    if (x == x[0]).all():
        value, unseen = float(x[0]), _unseen_share(len(x), confidence)
        return Interval(value, value * (1 - unseen), value + (1 - value) * unseen)
    return bootstrap_mean(x, n_bootstrap, confidence, seed)


def _unseen_share(n: int, confidence: float) -> float:
    """The largest share of problems that could behave otherwise although none of `n` did: 1 - (alpha/2)^(1/n)."""
    return float(1 - ((1 - confidence) / 2) ** (1 / n))


def paired_bootstrap(first: Values, second: Values, n_bootstrap: int, confidence: float, seed: int) -> Interval:
    """Mean of `second - first` with its bootstrap interval over problems that both policies answered.

    The problem is resampled with both its values, so what makes a problem hard cancels out. Where no problem changed
    the bootstrap has no width; the ends are then plus and minus the share of problems that could have changed unseen.

    Raises:
        ValueError: the lengths differ, there are no values, or one is not finite.
    """
    a, b = _finite(first), _finite(second)
    if len(a) != len(b):
        raise ValueError(f"a paired comparison needs the same problems on both sides, got {len(a)} and {len(b)}")
    if (a == b).all():
        unseen = _unseen_share(len(a), confidence)
        return Interval(0.0, -unseen, unseen)
    return bootstrap_mean(b - a, n_bootstrap, confidence, seed)


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> McNemar:
    """McNemar's exact test that two policies solve the same share of problems.

    Under the null hypothesis each problem that only one policy solved is a fair coin: with d = b + c of them,
    p = min(1, 2 P(Binomial(d, 1/2) <= min(b, c))). For one sample a problem (greedy pass@1). p is 1 when d = 0.

    Raises:
        ValueError: the lengths differ.
    """
    pairs = list(zip(first, second, strict=True))
    only_first = sum(1 for a, b in pairs if a and not b)
    only_second = sum(1 for a, b in pairs if b and not a)
    discordant = only_first + only_second
    tail = sum(math.comb(discordant, i) for i in range(min(only_first, only_second) + 1))
    return McNemar(only_first, only_second, min(1.0, 2.0 * tail / 2.0**discordant) if discordant else 1.0)


def minimum_detectable_difference(
    differences: Values, *, power: float = 0.8, significance: float = 0.05
) -> DetectableDifference:
    """The true mean difference that a run like this one would call significant with probability `power`.

        delta = (z_{1 - significance/2} + z_{power}) * s / sqrt(N)

    with s the standard deviation of the per-problem differences `second - first` (N - 1 in the denominator), but at
    least that of one problem in N changing by 1: where no problem changed, nothing smaller was ruled out. At most 1,
    the largest difference there is: on one or two problems none can be seen.

    Raises:
        ValueError: no problem, or a value is not finite.
    """
    x = _finite(differences)
    z = NormalDist().inv_cdf(1 - significance / 2) + NormalDist().inv_cdf(power)
    spread = max(float(x.std(ddof=1)) if len(x) > 1 else 0.0, 1 / math.sqrt(len(x)))
    assumption = (
        f"normal approximation over {len(x)} problems, two-sided test at {significance:g} with power {power:g}; "
        f"assumes that another run's per-problem differences spread as here (standard deviation {spread:.3g})"
    )
    return DetectableDifference(min(1.0, z * spread / math.sqrt(len(x))), assumption)


def _finite(values: Values) -> npt.NDArray[np.float64]:
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or not len(x):
        raise ValueError("an interval needs at least one value, in one dimension")
    if not np.isfinite(x).all():
        raise ValueError("an interval needs finite values; one is NaN or infinite")
    return x


def _resampled_means(x: npt.NDArray[np.float64], n_bootstrap: int, seed: int) -> npt.NDArray[np.float64]:
    """Means of `n_bootstrap` resamples, (n_bootstrap,), drawn in blocks of bounded memory."""
    rng = np.random.default_rng(seed)
    rows = max(1, _BLOCK // len(x))
    means = [
        x[rng.integers(0, len(x), size=(min(rows, n_bootstrap - start), len(x)))].mean(axis=1)
        for start in range(0, n_bootstrap, rows)
    ]
    return np.concatenate(means)
