"""Log-probabilities of given tokens without keeping the logits.

With a vocabulary of 152 000, the logits of one micro-batch are larger than everything else in memory. Here they exist
for `CHUNK` tokens at a time. Notation: `n` tokens, `H` hidden size, `V` vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from crlhf.errors import CrlhfError

CHUNK = 128


class _FrozenHeadLogprobs(torch.autograd.Function):
    """Log-probabilities and entropies under a language-model head that is not trained.

    `d log p(y) / d h = (W_y - sum_v p_v W_v) / temperature` does not depend on what comes after, so the forward pass
    computes it while the probabilities are at hand: two products with `W` instead of the three that recomputing the
    logits in the backward pass would take. The slope of the entropy, `-sum_v p_v (log p_v + H) W_v / temperature`, is a
    third product and is computed only if it is wanted.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        temperature: float,
        entropy_gradient: bool,
    ) -> tuple[Tensor, Tensor]:
        needs_gradient = ctx.needs_input_grad[0]
        logprobs = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
        entropies = torch.empty_like(logprobs)
        slopes = torch.empty_like(hidden) if needs_gradient else None
        entropy_slopes = torch.empty_like(hidden) if needs_gradient and entropy_gradient else None
        scaled_bias = None if bias is None else bias / temperature
        for start in range(0, len(hidden), CHUNK):
            part = slice(start, start + CHUNK)
            logits = nn.functional.linear(hidden[part] / temperature, weight, scaled_bias).float()  # (CHUNK, V)
            logits -= logits.amax(dim=-1, keepdim=True)
            weights = torch.exp(logits)  # probabilities, but for their sum z
            z = weights.sum(dim=-1)
            log_z = torch.log(z)
            logprobs[part] = logits.gather(1, targets[part, None])[:, 0] - log_z
            # H = -sum p log p = log z - sum p x; the product as a batch of dot products makes no third table.
            entropies[part] = log_z - torch.bmm(weights[:, None, :], logits[:, :, None])[:, 0, 0] / z
            if slopes is not None:
                mean = (weights.to(weight.dtype) @ weight) / z[:, None].to(weight.dtype)
                slopes[part] = (weight[targets[part]] - mean) / temperature
            if entropy_slopes is not None:
                surprise = weights * (logits - (log_z - entropies[part])[:, None])  # z p (log p + H)
                entropy_slopes[part] = -(surprise / z[:, None]).to(weight.dtype) @ weight / temperature
        ctx.save_for_backward(slopes, entropy_slopes)
        if entropy_slopes is None:
            ctx.mark_non_differentiable(entropies)
        return logprobs, entropies

    @staticmethod
    def backward(ctx: Any, grad_logprobs: Tensor, grad_entropies: Tensor) -> tuple[Tensor | None, ...]:
        slopes, entropy_slopes = ctx.saved_tensors
        grad = grad_logprobs[:, None].to(slopes.dtype) * slopes
        if entropy_slopes is not None:
            grad = grad + grad_entropies[:, None].to(slopes.dtype) * entropy_slopes
        return grad, None, None, None, None, None


def _trained_head_chunk(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    logits = nn.functional.linear(hidden, weight, bias).float() / temperature
    table = torch.log_softmax(logits, dim=-1)
    return table.gather(1, targets[:, None])[:, 0], -(table.exp() * table).sum(dim=-1)


def token_logprobs(
    hidden: Tensor, head: nn.Module, targets: Tensor, temperature: float, *, entropy_gradient: bool = False
) -> tuple[Tensor, Tensor]:
    """Log-probability of each target and entropy of its distribution, `softmax(head(hidden) / temperature)`.

    A head that is trained too (full fine-tuning) has its logits computed again in the backward pass, `CHUNK` tokens at
    a time.

    Args:
        hidden: last hidden states, (n, H).
        head: the language-model head, a linear layer.
        targets: token ids, (n,).
        temperature: what the rollouts were sampled at.
        entropy_gradient: let gradients flow from the entropies too; with a trained head they always do.

    Returns:
        Log-probabilities (n,) with gradient, and entropies (n,) in nats.
    """
    weight, bias = head.weight, getattr(head, "bias", None)
    if not weight.requires_grad:
        found: tuple[Tensor, Tensor] = _FrozenHeadLogprobs.apply(  # type: ignore[no-untyped-call]
            hidden, weight, bias, targets, temperature, entropy_gradient
        )
        return found
    chunks = [
        checkpoint(_trained_head_chunk, part, weight, bias, wanted, temperature, use_reentrant=False)
        for part, wanted in zip(torch.split(hidden, CHUNK), torch.split(targets, CHUNK), strict=True)
    ]
    return torch.cat([one[0] for one in chunks]), torch.cat([one[1] for one in chunks])


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
