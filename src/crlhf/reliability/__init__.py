"""How reliable each annotator is: `estimate` and the records it returns."""

from crlhf.reliability.estimators import estimate
from crlhf.reliability.honeypot_beta import Belief, BetaCounts, prior_belief, update
from crlhf.reliability.record import Estimate

__all__ = ["Belief", "BetaCounts", "Estimate", "estimate", "prior_belief", "update"]
