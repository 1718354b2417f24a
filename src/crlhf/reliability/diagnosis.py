"""What a report says of a crowd: agreement, calibration on held-out honeypots, suspects; all with intervals.

Intervals are percentile bootstraps that draw whole completions again, because verdicts on lines of one completion hang
together (Efron & Tibshirani 1993, "An Introduction to the Bootstrap", ch. 13; clusters: Field & Welsh 2007,
doi:10.1111/j.1467-9868.2007.00593.x). Calibration is that of posteriors of honeypots whose truth the estimator did not
know.

Departs from the paper (arXiv:2503.15129): the paper reports no diagnostics.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from crlhf.reliability.comparison import held_out_posteriors
from crlhf.reliability.diagnostics import calibration_of
from crlhf.reliability.labels import Labels, labels_of
from crlhf.reliability.suspects import find_suspects
from crlhf.reliability.verdicts import Floats, code_verdicts

if TYPE_CHECKING:
    import pandas as pd

    from crlhf.params import ReliabilityParams

_DRAWS = 1000
_MEASURES = ("accuracy", "log_loss", "brier", "ece")


class Measured(NamedTuple):
    """A value and its 95 % interval; all nan where it cannot be measured."""

    value: float
    low: float
    high: float


class Diagnosis(NamedTuple):
    """What is known of a crowd.

    Attributes:
        alpha: Krippendorff's alpha of the verdicts.
        agreement: share of pairs of verdicts on one line that say the same.
        calibration: accuracy, log_loss, brier and ece of held-out honeypot lines, by name.
        bins: columns low, high, n, mean_probability, share_true, share_low, share_high: the reliability diagram of
            P(line wrong).
        suspects: `find_suspects`.
    """

    alpha: Measured
    agreement: Measured
    calibration: dict[str, Measured]
    bins: pd.DataFrame
    suspects: pd.DataFrame

    def metrics(self) -> dict[str, float]:
        """Flat numbers for a stage's summary, without those that could not be measured."""
        found = {"krippendorff_alpha": self.alpha, "pairwise_agreement": self.agreement}
        found |= {f"held_out/{name}": measured for name, measured in self.calibration.items()}
        flat = {
            f"{name}{end}": round(value, 6)
            for name, measured in found.items()
            for end, value in zip(("", "_low", "_high"), measured, strict=True)
        }
        kinds = self.suspects["kind"].value_counts()
        counts = {f"n_{kind}": int(kinds.get(kind, 0)) for kind in ("lazy", "random", "adversarial", "copying")}
        return {name: value for name, value in flat.items() if np.isfinite(value)} | counts

    def record(self) -> dict[str, list[dict[str, Any]]]:
        """The two tables as JSON can hold them."""
        return {
            "suspects": self.suspects.round(6).to_dict("records"),
            "calibration_bins": self.bins.round(6).astype(object).where(self.bins.notna(), None).to_dict("records"),
        }


def diagnose(annotations: pd.DataFrame, items: pd.DataFrame, params: ReliabilityParams, *, seed: int = 0) -> Diagnosis:
    """Diagnose a crowd.

    Args:
        annotations: schema ANNOTATIONS, validated.
        items: schema ITEMS.
        params: the section `reliability`; its estimator is the one whose calibration is measured.
        seed: of the folds and of the bootstrap.
    """
    labels = labels_of(code_verdicts(annotations, items), params.line_correlation)
    rng = np.random.default_rng(seed)
    alpha, agreement = agreement_of(labels, rng)
    calibration, bins = held_out_calibration(labels, params, rng, seed)
    return Diagnosis(alpha, agreement, calibration, bins, find_suspects(annotations, items, params))


def agreement_of(labels: Labels, rng: np.random.Generator) -> tuple[Measured, Measured]:
    """Krippendorff's alpha and the share of agreeing pairs, with intervals over completions."""
    n_wrong = labels.matrix @ np.tile([0.0, 1.0], labels.n_annotators)
    n_ok = labels.matrix @ np.tile([1.0, 0.0], labels.n_annotators)
    m = n_wrong + n_ok
    paired = m >= 2
    n_wrong, n_ok, m = n_wrong[paired], n_ok[paired], m[paired]
    _, group = np.unique(labels.completion[paired], return_inverse=True)
    columns = (n_wrong, n_ok, 2 * n_wrong * n_ok / (m - 1), 2 * n_wrong * n_ok, m * (m - 1))
    sums = _sums(group, columns)

    def alpha(s: Floats) -> Floats:
        n = s[:, 0] + s[:, 1]
        return 1 - (n - 1) * s[:, 2] / _or_nan(2 * s[:, 0] * s[:, 1])

    return _measured(sums, alpha, rng), _measured(sums, lambda s: 1 - s[:, 3] / _or_nan(s[:, 4]), rng)


def held_out_calibration(
    labels: Labels, params: ReliabilityParams, rng: np.random.Generator, seed: int
) -> tuple[dict[str, Measured], pd.DataFrame]:
    """Calibration of the params' estimator on honeypots it did not know, with intervals over honeypots.

    Fewer than two honeypots: nothing can be held out, values are nan and there are no bins.
    """
    lines = np.flatnonzero(labels.is_known)
    honeypots, group = np.unique(labels.completion[lines], return_inverse=True)
    if len(honeypots) < 2:
        empty = calibration_of(np.zeros(0), np.zeros(0)).bins
        return dict.fromkeys(_MEASURES, Measured(np.nan, np.nan, np.nan)), empty.assign(share_low=[], share_high=[])
    p = held_out_posteriors(labels, params, n_folds=params.n_folds, seed=seed)
    truth = labels.is_wrong[lines]
    found = calibration_of(p, truth)
    place = np.searchsorted(found.bins["low"].to_numpy() + 1e-9, p, side="right") - 1
    n_bins = len(found.bins)
    in_bin = np.eye(n_bins)[np.maximum(place, 0)]  # (n, bins)
    loss = -np.log(np.maximum(np.where(truth == 1, p, 1 - p), 1e-10))
    plain = (np.ones(len(p)), (p > 0.5) == (truth == 1), loss, (p - truth) ** 2)
    sums = _sums(group, (*plain, *in_bin.T, *(in_bin * p[:, None]).T, *(in_bin * truth[:, None]).T))
    drawn = _redrawn(sums, rng)
    n, of_p, of_truth = np.split(drawn[:, len(plain) :], 3, axis=1)
    ece = np.abs(of_p - of_truth).sum(1) / drawn[:, 0]
    values = (found.accuracy, found.log_loss, found.brier, found.ece)
    draws = (*(drawn[:, column] / drawn[:, 0] for column in (1, 2, 3)), ece)
    measured = {name: Measured(v, *_ends(d)) for name, v, d in zip(_MEASURES, values, draws, strict=True)}
    low, high = np.nanquantile(of_truth / _or_nan(n), [0.025, 0.975], axis=0)
    return measured, found.bins.assign(share_low=low, share_high=high)


def _or_nan(values: Floats) -> Floats:
    """nan in place of 0, for a quotient that is not defined there."""
    return np.where(values == 0, np.nan, values)


def _sums(group: Any, columns: tuple[Any, ...]) -> Floats:
    """Sum each column within each group, (groups, columns)."""
    n_groups = int(group.max()) + 1 if len(group) else 0
    return np.stack([np.bincount(group, np.asarray(column, float), n_groups) for column in columns], 1)


def _redrawn(sums: Floats, rng: np.random.Generator) -> Floats:
    """Totals of each column after drawing as many groups with replacement, (draws, columns)."""
    n = len(sums)
    weights = rng.multinomial(n, np.full(n, 1 / n), size=_DRAWS).astype(np.float64)
    return np.asarray(weights @ sums)


def _ends(draws: Floats) -> tuple[float, float]:
    low, high = np.quantile(draws[np.isfinite(draws)], [0.025, 0.975]) if np.isfinite(draws).any() else (np.nan,) * 2
    return float(low), float(high)


def _measured(sums: Floats, measure: Any, rng: np.random.Generator) -> Measured:
    """A measure of the totals with its interval; nan where there is nothing."""
    if not len(sums):
        return Measured(np.nan, np.nan, np.nan)
    return Measured(float(measure(sums.sum(0, keepdims=True))[0]), *_ends(measure(_redrawn(sums, rng))))
