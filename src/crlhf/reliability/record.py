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

from crlhf.reliability.verdicts import UNKNOWN, Floats, Ints, Verdicts, honeypot_answers
from crlhf.schema import RELIABILITIES

if TYPE_CHECKING:
    import pandas as pd

    from crlhf.reliability.honeypot_beta import Belief, BetaCounts

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


class Counts(NamedTuple):
    """How much each annotator did, each (A,)."""

    n_verdicts: Ints
    n_honeypot_verdicts: Ints
    n_honeypots: Ints


def count_verdicts(verdicts: Verdicts) -> Counts:
    """Count verdicts, verdicts on honeypots, and honeypots, of each annotator."""
    known = verdicts.truth[verdicts.line] != UNKNOWN
    n = verdicts.n_annotators
    return Counts(
        np.bincount(verdicts.annotator, minlength=n).astype(np.int32),
        np.bincount(verdicts.annotator[known], minlength=n).astype(np.int32),
        np.bincount(honeypot_answers(verdicts).annotator, minlength=n).astype(np.int32),
    )


def two_coin_weights(sensitivity: Floats, specificity: Floats) -> tuple[Floats, Floats]:
    """`weight_ok` and `weight_wrong` of each annotator; both rates lie strictly between 0 and 1."""
    return np.log(specificity / (1 - sensitivity)), np.log((1 - specificity) / sensitivity)


def one_coin_weights(accuracy: Floats) -> tuple[Floats, Floats]:
    """`weight_ok` and `weight_wrong` of each annotator under one coin; the accuracy lies strictly between 0 and 1."""
    weight = np.log(accuracy / (1 - accuracy))
    return weight, -weight


def reliabilities_frame(
    verdicts: Verdicts,
    belief: Belief,
    *,
    estimator: str,
    interval_method: str,
    weights: tuple[Floats, Floats],
    is_kept: list[bool],
    reasons: list[str],
) -> pd.DataFrame:
    """Put an estimator's findings into the schema RELIABILITIES, one row for each annotator in `verdicts`."""
    import pandas as pd

    counts = count_verdicts(verdicts)
    n = verdicts.n_annotators
    columns: dict[str, object] = {"annotator_id": verdicts.annotator_ids, "estimator": [estimator] * n}
    named: tuple[tuple[str, BetaCounts], ...] = (
        ("accuracy", belief.accuracy),
        ("sensitivity", belief.sensitivity),
        ("specificity", belief.specificity),
    )
    for name, beta in named:
        low, high = beta.interval()
        columns |= {name: beta.mean, f"{name}_low": low, f"{name}_high": high}
    columns |= {
        "interval_method": [interval_method] * n,
        "weight_ok": weights[0],
        "weight_wrong": weights[1],
        "n_verdicts": counts.n_verdicts.astype(np.int64),
        "n_honeypot_verdicts": counts.n_honeypot_verdicts.astype(np.int64),
        "n_honeypots": counts.n_honeypots.astype(np.int64),
        "is_kept": np.asarray(is_kept, bool),
        "reason": reasons,
    }
    return pd.DataFrame(columns)[list(RELIABILITIES.column_names)]


def reasons_of(belief: Belief, counts: Counts, *, coins: int, min_honeypots: int) -> list[str]:
    """Why each annotator is kept, by how the belief stands to uselessness.

    Nobody is dropped: an annotator worse than chance has negative weights, which inform, and one who may be useless
    has weights near 0. The interval of `sensitivity + specificity - 1` (Youden's J) is the normal one.
    """
    if coins == 1:
        low, high = belief.accuracy.interval()
        low, high = low - 0.5, high - 0.5
    else:
        middle = belief.sensitivity.mean + belief.specificity.mean - 1
        half = 1.96 * np.sqrt(belief.sensitivity.variance + belief.specificity.variance)
        low, high = middle - half, middle + half
    reasons = []
    for index in range(len(counts.n_honeypots)):
        seen = int(counts.n_honeypots[index])
        if seen == 0:
            reasons.append("never saw a honeypot: unknown, the prior is used")
        elif seen < min_honeypots:
            reasons.append(f"saw {seen} of the {min_honeypots} honeypots needed: unknown, the prior is used")
        elif high[index] < 0:
            reasons.append("worse than chance: verdicts count against themselves")
        elif low[index] > 0:
            reasons.append("better than chance")
        else:
            reasons.append("not told from chance: weights are small or uncertain")
    return reasons
