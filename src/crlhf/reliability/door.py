"""A generic door: aggregate any binary crowd labels, without the rest of the pipeline.

Columns are crowd-kit's (`task`, `worker`, `label`), so that its data sets and this project's statistics meet. Label 1
plays the part of a line marked wrong, label 0 of one judged correct.

Departs from the paper (arXiv:2503.15129): tasks stand alone; nothing is a line of a program.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from crlhf.errors import InputError
from crlhf.params import ReliabilityParams
from crlhf.reliability.base_rate import base_rate
from crlhf.reliability.calibration import logit, sigmoid
from crlhf.reliability.estimators import find, is_em
from crlhf.reliability.labels import Labels, code_table
from crlhf.reliability.record import Found, count_verdicts, reasons_of, reliabilities_frame
from crlhf.reliability.verdicts import WRONG, Floats, Truths

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

METHODS = (
    "dawid_skene",
    "one_coin_dawid_skene",
    "honeypot_beta",
    "one_coin_honeypot_beta",
    "l1_logistic",
    "majority",
)
"""Names that `aggregate_labels` takes."""


class TaskEvidence(NamedTuple):
    """What the verdicts say of each of N tasks, in the order of `Aggregated.posteriors`.

    Attributes:
        evidence: (N,) log-likelihood ratio of the verdicts, 1 against 0, tempered.
        prior_one: P(a task's label is 1) before any verdict.
        is_one: (N,) gold: 1 or 0, and -1 where there is none.
        judges: (N,) equal where exactly the same workers judged.
        n_judges: (N,) how many workers judged each task.
    """

    evidence: Floats
    prior_one: float
    is_one: Truths
    judges: npt.NDArray[np.int64]
    n_judges: npt.NDArray[np.int64]


class Aggregated(NamedTuple):
    """What the generic door gives.

    Attributes:
        posteriors: columns task, probability (that the label is 1), by task. Gold tasks are listed with the posterior
            that their labels give, not with their gold.
        annotators: schema RELIABILITIES with `annotator_id` renamed to `worker`; sensitivity is P(label 1 | truth 1).
        temperature: what the evidence was multiplied by; 1 for methods that are not tempered.
        orientation: gold, or assumed when there is none.
        tasks: what the posteriors were made of.
    """

    posteriors: pd.DataFrame
    annotators: pd.DataFrame
    temperature: float
    orientation: str
    tasks: TaskEvidence


def aggregate_labels(
    labels: pd.DataFrame, gold: pd.Series | None = None, *, method: str = "dawid_skene", seed: int = 0
) -> Aggregated:
    """Aggregate binary labels.

    Args:
        labels: columns task, worker, label; labels are 0 or 1. A worker may label a task twice; both count.
        gold: true labels of some tasks, 0 or 1, indexed by task; tasks that nobody labelled are ignored.
        method: one of `METHODS`.
        seed: of the folds of cross-validation (l1_logistic).

    Returns:
        Posteriors by task and annotators by worker; two empty tables for an empty one.

    Raises:
        InputError: a column is missing, a label is not 0 or 1, a task or worker is missing, or the method is unknown.
    """
    import pandas as pd

    _check(labels, gold, method)
    coded = code_table(labels, gold)
    params = _params(method)
    found = find(coded.labels, params, seed=seed)
    weights = np.where(found.is_kept[:, None], found.weights, 0.0)
    prior = _prior_of(found, coded.labels, method)
    evidence = coded.labels.matrix @ weights.ravel()
    counts = count_verdicts(coded.labels)
    reasons = found.reasons or reasons_of(
        found.belief, counts, coins=params.coins, min_honeypots=params.min_honeypots, is_em=is_em(params)
    )
    frame = reliabilities_frame(found, counts, np.asarray(coded.workers, object), method, reasons)
    return Aggregated(
        pd.DataFrame({"task": coded.tasks, "probability": sigmoid(logit(prior) + evidence)}),
        frame.rename(columns={"annotator_id": "worker"}),
        found.temperature,
        "gold" if coded.labels.is_known.any() else "assumed",
        TaskEvidence(evidence, prior, _gold_of(coded.labels), coded.labels.judges, coded.labels.n_judges),
    )


def _prior_of(found: Found, labels: Labels, method: str) -> float:
    """P(label 1) of tasks that are not gold; the vote of the majority is not weighed against one."""
    if found.prior_wrong is not None:
        return found.prior_wrong
    return 0.5 if method == "majority" else base_rate(labels)


def _gold_of(labels: Labels) -> Truths:
    """(N,) 1, 0, or -1 for unknown."""
    return np.where(labels.is_known, labels.truth == WRONG, -1).astype(np.int8)


def _params(method: str) -> ReliabilityParams:
    """Priors that do not prefer either class."""
    return ReliabilityParams.model_validate(
        {
            "estimator": method.removeprefix("one_coin_"),
            "coins": 1 if method.startswith("one_coin_") else 2,
            "prior_accuracy": (4, 2),
            "prior_sensitivity": (2, 1),
            "prior_specificity": (2, 1),
            "line_correlation": 0.0,
            "min_honeypots": 1,
        }
    )


def _check(labels: pd.DataFrame, gold: pd.Series | None, method: str) -> None:
    """Raise InputError for what cannot be aggregated."""
    if method not in METHODS:
        raise InputError(f"method {method!r} is unknown; choose one of {', '.join(METHODS)}")
    missing = [name for name in ("task", "worker", "label") if name not in labels.columns]
    if missing:
        raise InputError(f"labels: column {missing[0]!r} is missing; needed are task, worker and label")
    for name in ("task", "worker"):
        if labels[name].isna().any():
            row = int(np.flatnonzero(labels[name].isna())[0]) + 1
            raise InputError(f"labels: row {row} has no {name}")
    label = labels["label"].to_numpy()
    is_binary = np.asarray((label == 0) | (label == 1), bool)
    if not is_binary.all():
        row = int(np.flatnonzero(~is_binary)[0])
        raise InputError(f"labels: row {row + 1} has the label {labels['label'].iloc[row]}; it must be 0 or 1")
    if gold is not None and not gold.isin([0, 1]).all():
        bad = gold[~gold.isin([0, 1])]
        raise InputError(f"gold: task {bad.index[0]!r} has the label {bad.iloc[0]}; it must be 0 or 1")
    if gold is not None and gold.index.has_duplicates:
        raise InputError(f"gold: task {gold.index[gold.index.duplicated()][0]!r} is listed twice")
