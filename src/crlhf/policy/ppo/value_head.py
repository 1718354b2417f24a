"""The value head, and a forward pass that gives log-probabilities and values from one run of the backbone."""

from __future__ import annotations

import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers.utils import ModelOutput

from crlhf.policy.ppo.token_logprobs import check_plain_head, token_logprobs

FILE_NAME = "value_head.safetensors"


class ValueHead(nn.Module):
    """Predicts the return of a completion from the policy's last hidden state: `V = w . layer_norm(h) + b`.

    `w` starts at 0 and `b` at the mean score, so the head knows the level of the scores before it has seen one. The
    normalisation keeps its steps small whatever the scale of the hidden states is: without it a learning rate of 1e-3
    made the value loss of a 0.5B policy jump seventyfold.

    Departs from the paper: the paper does not describe its value function.
    """

    def __init__(self, hidden_size: int, mean_score: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(hidden_size))
        self.bias = nn.Parameter(torch.tensor([float(mean_score)]))  # FSDP shards no scalars

    def forward(self, hidden: Tensor) -> Tensor:
        """Values of hidden states, (..., H) -> (...), in float32."""
        normal = nn.functional.layer_norm(hidden.float(), (hidden.shape[-1],))
        return normal @ self.weight + self.bias

    def save(self, path: Path) -> None:
        """Write the head's two parameters as safetensors."""
        save_file({name: p.detach().cpu().contiguous() for name, p in self.named_parameters()}, path)

    def load(self, path: Path) -> None:
        """Read what `save` wrote."""
        self.load_state_dict(load_file(path))


@dataclass
class ResponseScores(ModelOutput):  # type: ignore[misc]
    """What the policy says of given response tokens; all (B, T), 0 at padding; all are always given.

    The field is not called `values`: a model output is a mapping, and has a method of that name.
    """

    logprobs: Tensor = None  # type: ignore[assignment]
    entropies: Tensor = None  # type: ignore[assignment]
    value_predictions: Tensor = None  # type: ignore[assignment]


def add_response_scores(
    model: Any, value_head: ValueHead, temperature: float, *, entropy_gradient: bool = False
) -> None:
    """Let `model(response_index=...)` return `ResponseScores`, with `value_head` as a part of the model.

    Called without `response_index` the model does what it did before.

    Args:
        model: a causal language model, the one inside an adapter.
        value_head: becomes `model.value_head`, so that it is trained and synchronised with the model.
        temperature: the logits are divided by it.
        entropy_gradient: let gradients flow from the entropies.
    """
    check_plain_head(model.config)
    inner = model.forward

    def forward(
        self: Any,
        *args: Any,
        response_index: Tensor | None = None,
        response_token_ids: Tensor | None = None,
        response_mask: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        if response_index is None or response_token_ids is None or response_mask is None:
            return inner(*args, **kwargs)
        wanted = {name: kwargs[name] for name in ("input_ids", "attention_mask", "position_ids")}
        hidden = self.base_model(**wanted, use_cache=False).last_hidden_state.flatten(0, 1)  # (R * S, H)
        # index_select, not hidden[index]: its backward adds in a fixed order, and runs must be repeatable.
        hidden = torch.index_select(hidden, 0, response_index[response_mask])  # (n, H)
        targets, head = response_token_ids[response_mask], self.get_output_embeddings()
        logprobs, entropies = token_logprobs(hidden, head, targets, temperature, entropy_gradient=entropy_gradient)
        found = (logprobs, entropies, self.value_head(hidden))
        return ResponseScores(*(_scatter(x, response_mask) for x in found))

    model.value_head = value_head
    model.forward = types.MethodType(forward, model)


def _scatter(x: Tensor, mask: Tensor) -> Tensor:
    return x.new_zeros(mask.shape).masked_scatter(mask, x)
