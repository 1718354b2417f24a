"""The record that every estimator returns: one row for each annotator, under the schema RELIABILITIES.

The log-odds that a verdict of annotator `i` adds to "the line is correct" follow from Bayes' rule:

    weight_ok    = log P(ok | correct) / P(ok | wrong)       = log(specificity / (1 - sensitivity))
    weight_wrong = log P(wrong | correct) / P(wrong | wrong) = log((1 - specificity) / sensitivity)

With one coin both are `w_i = log(p_i / (1 - p_i))`, with a minus sign for a mark (method of arXiv:2503.15129).
An annotator is useless when `sensitivity + specificity = 1`: both weights are 0. Below 1 verdicts count against
themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from crlhf.reliability.labels import Labels, honeypot_answers
from crlhf.reliability.verdicts import Bools, Floats, Ints
from crlhf.schema import RELIABILITIES

if TYPE_CHECKING:
    import pandas as pd

    from crlhf.reliability.honeypot_beta import Belief

Model = dict[str, float | int | str | list[str] | None]


class Estimate(NamedTuple):
    """What an estimator found.

    Attributes:
        reliabilities: schema RELIABILITIES, by annotator_id.
        model: what else aggregation needs and a report tells, as JSON can hold it: `estimator`, `coins`,
            `prior_correct` (None: the one of `params.rewards`), `temperature` (already in the weights),
            `orientation` (honeypots, or assumed when there are none) and `notes`.
    """

    reliabilities: pd.DataFrame
    model: Model


class Found(NamedTuple):
    """What an estimator found about A annotators, before it is written as a table.

    Attributes:
        belief: (A,) posterior of each annotator's rates.
        weights: (A, 2) log-likelihood ratio, wrong against correct, that a verdict `ok` and a verdict `wrong` add.
        prior_wrong: P(line wrong) before any verdict; None leaves it to the params of the rewards.
        interval_method: how the intervals were obtained, or `none`.
        temperature: what the weights were multiplied by.
        is_kept: (A,) False: the annotator's verdicts are not aggregated.
        reasons: why, or None for the usual ones.
        notes: what a report should say besides.
        shift: what the log-odds of wrong hold besides base rate and verdicts, in `prior_wrong` already.
        evidence: (A,) hits and misses behind the belief, without any prior; None carries nothing to the next round.
    """

    belief: Belief
    weights: Floats
    prior_wrong: float | None
    interval_method: str
    temperature: float
    is_kept: Bools
    reasons: list[str] | None
    notes: list[str]
    shift: float = 0.0
    evidence: Belief | None = None


class Counts(NamedTuple):
    """How much each annotator did, each (A,)."""

    n_verdicts: Ints
    n_honeypot_verdicts: Ints
    n_honeypots: Ints


def count_verdicts(labels: Labels) -> Counts:
    """Count verdicts, verdicts on honeypots, and honeypots, of each annotator."""
    return Counts(
        labels.counts(np.ones(len(labels.truth))).sum(1).astype(np.int64),
        labels.counts(labels.is_known.astype(np.float64)).sum(1).astype(np.int64),
        np.bincount(honeypot_answers(labels).annotator, minlength=labels.n_annotators).astype(np.int64),
    )


def two_coin_weights(sensitivity: Floats, specificity: Floats) -> Floats:
    """Evidence of the verdicts `ok` and `wrong` that a line is wrong, (A, 2); rates lie strictly between 0 and 1."""
    return np.stack([np.log((1 - sensitivity) / specificity), np.log(sensitivity / (1 - specificity))], 1)


def one_coin_weights(accuracy: Floats) -> Floats:
    """The same under one coin, (A, 2); the accuracy lies strictly between 0 and 1."""
    weight = np.log(accuracy / (1 - accuracy))
    return np.stack([-weight, weight], 1)


def reliabilities_frame(
    found: Found, counts: Counts, annotator_ids: npt.NDArray[np.object_], estimator: str, reasons: list[str]
) -> pd.DataFrame:
    """Put an estimator's findings into the schema RELIABILITIES, one row for each annotator."""
    import pandas as pd

    n = len(annotator_ids)
    columns: dict[str, object] = {"annotator_id": annotator_ids, "estimator": [estimator] * n}
    for name, beta in zip(("accuracy", "sensitivity", "specificity"), found.belief, strict=True):
        low, high = beta.interval() if found.interval_method != "none" else (np.full(n, np.nan), np.full(n, np.nan))
        columns |= {name: beta.mean, f"{name}_low": low, f"{name}_high": high}
    columns |= {
        "interval_method": [found.interval_method] * n,
        "weight_ok": -found.weights[:, 0],
        "weight_wrong": -found.weights[:, 1],
        "n_verdicts": counts.n_verdicts,
        "n_honeypot_verdicts": counts.n_honeypot_verdicts,
        "n_honeypots": counts.n_honeypots,
        **_evidence_columns(found.evidence, n),
        "is_kept": found.is_kept,
        "reason": reasons,
    }
    return pd.DataFrame(columns)[list(RELIABILITIES.column_names)]


def _evidence_columns(evidence: Belief | None, n: int) -> dict[str, Floats]:
    """Hits and misses of each rate, 0 where the estimator counts none."""
    names = ("accuracy", "sensitivity", "specificity")
    if evidence is None:
        return {f"{name}_{part}": np.zeros(n) for name in names for part in ("hits", "misses")}
    return {
        f"{name}_{part}": values
        for name, counts in zip(names, evidence, strict=True)
        for part, values in zip(("hits", "misses"), counts, strict=True)
    }


def reasons_of(belief: Belief, counts: Counts, *, coins: int, min_honeypots: int, is_em: bool) -> list[str]:
    """Why each annotator is kept, by how the belief stands to uselessness.

    Nobody is dropped: an annotator worse than chance has negative weights, which inform, and one who may be useless
    has weights near 0. The interval of `sensitivity + specificity - 1` (Youden's J) is the normal one. With EM, an
    annotator without honeypots is known by the agreement with others; `is_em` says so.
    """
    if coins == 1:
        low, high = belief.accuracy.interval()
        low, high = low - 0.5, high - 0.5
    else:
        middle = belief.sensitivity.mean + belief.specificity.mean - 1
        half = 1.96 * np.sqrt(belief.sensitivity.variance + belief.specificity.variance)
        low, high = middle - half, middle + half
    reasons = []
    for seen, worst, best in zip(counts.n_honeypots.tolist(), low, high, strict=True):
        verdict = (
            "worse than chance: verdicts count against themselves"
            if best < 0
            else "better than chance"
            if worst > 0
            else "not told from chance: weights are small or uncertain"
        )
        if is_em:
            reasons.append(verdict if seen else f"{verdict}; never saw a honeypot, known by agreement only")
        elif seen == 0:
            reasons.append("never saw a honeypot: unknown, the prior is used")
        elif seen < min_honeypots:
            reasons.append(f"saw {seen} of the {min_honeypots} honeypots needed: unknown, the prior is used")
        else:
            reasons.append(verdict)
    return reasons
