"""How reliable each annotator is: `estimate`, the records it returns, and the generic door `aggregate_labels`."""

from crlhf.reliability.carry_over import remembered
from crlhf.reliability.comparison import Comparison, compare_estimators
from crlhf.reliability.diagnosis import Diagnosis, diagnose
from crlhf.reliability.diagnostics import Calibration, calibration_of, krippendorff_alpha
from crlhf.reliability.door import METHODS, Aggregated, aggregate_labels
from crlhf.reliability.estimators import estimate
from crlhf.reliability.honeypot_beta import Belief, BetaCounts, prior_belief, update
from crlhf.reliability.record import Estimate
from crlhf.reliability.suspects import find_suspects

__all__ = [
    "METHODS",
    "Aggregated",
    "Belief",
    "BetaCounts",
    "Calibration",
    "Comparison",
    "Diagnosis",
    "Estimate",
    "aggregate_labels",
    "calibration_of",
    "compare_estimators",
    "diagnose",
    "estimate",
    "find_suspects",
    "krippendorff_alpha",
    "prior_belief",
    "remembered",
    "update",
]
