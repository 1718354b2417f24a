"""PPO's losses, as pure functions of tensors.

Notation as in `advantages`: `B` completions, `T` response tokens, `response_mask` True at response tokens. Losses are
sums over tokens, so that micro-batches add up; the trainer divides by the tokens of the whole step.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class ClippedLoss(NamedTuple):
    """A loss summed over tokens (a scalar with gradient), and at how many tokens the clipped term was the larger."""

    loss_sum: Tensor
    n_clipped: Tensor


def clipped_policy_loss(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, response_mask: Tensor, cliprange: float
) -> ClippedLoss:
    """PPO's clipped surrogate, summed over tokens.

    Equation: `-min(rho A, clip(rho, 1 - c, 1 + c) A)` with `rho = exp(logprobs - old_logprobs)`. Source: Schulman et
    al., arXiv:1707.06347, eq. 7.

    Args:
        logprobs: of the policy that is trained, (B, T).
        old_logprobs: of the policy that drew the tokens, (B, T); no gradient flows into them.
        advantages: (B, T).
        response_mask: (B, T).
        cliprange: `c`.
    """
    # Padding is set to log-ratio 0 before exp: an infinity there would turn into nan in the backward pass.
    log_ratio = torch.where(response_mask, logprobs - old_logprobs.detach(), 0.0)
    ratio = torch.exp(log_ratio)
    plain = -advantages * ratio
    clipped = -advantages * ratio.clamp(1 - cliprange, 1 + cliprange)
    loss = torch.maximum(plain, clipped)
    return ClippedLoss((loss * response_mask).sum(), ((clipped > plain) & response_mask).sum())


def clipped_value_loss(
    values: Tensor, old_values: Tensor, returns: Tensor, response_mask: Tensor, cliprange_value: float
) -> ClippedLoss:
    """Half the squared error of the value head, with its move since the rollouts clipped, summed over tokens.

    Equation: `0.5 max((V - R)^2, (V_old + clip(V - V_old, -c, c) - R)^2)`. Source: OpenAI baselines' ppo2; TRL's
    `PPOTrainer` (1.12).

    Args:
        values: of the head that is trained, (B, T).
        old_values: when the rollouts were scored, (B, T).
        returns: (B, T).
        response_mask: (B, T).
        cliprange_value: `c`.
    """
    bounded = old_values + (values - old_values).clamp(-cliprange_value, cliprange_value)
    plain = (values - returns) ** 2
    clipped = (bounded - returns) ** 2
    loss = 0.5 * torch.maximum(plain, clipped)
    return ClippedLoss((loss * response_mask).sum(), ((clipped > plain) & response_mask).sum())
