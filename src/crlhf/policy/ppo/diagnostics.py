"""What a PPO step says of itself: sums over micro-batches, and the curves they give. Pure functions.

Notation: `B` completions, `T` response tokens, `response_mask` True at response tokens.
"""

from __future__ import annotations

import math
from collections import defaultdict

import torch
from torch import Tensor

from crlhf.policy.ppo.advantages import kl_terms

Sums = dict[str, float]
SUM_NAMES = [
    *("completions", "tokens", "input_tokens", "score", "entropy", "gap_to_behaviour"),
    *("returns", "returns_sq", "errors", "errors_sq", "kl_k1", "kl_k3", "weight", "weighted_length"),
    *("policy_loss", "value_loss", "clip_fraction", "value_clip_fraction", "stop_asked"),
]
"""Every sum of a step, in one order: processes add theirs up."""


def policy_kl(logprobs: Tensor, old_logprobs: Tensor, ref_logprobs: Tensor, response_mask: Tensor) -> dict[str, Tensor]:
    """KL(policy || reference) of the policy as it is now, from tokens that an older policy drew; sums over tokens.

    Equation: `sum_t rho_t k(policy_t, reference_t)`, `rho_t = policy_t / behaviour_t`, `k` one of `kl_terms`. In replay
    the weight `rho_t` matters: where the behaviour policy is the reference, unweighted k1 estimates
    -KL(reference || policy), which only falls, and no bound on it would ever be met.

    Returns:
        `kl_k1` and `kl_k3`, both scalars.
    """
    # The weight is bounded by e^20 so that a policy that broke away gives a huge finite KL, which stops training.
    log_weight = torch.where(response_mask, logprobs - old_logprobs, 0.0).clamp(-20, 20)
    weight = torch.exp(log_weight)
    difference = torch.where(response_mask, logprobs - ref_logprobs, 0.0).clamp(-20, 20)
    zero = torch.zeros_like(difference)
    return {f"kl_{name}": (weight * kl_terms(difference, zero, name) * response_mask).sum() for name in ("k1", "k3")}


def completion_weights(logprobs: Tensor, old_logprobs: Tensor, response_mask: Tensor) -> Tensor:
    """How much more often the policy writes each completion than the one that wrote it, bounded by e either way, (B,).

    Equation: `exp(clip(sum_t (log policy - log behaviour), -1, 1))`. Unbounded, one completion would decide what is
    said of sixteen.
    """
    ratios = torch.where(response_mask, logprobs - old_logprobs, 0.0).sum(dim=1)
    return torch.exp(ratios.clamp(-1, 1))


def explained_variance(n: float, returns: float, returns_sq: float, errors: float, errors_sq: float) -> float:
    """Share of the variance of returns that the value head explains.

    Equation: `1 - Var(R - V) / Var(R)`; nan when the returns do not vary.

    Args:
        n: number of tokens.
        returns: sum of `R`.
        returns_sq: sum of `R^2`.
        errors: sum of `R - V`.
        errors_sq: sum of `(R - V)^2`.
    """
    if n == 0:
        return math.nan
    variance = returns_sq / n - (returns / n) ** 2
    residual = errors_sq / n - (errors / n) ** 2
    return 1 - residual / variance if variance > 1e-12 else math.nan


def token_sums(
    *,
    logprobs: Tensor,
    entropies: Tensor,
    values: Tensor,
    old_logprobs: Tensor,
    ref_logprobs: Tensor,
    returns: Tensor,
    scores: Tensor,
    response_mask: Tensor,
) -> Sums:
    """Everything about one micro-batch that the curves of its step are made of; sums of two batches add up."""
    errors = (returns - values) * response_mask
    lengths = response_mask.sum(dim=1)
    weight = completion_weights(logprobs, old_logprobs, response_mask)
    kept = returns * response_mask
    sums = {
        "completions": torch.tensor(len(scores)),
        "tokens": response_mask.sum(),
        "score": scores.sum(),
        "entropy": (entropies * response_mask).sum(),
        "gap_to_behaviour": ((logprobs - old_logprobs).abs() * response_mask).sum(),
        "returns": kept.sum(dtype=torch.float64),
        "returns_sq": (kept.double() ** 2).sum(),
        "errors": errors.sum(dtype=torch.float64),
        "errors_sq": (errors.double() ** 2).sum(),
        "weight": weight.sum(dtype=torch.float64),
        "weighted_length": (weight * lengths).sum(dtype=torch.float64),
        **policy_kl(logprobs, old_logprobs, ref_logprobs, response_mask),
    }
    return {name: float(value) for name, value in sums.items()}


def add_sums(total: Sums, more: Sums) -> Sums:
    """Add two sets of sums; a name that is in one only counts as 0 in the other."""
    return {name: total.get(name, 0.0) + more.get(name, 0.0) for name in (*total, *(more.keys() - total.keys()))}


def kl_per_completion(sums: Sums, estimator: str = "kl_k3") -> float:
    """Mean over completions of the KL from the reference, in nats."""
    return sums.get(estimator, 0.0) / max(sums.get("completions", 0.0), 1)


def length_drift(sums: Sums, round_length: float, start_length: float) -> float:
    """How much longer completions are than at the start of training, as a share; negative: shorter.

    Equation: `(round_length / start_length) * (weighted mean length / mean length) - 1`, the weights those of
    `completion_weights`: what the policy would write now, as far as the completions at hand can tell.

    Args:
        sums: of one step.
        round_length: mean tokens of the round's completions.
        start_length: mean tokens of the first round's completions.
    """
    if not sums.get("tokens") or not start_length:
        return 0.0
    now = sums["weighted_length"] / sums["weight"]
    return (round_length / start_length) * now / (sums["tokens"] / sums["completions"]) - 1


def step_metrics(sums: Sums) -> dict[str, float]:
    """The curves of one step. KL is in nats a completion; entropy and gap in nats a token; losses are means a token.

    A step without completions, which online PPO can have when little was scored, has zeros.
    """
    sums = defaultdict(float, sums)
    n_tokens = max(sums["tokens"], 1)
    a_token = ("policy_loss", "value_loss", "entropy", "gap_to_behaviour", "clip_fraction", "value_clip_fraction")
    return {
        "score": sums["score"] / max(sums["completions"], 1),
        "length": sums["tokens"] / max(sums["completions"], 1),
        "kl_k1": kl_per_completion(sums, "kl_k1"),
        "kl_k3": kl_per_completion(sums, "kl_k3"),
        **{name: sums[name] / n_tokens for name in a_token},
        "explained_variance": explained_variance(
            sums["tokens"], sums["returns"], sums["returns_sq"], sums["errors"], sums["errors_sq"]
        ),
    }
