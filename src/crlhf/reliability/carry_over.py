"""Reliability carried over between batches and rounds: yesterday's posterior is today's prior, with forgetting.

An annotator's Beta posterior `Beta(a, b)` of the last round, learned from the prior `Beta(a0, b0)`, enters this round
as the counts `keep * (a - a0, b - b0)`: with `keep = 1` two rounds equal one round with all the data, with `keep = 0`
nothing is remembered, and in between evidence that is `t` rounds old counts `keep**t` (exponential forgetting; power
priors of Ibrahim & Chen 2000, doi:10.1214/ss/1009212673).

A table of reliabilities holds means and intervals; the counts are those of the Beta distribution that has them.

Departs from the paper (arXiv:2503.15129): the paper does not say what becomes of reliabilities between rounds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from crlhf.params import ReliabilityParams
from crlhf.reliability.honeypot_beta import Belief, BetaCounts, prior_belief
from crlhf.reliability.verdicts import Floats

if TYPE_CHECKING:
    import pandas as pd


def carried_belief(earlier: pd.DataFrame, annotator_ids: npt.NDArray[np.object_], prior: Belief, keep: float) -> Belief:
    """What earlier rounds say of today's annotators: extra hits and misses, without the prior's own.

    Args:
        earlier: schema RELIABILITIES of the last round. Rows without intervals carry nothing.
        annotator_ids: (A,) today's annotators; those not in `earlier` carry nothing.
        prior: (A,) the prior that the last round began with.
        keep: share of the evidence that is kept, in [0, 1].

    Returns:
        (A,) counts to add, never below 0.
    """
    rows = earlier.set_index("annotator_id").reindex(annotator_ids)

    def extra(name: str, before: BetaCounts) -> BetaCounts:
        mean = rows[name].to_numpy(np.float64)
        width = (rows[f"{name}_high"] - rows[f"{name}_low"]).to_numpy(np.float64)
        usable = np.isfinite(mean) & np.isfinite(width)
        hits, misses = np.zeros(len(mean)), np.zeros(len(mean))
        if usable.any() and keep > 0:
            strength = strength_of(mean[usable], width[usable])
            hits[usable] = np.maximum(mean[usable] * strength - before.hits[usable], 0)
            misses[usable] = np.maximum((1 - mean[usable]) * strength - before.misses[usable], 0)
        return BetaCounts(keep * hits, keep * misses)

    return Belief(
        extra("accuracy", prior.accuracy),
        extra("sensitivity", prior.sensitivity),
        extra("specificity", prior.specificity),
    )


def remembered(earlier: pd.DataFrame, today: pd.DataFrame, params: ReliabilityParams) -> pd.DataFrame:
    """All that is known at the end of a round: today's rows, and those of annotators who were away, a round older.

    Args:
        earlier: schema RELIABILITIES, at the end of the last round.
        today: schema RELIABILITIES; it began with `earlier`.
        params: the prior, and the share of older evidence that is kept.

    Returns:
        Schema RELIABILITIES by annotator_id. Rows without intervals carry nothing and stay as they are.
    """
    import pandas as pd

    away = earlier[~earlier["annotator_id"].isin(today["annotator_id"])].reset_index(drop=True)
    if away.empty:
        return today
    prior = prior_belief(params, len(away))
    older = carried_belief(away, away["annotator_id"].to_numpy(object), prior, params.carry_over)
    for name, before, extra in zip(("accuracy", "sensitivity", "specificity"), prior, older, strict=True):
        counts = BetaCounts(before.hits + extra.hits, before.misses + extra.misses)
        has_interval = away[f"{name}_low"].notna()
        for column, values in zip(
            (name, f"{name}_low", f"{name}_high"), (counts.mean, *counts.interval()), strict=True
        ):
            away[column] = np.where(has_interval, values, away[column])
    away["n_verdicts"] = away["n_honeypot_verdicts"] = away["n_honeypots"] = 0
    away["reason"] = "took no part in the last round: known from earlier rounds"
    return pd.concat([today, away], ignore_index=True).sort_values("annotator_id", ignore_index=True)


def strength_of(mean: Floats, width: Floats) -> Floats:
    """`a + b` of the Beta distribution with this mean whose central 95 % interval has this width, by bisection."""
    low, high = np.full(len(mean), 1e-2), np.full(len(mean), 1e9)
    for _ in range(80):
        middle = np.sqrt(low * high)
        ends = BetaCounts(mean * middle, (1 - mean) * middle).interval()
        is_too_wide = ends[1] - ends[0] > width
        low, high = np.where(is_too_wide, middle, low), np.where(is_too_wide, high, middle)
    strength: Floats = np.sqrt(low * high)
    return strength
