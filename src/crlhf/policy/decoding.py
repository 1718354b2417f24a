"""The decode loop: one batch of rows, token by token, over a model of transformers.

Notation: `B` rows of a batch, `S` tokens of one forward pass, `T` tokens so far, `V` vocabulary, `tau` temperature.

A token is drawn from `softmax(logits / tau)`, the policy's own distribution, or from its nucleus. A prompt's keys and
values are computed once for all its rows, and a beginning that all prompts of the batch share (worked examples) once
for the batch; rows that are finished leave the batch.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from crlhf.errors import IntegrityError
from crlhf.progress import Bar

if TYPE_CHECKING:
    import numpy as np
    import torch

Key = tuple[int, int]  # (input_no, sample_no)

_MIN_SHARED = 32  # tokens; a shorter common beginning is not worth a forward pass of its own
_NUCLEUS_FIRST = 256  # tokens
_WINDOW_MARGIN = 8  # tokens before the longest stop string that are decoded with it


class Sample(NamedTuple):
    """One sampled completion.

    `token_ids` include the token that completed the stop string, or the end token; `logprobs` has one number for each.
    `text` is the decoded completion, not cut at the stop string, without the end token. `finish_reason` is stop (a stop
    string came up), eos (an end token) or length (`max_new_tokens` were drawn).
    """

    input_no: int
    sample_no: int
    prompt_token_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    text: str
    finish_reason: str


@dataclass
class Row:
    """A completion in the making."""

    key: Key
    prompt: tuple[int, ...]
    uniforms: np.ndarray
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish_reason: str = ""


def end_token_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """The tokens that end a text: those of the generation config, of the model's config and of the tokenizer."""
    found: set[int] = set()
    for holder in (getattr(model, "generation_config", None), model.config, tokenizer):
        ids = getattr(holder, "eos_token_id", None)
        found.update([] if ids is None else [ids] if isinstance(ids, int) else ids)
    return frozenset(found)


def draw(
    logits: torch.Tensor, temperature: float, uniforms: torch.Tensor, top_p: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw one token a row by inverse transform sampling, or the likeliest where `temperature` is 0.

    Token `k` is drawn when `c[k-1] <= u * c[V-1] < c[k]`, `c` being the cumulative sum of `exp(logits / tau - max)`;
    its log-probability is `logits[k] / tau - max - log c[V-1]`. A token of probability 0 is never drawn. One pass over
    the vocabulary: `torch.multinomial` takes twenty times as long on 150 000 tokens.

    Args:
        logits: (B, V), float32.
        temperature: `tau`.
        uniforms: (B,), in [0, 1).
        top_p: below 1 the distribution is cut to its nucleus and scaled up to 1; see `nucleus`.

    Returns:
        Tokens (B,) and their log-probabilities (B,) in the distribution drawn from; at `tau` = 0 those of `tau` = 1.

    Raises:
        IntegrityError: a row has logits that are not finite.
    """
    import torch

    scaled = logits / temperature if temperature > 0 else logits
    if temperature > 0 and top_p < 1:
        scaled = nucleus(scaled, top_p)
    highest = scaled.amax(dim=-1, keepdim=True)  # (B, 1)
    cumulative = (scaled - highest).exp_().cumsum_(dim=-1)  # (B, V)
    total = cumulative[:, -1:]  # (B, 1)
    if not bool(torch.isfinite(total).all()):
        raise IntegrityError("the policy's logits are not finite: its weights are damaged, or its dtype is too narrow")
    if temperature > 0:
        below = torch.nextafter(total, torch.zeros_like(total))
        target = torch.minimum(uniforms.to(total).unsqueeze(1) * total, below)
        tokens = torch.searchsorted(cumulative, target, right=True)  # (B, 1)
    else:
        tokens = scaled.argmax(dim=-1, keepdim=True)
    logprobs = scaled.gather(1, tokens) - highest - total.log()
    return tokens.squeeze(1), logprobs.squeeze(1)


def nucleus(scaled: torch.Tensor, top_p: float) -> torch.Tensor:
    """`scaled` (B, V) with minus infinity outside each row's nucleus: the fewest likeliest tokens that hold `top_p`.

    A token stays when the probabilities of all likelier tokens sum to less than `top_p` (Holtzman et al. 2020,
    arXiv:1904.09751); tokens as likely as the last that stays, stay too. Most nuclei are small: the likeliest 256
    tokens are looked at first, and a row is sorted whole only when they hold too little.
    """
    import torch

    log_total = scaled.logsumexp(dim=-1, keepdim=True)  # (B, 1)
    edge = torch.empty_like(log_total)
    waiting = torch.arange(len(scaled), device=scaled.device)
    for size in (min(_NUCLEUS_FIRST, scaled.shape[1]), scaled.shape[1]):
        best = scaled[waiting].topk(size, dim=-1).values
        probabilities = (best - log_total[waiting]).exp()
        stays = probabilities.cumsum(dim=-1) - probabilities < top_p
        stays[:, 0] = True
        edge[waiting] = best.masked_fill(~stays, torch.inf).amin(dim=-1, keepdim=True)
        waiting = waiting[stays[:, -1]]
        if not len(waiting):
            break
    return scaled.masked_fill(scaled < edge, -torch.inf)


class Decoder:
    """The decode loop: everything about it that stays the same from batch to batch."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        max_new_tokens: int,
        temperature: float,
        top_p: float = 1.0,
        stops: tuple[str, ...],
        progress: Bar | None,
        on_text: Callable[[Key, str], None] | None = None,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.max_new_tokens = max_new_tokens
        self.temperature = temperature
        self.top_p = top_p
        self.stops = stops
        self.progress = progress
        self.on_text = on_text
        self.ends = end_token_ids(model, tokenizer)
        self.silent = _special_ids(tokenizer)
        self.n_spoken = len(tokenizer)  # a policy may have more rows in its head than there are tokens
        self.window = max((len(stop.encode()) for stop in stops), default=0) + _WINDOW_MARGIN
        takes = inspect.signature(plain_model(model).forward).parameters
        self.takes_positions = "position_ids" in takes
        self.takes_keep = "logits_to_keep" in takes

    def run(self, rows: list[Row]) -> list[Sample]:
        """Complete all `rows`; the order of the result is the order in which they finish."""
        import torch

        device = self.model.device
        logits, mask, cache = self._prefill(rows)
        active, samples = rows, []
        for step in range(self.max_new_tokens):
            uniforms = torch.tensor([float(row.uniforms[step]) for row in active], device=device)
            tokens, logprobs = draw(logits, self.temperature, uniforms, self.top_p)
            for row, token, logprob in zip(active, tokens.tolist(), logprobs.tolist(), strict=True):
                row.token_ids.append(token)
                row.logprobs.append(logprob)
                row.finish_reason = self._finish_reason(row)
                if self.on_text is not None:
                    self.on_text(row.key, self._text(row.prompt, _spoken(row)))
            keep = [place for place, row in enumerate(active) if not row.finish_reason]
            if len(keep) < len(active):
                gone = [row for row in active if row.finish_reason]
                samples += [self._sample(row) for row in gone]
                if self.progress is not None:
                    self.progress.update(len(gone))
                if not keep:
                    break
                active = [active[place] for place in keep]
                places = torch.tensor(keep, device=device)
                cache.batch_select_indices(places)
                mask, tokens = mask[places], tokens[places]
            mask = torch.cat([mask, mask.new_ones(len(active), 1)], dim=1)  # (B, T)
            logits = self._forward(tokens.unsqueeze(1), mask, cache)
        return samples

    def _prefill(self, rows: list[Row]) -> tuple[torch.Tensor, torch.Tensor, Any]:
        """Keys and values of the rows' prompts, each prompt computed once; the logits after them and the mask.

        Layout of a row: the beginning that all prompts of the batch share, padding, the rest of the prompt.
        """
        import torch

        from crlhf.policy.roomy_cache import is_plain, roomy_cache

        device = self.model.device
        prompts = list(dict.fromkeys(row.prompt for row in rows))
        longest = max(map(len, prompts))
        cache = roomy_cache(plain_model(self.model), longest + self.max_new_tokens)
        n_shared = _shared_length(prompts) if len(prompts) > 1 and is_plain(cache) else 0
        n_shared = n_shared if n_shared >= _MIN_SHARED else 0
        width = longest - n_shared
        if n_shared:
            shared = torch.tensor([prompts[0][:n_shared]], device=device)
            self._forward(shared, torch.ones_like(shared), cache)
            cache.batch_select_indices(torch.zeros(len(prompts), dtype=torch.long, device=device))
        padding = [width + n_shared - len(prompt) for prompt in prompts]
        rests = [[prompt[-1]] * pad + list(prompt[n_shared:]) for prompt, pad in zip(prompts, padding, strict=True)]
        masks = [[1] * n_shared + [0] * pad + [1] * (width - pad) for pad in padding]
        mask = torch.tensor(masks, device=device)
        logits = self._forward(torch.tensor(rests, device=device), mask, cache)
        place_of = {prompt: place for place, prompt in enumerate(prompts)}
        places = torch.tensor([place_of[row.prompt] for row in rows], device=device)
        if len(prompts) < len(rows):
            cache.batch_select_indices(places)
        return logits[places], mask[places], cache

    def _forward(self, token_ids: torch.Tensor, mask: torch.Tensor, cache: Any) -> torch.Tensor:
        """The logits after the last of `token_ids` (B, S), float32 (B, V); `cache` takes in the new keys and values.

        A token's position is the number of real tokens before it, wherever the padding lies.
        """
        extra: dict[str, Any] = {}
        if self.takes_positions:
            positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
            extra["position_ids"] = positions[:, -token_ids.shape[1] :]
        if self.takes_keep:
            extra["logits_to_keep"] = 1
        output = self.model(
            input_ids=token_ids, attention_mask=mask, past_key_values=cache, use_cache=True, return_dict=True, **extra
        )
        logits: torch.Tensor = output.logits[:, -1].float()
        return logits

    def _finish_reason(self, row: Row) -> str:
        """Why `row` ends with its last token, or an empty text when it goes on."""
        if row.token_ids[-1] in self.ends:
            return "eos"
        if self.stops and self._has_stop(row):
            return "stop"
        return "length" if len(row.token_ids) == self.max_new_tokens else ""

    def _has_stop(self, row: Row) -> bool:
        """Whether the text of `row` holds a stop string.

        Every token with a text adds a byte at least, so that a stop string which the last token completes lies within
        as many tokens as it has bytes; only when it does is the whole text looked at.
        """
        spoken = [token for token in row.token_ids if token < self.n_spoken and token not in self.silent]
        spoken = spoken[-self.window :]
        return any(stop in self._decode(spoken) for stop in self.stops) and any(
            stop in self._text(row.prompt, row.token_ids) for stop in self.stops
        )

    def _text(self, prompt: tuple[int, ...], token_ids: Sequence[int]) -> str:
        """The text that `token_ids` add to `prompt`. Some tokenizers drop the first blank of what they decode."""
        head, whole = self._decode(prompt[-1:]), self._decode([*prompt[-1:], *token_ids])
        return whole[len(head) :] if whole.startswith(head) else self._decode(token_ids)

    def _decode(self, token_ids: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(list(token_ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def _sample(self, row: Row) -> Sample:
        return Sample(
            *row.key,
            row.prompt,
            tuple(row.token_ids),
            tuple(row.logprobs),
            self._text(row.prompt, _spoken(row)),
            row.finish_reason,
        )


def plain_model(model: Any) -> Any:
    """The model of transformers inside `model`, which may be wrapped by PEFT."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _spoken(row: Row) -> list[int]:
    """The row's tokens without the end token."""
    return row.token_ids[:-1] if row.finish_reason == "eos" else row.token_ids


def _special_ids(tokenizer: Any) -> frozenset[int]:
    """The special tokens: they have no text, and are left out when token ids are decoded."""
    added = getattr(tokenizer, "added_tokens_decoder", {})
    return frozenset(tokenizer.all_special_ids) | {number for number, token in added.items() if token.special}


def _shared_length(prompts: Sequence[tuple[int, ...]]) -> int:
    """Length of the beginning that all prompts share, one less than the shortest prompt at most."""
    first, last = min(prompts), max(prompts)
    most = min(map(len, prompts)) - 1
    return next((place for place in range(most) if first[place] != last[place]), most)
