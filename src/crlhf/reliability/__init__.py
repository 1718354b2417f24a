"""How reliable each annotator is: `estimate`, the records it returns, and the generic door `aggregate_labels`."""

from crlhf.reliability.door import METHODS, Aggregated, aggregate_labels
from crlhf.reliability.estimators import estimate
from crlhf.reliability.honeypot_beta import Belief, BetaCounts, prior_belief, update
from crlhf.reliability.record import Estimate

__all__ = [
    "METHODS",
    "Aggregated",
    "Belief",
    "BetaCounts",
    "Estimate",
    "aggregate_labels",
    "estimate",
    "prior_belief",
    "update",
]
