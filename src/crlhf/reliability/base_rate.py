"""The share of wrong lines, from verdicts whose weights are known.

    pi = mean over lines that are not honeypots of sigmoid(logit(pi) + x_l),   x_l = evidence of the verdicts,

solved by iteration: EM for the one unknown of a two-class mixture. Honeypots are left out, because the share of wrong
lines among them is a design.

Departs from the paper (arXiv:2503.15129), whose prior is fixed at 0.5.
"""

from __future__ import annotations

import numpy as np

from crlhf.reliability.calibration import logit, sigmoid
from crlhf.reliability.labels import Labels
from crlhf.reliability.verdicts import Floats

_BOUNDS = (0.005, 0.995)
_PSEUDO_LINES = 2.0  # at 1/2
_ITERATIONS, _SETTLED = 200, 1e-6


def base_rate(labels: Labels, weights: Floats) -> float:
    """P(line wrong) before any verdict, of the lines that are not honeypots.

    Args:
        labels: the labels.
        weights: (A, 2) log-likelihood ratio, wrong against correct, of a verdict `ok` and of a verdict `wrong`.

    Returns:
        The rate, between 0.005 and 0.995; 0.5 when every line is a honeypot.
    """
    evidence = (labels.matrix @ weights.ravel())[~labels.is_known]
    rate = 0.5
    for _ in range(_ITERATIONS):
        total = float(sigmoid(logit(rate) + evidence).sum()) + 0.5 * _PSEUDO_LINES
        moved = float(np.clip(total / (len(evidence) + _PSEUDO_LINES), *_BOUNDS))
        change, rate = abs(moved - rate), moved
        if change < _SETTLED:
            break
    return rate
