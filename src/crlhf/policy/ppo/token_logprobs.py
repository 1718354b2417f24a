"""Log-probabilities of given tokens without keeping the logits.

With a vocabulary of 152 000, the logits of one micro-batch are larger than everything else in memory. Here they exist
for `CHUNK` tokens at a time. Notation: `n` tokens, `H` hidden size, `V` vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from crlhf.errors import CrlhfError

CHUNK = 128


class _FrozenHeadLogprobs(torch.autograd.Function):
    """Log-probabilities and entropies under a language-model head that is not trained.

    `d log p(y) / d h = (W_y - sum_v p_v W_v) / temperature` does not depend on what comes after, so the forward pass
    computes it while the probabilities are at hand: two products with `W` instead of the three that recomputing the
    logits in the backward pass would take.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, temperature: float
    ) -> tuple[Tensor, Tensor]:
        needs_gradient = ctx.needs_input_grad[0]
        logprobs = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
        entropies = torch.empty_like(logprobs)
        slopes = torch.empty_like(hidden) if needs_gradient else None
        for start in range(0, len(hidden), CHUNK):
            part = slice(start, start + CHUNK)
            logits = nn.functional.linear(hidden[part], weight, bias).float().div_(temperature)  # (CHUNK, V)
            log_z = torch.logsumexp(logits, dim=-1)
            logprobs[part] = logits.gather(1, targets[part, None])[:, 0] - log_z
            probabilities = torch.exp(logits - log_z[:, None])
            entropies[part] = log_z - torch.linalg.vecdot(probabilities, logits)
            if slopes is not None:
                mean = probabilities.to(weight.dtype) @ weight
                slopes[part] = (weight[targets[part]] - mean) / temperature
        ctx.save_for_backward(slopes)
        ctx.mark_non_differentiable(entropies)
        return logprobs, entropies

    @staticmethod
    def backward(ctx: Any, grad_logprobs: Tensor, _grad_entropies: Tensor) -> tuple[Tensor | None, ...]:
        (slopes,) = ctx.saved_tensors
        return grad_logprobs[:, None].to(slopes.dtype) * slopes, None, None, None, None


def token_logprobs(hidden: Tensor, head: nn.Module, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Log-probability of each target and entropy of its distribution, `softmax(head(hidden) / temperature)`.

    Args:
        hidden: last hidden states, (n, H).
        head: the language-model head, a linear layer whose weight is frozen.
        targets: token ids, (n,).
        temperature: what the rollouts were sampled at.

    Returns:
        Log-probabilities (n,) with gradient with respect to `hidden`, and entropies (n,) in nats without.

    Raises:
        CrlhfError: the head is trained, which this function has no gradient for.
    """
    weight, bias = head.weight, getattr(head, "bias", None)
    if weight.requires_grad:
        raise CrlhfError("PPO trains LoRA adapters: the language-model head must be frozen, but it asks for a gradient")
    found: tuple[Tensor, Tensor] = _FrozenHeadLogprobs.apply(  # type: ignore[no-untyped-call]
        hidden, weight, bias, targets, temperature
    )
    return found


def check_plain_head(config: Any) -> None:
    """Refuse a model whose logits are more than a linear layer of its hidden states.

    Raises:
        CrlhfError: the model caps or scales its logits, so its log-probabilities would come out wrong.
    """
    text = config.get_text_config()
    scaled = [
        name
        for name, neutral in (
            ("final_logit_softcapping", None),
            ("logit_scale", 1.0),
            ("logits_scaling", 1.0),
            ("lm_head_multiplier", 1.0),
            ("output_multiplier", 1.0),
        )
        if getattr(text, name, None) not in (None, neutral)
    ]
    if scaled:
        raise CrlhfError(
            f"{text.model_type} models scale or cap their logits ({', '.join(scaled)}): PPO cannot train one"
        )
