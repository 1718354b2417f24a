"""Bootstrap intervals over completions, because verdicts on lines of one completion hang together.

Percentile bootstraps that draw whole groups again (Efron & Tibshirani 1993, "An Introduction to the Bootstrap", ch. 13;
clusters: Field & Welsh 2007, doi:10.1111/j.1467-9868.2007.00593.x). Every measure is a function of sums over groups, so
one product of drawn counts with the groups' sums is all the drawing there is.

Departs from the paper (arXiv:2503.15129): the paper gives no intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from crlhf.reliability.diagnostics import calibration_of
from crlhf.reliability.verdicts import Floats

if TYPE_CHECKING:
    import pandas as pd

MEASURES = ("accuracy", "log_loss", "brier", "ece")
_DRAWS = 1000
_FLOOR = 1e-10


class Measured(NamedTuple):
    """A value and its 95 % interval; all nan where it cannot be measured."""

    value: float
    low: float
    high: float


UNMEASURED = Measured(np.nan, np.nan, np.nan)


def measured(sums: Floats, measure: Callable[[Floats], Floats], rng: np.random.Generator) -> Measured:
    """A measure of totals with its interval.

    Args:
        sums: (groups, columns) sums of each group.
        measure: from (draws, columns) totals to (draws,) values.
        rng: of the draws.
    """
    if not len(sums):
        return UNMEASURED
    return Measured(float(measure(sums.sum(0, keepdims=True))[0]), *_ends(measure(_redrawn(sums, rng))))


def calibration_with_intervals(
    p: Floats, truth: Floats, group: npt.NDArray[np.intp], rng: np.random.Generator
) -> tuple[dict[str, Measured], pd.DataFrame]:
    """Calibration as `calibration_of` has it, with intervals over groups.

    Args:
        p: (n,) P(true), n >= 1.
        truth: (n,) 0 or 1.
        group: (n,) the group of each, from 0.
        rng: of the draws.

    Returns:
        `MEASURES` by name, and the bins of the reliability diagram with share_low and share_high.
    """
    found = calibration_of(p, truth)
    place = np.searchsorted(found.bins["low"].to_numpy() + 1e-9, p, side="right") - 1
    in_bin = np.eye(len(found.bins))[np.maximum(place, 0)]  # (n, bins)
    plain = (np.ones(len(p)), (p > 0.5) == (truth == 1), log_losses(p, truth), (p - truth) ** 2)
    sums = sums_by(group, (*plain, *in_bin.T, *(in_bin * p[:, None]).T, *(in_bin * truth[:, None]).T))
    drawn = _redrawn(sums, rng)
    n, of_p, of_truth = np.split(drawn[:, len(plain) :], 3, axis=1)
    ece = np.abs(of_p - of_truth).sum(1) / drawn[:, 0]
    values = (found.accuracy, found.log_loss, found.brier, found.ece)
    draws = (*(drawn[:, column] / drawn[:, 0] for column in (1, 2, 3)), ece)
    low, high = np.nanquantile(of_truth / or_nan(n), [0.025, 0.975], axis=0)
    return (
        {name: Measured(v, *_ends(d)) for name, v, d in zip(MEASURES, values, draws, strict=True)},
        found.bins.assign(share_low=low, share_high=high),
    )


def log_losses(p: Floats, truth: Floats) -> Floats:
    """-log of the probability of the truth, floored at 1e-10, (n,)."""
    loss: Floats = -np.log(np.maximum(np.where(truth == 1, p, 1 - p), _FLOOR))
    return loss


def or_nan(values: Floats) -> Floats:
    """nan in place of 0, for a quotient that is not defined there."""
    return np.where(values == 0, np.nan, values)


def sums_by(group: npt.NDArray[np.intp], columns: Sequence[npt.ArrayLike]) -> Floats:
    """Sum each column within each group, (groups, columns)."""
    n_groups = int(group.max()) + 1 if len(group) else 0
    return np.stack([np.bincount(group, np.asarray(column, float), n_groups) for column in columns], 1)


def _redrawn(sums: Floats, rng: np.random.Generator) -> Floats:
    """Totals of each column after drawing as many groups with replacement, (draws, columns)."""
    n = len(sums)
    weights = rng.multinomial(n, np.full(n, 1 / n), size=_DRAWS).astype(np.float64)
    return np.asarray(weights @ sums)


def _ends(draws: Floats) -> tuple[float, float]:
    known = draws[np.isfinite(draws)]
    low, high = np.quantile(known, [0.025, 0.975]) if len(known) else (np.nan, np.nan)
    return float(low), float(high)
