"""From verdicts and reliabilities to rewards: line posteriors, aligned scores, the consensual ranking."""

from crlhf.rewards.line_posteriors import line_posteriors
from crlhf.rewards.scores import LeftOut, left_out, scores

__all__ = ["LeftOut", "left_out", "line_posteriors", "scores"]
