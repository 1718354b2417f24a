"""Stop strings in the trainer's own generation: a completion ends with the token that completes one.

Kept here and not in TRL's settings: transformers' own stop strings also look at the end of the prompt, and TRL takes
the padding after a stopped completion for tokens of it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import StoppingCriteria, StoppingCriteriaList

from crlhf.policy.decoding import plain_model


class StopStrings:
    """Where completions end."""

    def __init__(self, tokenizer: Any, stops: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        self._stops = tuple(stops)

    def _has_one(self, token_ids: Sequence[int]) -> bool:
        text = self._tokenizer.decode(token_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return any(stop in text for stop in self._stops)

    def length(self, token_ids: Sequence[int]) -> int:
        """Tokens up to and with the one that completes the first stop string; all of them where there is none."""
        if not self._has_one(token_ids):
            return len(token_ids)
        return bisect_left(range(len(token_ids)), True, key=lambda n: self._has_one(token_ids[:n]))

    @contextmanager
    def ending(self, model: Any) -> Iterator[None]:
        """The model's `generate` ends rows at stop strings within. What follows in a row that ended is padding."""
        inner = plain_model(model)
        own = inner.generate

        def generate(*args: Any, **kwargs: Any) -> Any:
            rule = _AtStop(self, kwargs["input_ids"].shape[1])
            return own(*args, stopping_criteria=StoppingCriteriaList([rule]), **kwargs)

        inner.generate = generate
        try:
            yield
        finally:
            del inner.generate


class _AtStop(StoppingCriteria):  # type: ignore[misc]
    """Tells transformers which rows of a batch are done."""

    def __init__(self, stops: StopStrings, prompt_length: int) -> None:
        self._stops = stops
        self._prompt_length = prompt_length

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        rows = input_ids[:, self._prompt_length :].tolist()
        return torch.tensor([self._stops._has_one(row) for row in rows], device=input_ids.device)
