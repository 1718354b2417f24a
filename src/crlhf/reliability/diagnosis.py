"""What a report says of a crowd: agreement, calibration on held-out honeypots, suspects; all with intervals.

Calibration is that of posteriors of honeypots whose truth the estimator did not
know.

Departs from the paper (arXiv:2503.15129): the paper reports no diagnostics.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from crlhf.reliability.bootstrap import (
    MEASURES,
    UNMEASURED,
    Measured,
    calibration_with_intervals,
    measured,
    or_nan,
    sums_by,
)
from crlhf.reliability.comparison import held_out_posteriors
from crlhf.reliability.diagnostics import calibration_of
from crlhf.reliability.labels import Labels, labels_of
from crlhf.reliability.suspects import find_suspects
from crlhf.reliability.verdicts import Floats, code_verdicts
from crlhf.store import json_records

if TYPE_CHECKING:
    import pandas as pd

    from crlhf.params import ReliabilityParams


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
        found |= {f"held_out/{name}": one for name, one in self.calibration.items()}
        flat = {
            f"{name}{end}": round(value, 6)
            for name, one in found.items()
            for end, value in zip(("", "_low", "_high"), one, strict=True)
        }
        kinds = self.suspects["kind"].value_counts()
        counts = {f"n_{kind}": int(kinds.get(kind, 0)) for kind in ("lazy", "random", "adversarial", "copying")}
        return {name: value for name, value in flat.items() if np.isfinite(value)} | counts

    def record(self) -> dict[str, list[dict[str, Any]]]:
        """The two tables as JSON can hold them."""
        return {
            "suspects": json_records(self.suspects.round(6)),
            "calibration_bins": json_records(self.bins.round(6)),
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
    sums = sums_by(group, columns)

    def alpha(s: Floats) -> Floats:
        n = s[:, 0] + s[:, 1]
        return 1 - (n - 1) * s[:, 2] / or_nan(2 * s[:, 0] * s[:, 1])

    return measured(sums, alpha, rng), measured(sums, lambda s: 1 - s[:, 3] / or_nan(s[:, 4]), rng)


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
        return dict.fromkeys(MEASURES, UNMEASURED), empty.assign(share_low=[], share_high=[])
    p = held_out_posteriors(labels, params, n_folds=params.n_folds, seed=seed)
    return calibration_with_intervals(p, labels.is_wrong[lines], group, rng)
