"""Per-token rewards, generalised advantage estimation and whitening, as pure functions of tensors.

Notation: `B` completions, `T` response tokens. Every tensor of shape (B, T) is right-padded, and `response_mask` is
True at the tokens of a response. Results are 0 where it is False.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor


class Advantages(NamedTuple):
    """Advantages and the returns that the value head learns, both (B, T)."""

    advantages: Tensor
    returns: Tensor


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean of `x` where `mask` is True; 0 when it is True nowhere."""
    return (x * mask).sum() / mask.sum().clamp(min=1)


def masked_whiten(x: Tensor, mask: Tensor, epsilon: float = 1e-8) -> Tensor:
    """Shift and scale `x` to mean 0 and variance 1 over the True entries of `mask`; 0 elsewhere.

    Equation: `(x - mean) / sqrt(var + epsilon)`, with the unbiased variance, as in TRL's `masked_whiten`. With fewer
    than two entries there is nothing to compare, and the result is 0.
    """
    n = int(mask.sum())
    if n < 2:
        return torch.zeros_like(x)
    centred = (x - masked_mean(x, mask)) * mask
    variance = (centred**2).sum() / (n - 1)
    return centred * torch.rsqrt(variance + epsilon)


def kl_terms(logprobs: Tensor, ref_logprobs: Tensor, estimator: Literal["k1", "k3"]) -> Tensor:
    """One-sample estimate of KL(policy || reference) at each token that the policy drew.

    With `d = log policy - log reference`: k1 is `d`, k3 is `exp(-d) - 1 + d` (never negative, less variance). Source:
    J. Schulman, "Approximating KL Divergence", 2020; the spellings are TRL's `kl_estimator`.

    Args:
        logprobs: log-probabilities under the policy, any shape.
        ref_logprobs: log-probabilities under the reference, same shape.
        estimator: which one.
    """
    difference = logprobs - ref_logprobs
    return difference if estimator == "k1" else torch.exp(-difference) - 1 + difference


def last_token(response_mask: Tensor) -> Tensor:
    """Index of the last response token of each row, (B,); 0 for a row without tokens."""
    return (response_mask.sum(dim=1) - 1).clamp(min=0).long()


def at_last_token(response_mask: Tensor) -> Tensor:
    """1 at the last response token of each row, else 0, (B, T); a row without tokens has no 1."""
    place = torch.zeros_like(response_mask, dtype=torch.float32)
    return place.scatter_(1, last_token(response_mask)[:, None], 1.0) * response_mask


def kl_rewards(
    logprobs: Tensor,
    ref_logprobs: Tensor,
    scores: Tensor,
    response_mask: Tensor,
    *,
    kl_coef: float,
    estimator: Literal["k1", "k3"],
) -> Tensor:
    """Per-token rewards: the KL penalty everywhere, and the score at the last token or where it was placed.

    Equation: `r_t = -kl_coef * kl_t + [t is the last token] * score`, or `+ score_t`. Source: Ziegler et al.,
    arXiv:1909.08593, eq. 2; Ouyang et al., arXiv:2203.02155.

    Args:
        logprobs: of the policy that drew the tokens, (B, T).
        ref_logprobs: of the frozen reference, (B, T).
        scores: one score a completion, (B,), or one a token, (B, T).
        response_mask: (B, T). A row without tokens keeps reward 0 everywhere.
        kl_coef: weight of the penalty.
        estimator: k1 or k3.

    Returns:
        Rewards, (B, T).
    """
    placed = scores if scores.dim() == 2 else scores[:, None] * at_last_token(response_mask)
    return (placed - kl_coef * kl_terms(logprobs, ref_logprobs, estimator)) * response_mask


def whitening_scale(rewards: Tensor, response_mask: Tensor, epsilon: float = 1e-8) -> float:
    """What whitening multiplies rewards by: `1 / sqrt(var + epsilon)` over all response tokens; their mean stays.

    Source: `whiten_rewards` of TRL's `PPOTrainer` (1.12), with the unbiased variance. With fewer than two tokens 1.
    """
    n = int(response_mask.sum())
    if n < 2:
        return 1.0
    centred = (rewards - masked_mean(rewards, response_mask)) * response_mask
    return float(torch.rsqrt((centred.double() ** 2).sum() / (n - 1) + epsilon))


def gae(rewards: Tensor, values: Tensor, response_mask: Tensor, gamma: float, lam: float) -> Advantages:
    """Generalised advantage estimation over each response.

    Equation: `delta_t = r_t + gamma V_{t+1} - V_t`, `A_t = delta_t + gamma lam A_{t+1}`, `R_t = A_t + V_t`, where `V`
    after the last token is 0. Source: Schulman et al., arXiv:1506.02438, eq. 11-16. With `lam = 1`, `R_t` is the
    discounted reward-to-go.

    Args:
        rewards: (B, T).
        values: value of the state before each token, (B, T).
        response_mask: (B, T). Padding neither gives nor passes anything on, whatever it holds.
        gamma: discount a token.
        lam: the trade of bias for variance.
    """
    values = torch.where(response_mask, values, 0.0)
    advantages = torch.zeros_like(values)
    following = torch.zeros_like(values[:, 0])
    for t in reversed(range(values.shape[1])):
        next_value = values[:, t + 1] if t + 1 < values.shape[1] else torch.zeros_like(following)
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        following = torch.where(response_mask[:, t], delta + gamma * lam * following, 0.0)
        advantages[:, t] = following
    return Advantages(advantages, (advantages + values) * response_mask)


def centred_scores(scores: Tensor, expected: Tensor, problem_nos: Tensor) -> Tensor:
    """Shift the scores of each problem so that they meet the value head's expectation on average.

    Equation: `s_i - mean over the problem of (s - V)`. With the value before the last token as `V`, advantages computed
    from the result have mean 0 at the last tokens of each problem, so a hard problem whose completions all score alike
    pushes the policy nowhere. It is the same as shifting the value baseline of the problem: a value head that has seen
    few problems knows only the mean of all. A problem with one completion teaches the policy nothing; the value head
    still learns from it, since returns are computed from the scores as they are.

    Departs from the paper: the paper does not say how advantages are centred.

    Args:
        scores: (B,).
        expected: what the value head expects of each completion's score, (B,).
        problem_nos: the problem of each completion, as integers, (B,).
    """
    surprise = (scores - expected).double()
    n_problems = int(problem_nos.max()) + 1 if len(problem_nos) else 0
    sums = torch.zeros(n_problems, dtype=torch.float64, device=scores.device).index_add_(0, problem_nos, surprise)
    counts = torch.bincount(problem_nos, minlength=n_problems).clamp(min=1)
    return scores - (sums / counts)[problem_nos].to(scores.dtype)


def problem_advantages(
    rewards: Tensor,
    scores: Tensor,
    values: Tensor,
    response_mask: Tensor,
    problem_nos: Tensor,
    *,
    gamma: float,
    lam: float,
    center_per_problem: bool,
    whiten: bool,
    shares: Tensor | None = None,
) -> Advantages:
    """Advantages as the policy loss takes them, and returns as the value loss takes them.

    Args:
        rewards: of `kl_rewards`, (B, T).
        scores: (B,), already part of `rewards`.
        values: (B, T).
        response_mask: (B, T).
        problem_nos: (B,).
        gamma: of `gae`.
        lam: of `gae`.
        center_per_problem: shift the scores by `centred_scores` for the advantages, not for the returns.
        whiten: whiten the advantages over all tokens at the end.
        shares: the share of a score's shift that each token takes, (B, T), rows sum to 1; None: the last token takes
            it, and is where the value head's expectation is read. Otherwise it is read before the first token.
    """
    advantages, returns = gae(rewards, values, response_mask, gamma, lam)
    if center_per_problem:
        place = at_last_token(response_mask) if shares is None else shares
        expected = (values * place).sum(dim=1) if shares is None else values[:, 0]
        shift = centred_scores(scores, expected, problem_nos) - scores
        advantages = gae(rewards + shift[:, None] * place, values, response_mask, gamma, lam).advantages
    if whiten:
        advantages = masked_whiten(advantages, response_mask)
    return Advantages(advantages, returns)
