"""All estimators side by side on the same data: each judges honeypots that were hidden from it.

Honeypots are split into folds; for each fold an estimator learns from everything else, the verdicts on the hidden
honeypots included but not their truth, and the posteriors of their lines are compared with the truth. Every estimator
uses the same prior, the share of wrong lines among the honeypots it could see: that share is a design and says
nothing about completions.

Departs from the paper (arXiv:2503.15129): the paper compares no estimators.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from crlhf.params import ReliabilityParams
from crlhf.reliability.bootstrap import calibration_with_intervals, log_losses, measured, sums_by
from crlhf.reliability.calibration import logit, sigmoid
from crlhf.reliability.estimators import find
from crlhf.reliability.labels import Labels, labels_of
from crlhf.reliability.verdicts import UNKNOWN, Floats, code_verdicts

if TYPE_CHECKING:
    import pandas as pd

ESTIMATORS: tuple[tuple[str, int], ...] = (
    ("dawid_skene", 2),
    ("dawid_skene", 1),
    ("honeypot_beta", 2),
    ("honeypot_beta", 1),
    ("l1_logistic", 1),
    ("majority", 1),
)
"""Estimator and coins of each row, the default first."""


class Comparison(NamedTuple):
    """What a comparison gives.

    Attributes:
        table: one row for each estimator: estimator, coins, n_lines, n_honeypots, recall (share of wrong lines found),
            and accuracy, log_loss, brier, ece and log_loss_difference (to the first row, on the same lines), each with
            the ends of its 95 % interval over honeypots in `_low` and `_high`.
        diagrams: columns of `Calibration.bins` with estimator and coins, for reliability diagrams.
    """

    table: pd.DataFrame
    diagrams: pd.DataFrame


def compare_estimators(
    annotations: pd.DataFrame, items: pd.DataFrame, params: ReliabilityParams, *, n_folds: int = 5, seed: int = 0
) -> Comparison:
    """Compare all estimators on held-out honeypots.

    Args:
        annotations: schema ANNOTATIONS, validated.
        items: schema ITEMS.
        params: the section `reliability`; `estimator` and `coins` are varied.
        n_folds: folds of honeypots; with fewer than two honeypots nothing can be held out and both tables are empty.
        seed: of the folds.
    """
    import pandas as pd

    labels = labels_of(code_verdicts(annotations, items), params.line_correlation)
    lines = np.flatnonzero(labels.is_known)
    honeypots, group = np.unique(labels.completion[lines], return_inverse=True)
    is_wrong = labels.is_wrong[lines]
    rows: list[dict[str, object]] = []
    bins = []
    first: Floats | None = None
    for estimator, coins in ESTIMATORS if len(honeypots) >= 2 else ():
        varied = params.model_copy(update={"estimator": estimator, "coins": coins})
        posterior = held_out_posteriors(labels, varied, n_folds=n_folds, seed=seed)
        losses = log_losses(posterior, is_wrong)
        first = losses if first is None else first
        measures, diagram = calibration_with_intervals(posterior, is_wrong, group, np.random.default_rng(seed))
        sums = sums_by(group, (losses - first, np.ones(len(lines))))
        measures["log_loss_difference"] = measured(sums, lambda s: s[:, 0] / s[:, 1], np.random.default_rng(seed))
        rows.append(
            {
                "estimator": estimator,
                "coins": coins,
                "n_lines": len(lines),
                "n_honeypots": len(honeypots),
                "recall": float((posterior[is_wrong == 1] > 0.5).mean()) if is_wrong.any() else np.nan,
                **{
                    f"{measure}{end}": value
                    for measure, one in measures.items()
                    for end, value in zip(("", "_low", "_high"), one, strict=True)
                },
            }
        )
        bins.append(diagram.assign(estimator=estimator, coins=coins))
    return Comparison(pd.DataFrame(rows), pd.concat(bins, ignore_index=True) if bins else pd.DataFrame())


def held_out_posteriors(labels: Labels, params: ReliabilityParams, *, n_folds: int, seed: int) -> Floats:
    """P(line wrong) of each honeypot line, in order, by an estimator that did not know the honeypot's truth, (n,)."""
    lines = np.flatnonzero(labels.is_known)
    honeypots, group = np.unique(labels.completion[lines], return_inverse=True)
    n_folds = min(n_folds, len(honeypots))
    fold = np.empty(len(honeypots), int)
    fold[np.random.default_rng(seed).permutation(len(honeypots))] = np.arange(len(honeypots)) % n_folds
    posterior = np.empty(len(lines))
    for held in range(n_folds):
        is_held = fold[group] == held
        truth = labels.truth.copy()
        truth[lines[is_held]] = UNKNOWN
        seen = labels.with_truth(truth)
        found = find(seen, params, seed=seed)
        share = (seen.is_wrong.sum() + 1) / (seen.is_known.sum() + 2)
        weights = np.where(found.is_kept[:, None], found.weights, 0.0)
        evidence = labels.matrix[lines[is_held]] @ weights.ravel()
        posterior[is_held] = sigmoid(logit(float(share)) + found.shift + evidence)
    return posterior
