"""Reliability carried over between batches and rounds: yesterday's posterior is today's prior, with forgetting.

A table of reliabilities keeps the hits `h` and misses `m` behind each posterior, without the prior, so that no prior is
counted twice. They enter this round as `keep * (h, m)`: with `keep = 1` two rounds equal one round with all the data,
with `keep = 0` nothing is remembered, and in between evidence that is `t` rounds old counts `keep**t` (exponential
forgetting; power priors of Ibrahim & Chen 2000, doi:10.1214/ss/1009212673).

Departs from the paper (arXiv:2503.15129): the paper does not say what becomes of reliabilities between rounds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from crlhf.params import ReliabilityParams
from crlhf.reliability.honeypot_beta import Belief, BetaCounts, prior_belief

if TYPE_CHECKING:
    import pandas as pd


def carried_belief(earlier: pd.DataFrame, annotator_ids: npt.NDArray[np.object_], keep: float) -> Belief:
    """What earlier rounds say of today's annotators: hits and misses, without any prior.

    Args:
        earlier: schema RELIABILITIES of the last round.
        annotator_ids: (A,) today's annotators; those not in `earlier` carry nothing.
        keep: share of the evidence that is kept, in [0, 1].

    Returns:
        (A,) counts to add.
    """
    rows = earlier.set_index("annotator_id").reindex(annotator_ids)

    def kept(name: str) -> BetaCounts:
        counts = rows[[f"{name}_hits", f"{name}_misses"]].fillna(0.0).to_numpy(np.float64)
        return BetaCounts(keep * counts[:, 0], keep * counts[:, 1])

    return Belief(kept("accuracy"), kept("sensitivity"), kept("specificity"))


def remembered(earlier: pd.DataFrame, today: pd.DataFrame, params: ReliabilityParams) -> pd.DataFrame:
    """All that is known at the end of a round: today's rows, and those of annotators who were away, a round older.

    Args:
        earlier: schema RELIABILITIES, at the end of the last round.
        today: schema RELIABILITIES; it began with `earlier`.
        params: the prior, and the share of older evidence that is kept.

    Returns:
        Schema RELIABILITIES by annotator_id. Rows without intervals keep their rates.
    """
    import pandas as pd

    away = earlier[~earlier["annotator_id"].isin(today["annotator_id"])].reset_index(drop=True)
    if away.empty:
        return today
    prior = prior_belief(params, len(away))
    older = carried_belief(away, away["annotator_id"].to_numpy(object), params.carry_over)
    for name, before, extra in zip(("accuracy", "sensitivity", "specificity"), prior, older, strict=True):
        away[f"{name}_hits"], away[f"{name}_misses"] = extra.hits, extra.misses
        counts = BetaCounts(before.hits + extra.hits, before.misses + extra.misses)
        has_interval = away[f"{name}_low"].notna()
        for column, values in zip(
            (name, f"{name}_low", f"{name}_high"), (counts.mean, *counts.interval()), strict=True
        ):
            away[column] = np.where(has_interval, values, away[column])
    away["n_verdicts"] = away["n_honeypot_verdicts"] = away["n_honeypots"] = 0
    away["reason"] = "took no part in the last round: known from earlier rounds"
    return pd.concat([today, away], ignore_index=True).sort_values("annotator_id", ignore_index=True)
