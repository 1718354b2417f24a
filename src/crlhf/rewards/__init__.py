"""From verdicts and reliabilities to rewards: line posteriors, aligned scores, the consensual ranking."""

from crlhf.rewards.line_chain import Chain, chained, fit_chain, fit_to_posteriors, gain_on_known
from crlhf.rewards.line_posteriors import line_posteriors
from crlhf.rewards.next_verdicts import value_of_verdicts
from crlhf.rewards.scores import LeftOut, left_out, scores
from crlhf.rewards.task_batches import TaskSmoothing, find_batches, smooth
from crlhf.rewards.token_rewards import score_at_last_token, score_at_line_ends

__all__ = [
    "Chain",
    "LeftOut",
    "TaskSmoothing",
    "chained",
    "find_batches",
    "fit_chain",
    "fit_to_posteriors",
    "gain_on_known",
    "left_out",
    "line_posteriors",
    "score_at_last_token",
    "score_at_line_ends",
    "scores",
    "smooth",
    "value_of_verdicts",
]
