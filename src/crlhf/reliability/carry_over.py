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

from crlhf.reliability.honeypot_beta import Belief, BetaCounts

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
