"""Majority voting: every annotator has the same weight. The baseline that other estimators must beat.

    w = log(p / (1 - p)),   p = the crowd's pooled accuracy on honeypots, in [0.55, 0.99]; 0.75 when there is none.

Departs from the paper (arXiv:2503.15129): it is not the paper's method; a weight turns the vote into a posterior.
"""

from __future__ import annotations

import numpy as np

from crlhf.params import ReliabilityParams
from crlhf.reliability.honeypot_beta import Belief, BetaCounts
from crlhf.reliability.labels import Labels, honeypot_answers
from crlhf.reliability.record import Found, one_coin_weights

_ACCURACY_UNKNOWN = 0.75
_BOUNDS = (0.55, 0.99)  # the majority never votes against itself, and is never certain


def fit_majority(labels: Labels, params: ReliabilityParams) -> Found:
    """Give all annotators the pooled accuracy; there is no interval, and nothing to carry over."""
    del params
    answers = honeypot_answers(labels)
    trials = float((answers.n_wrong + answers.n_ok).sum())
    hits = float((answers.n_caught + answers.n_passed).sum())
    pooled = float(np.clip(hits / trials, *_BOUNDS)) if trials else _ACCURACY_UNKNOWN
    accuracy = np.full(labels.n_annotators, pooled)
    counts = BetaCounts(accuracy, 1 - accuracy)
    return Found(
        Belief(counts, counts, counts),
        one_coin_weights(accuracy),
        prior_wrong=None,
        interval_method="none",
        temperature=1.0,
        is_kept=np.ones(labels.n_annotators, bool),
        reasons=["majority: every annotator counts the same"] * labels.n_annotators,
        notes=[],
    )
