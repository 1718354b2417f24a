"""Micro-batches: which completions go together, and how they are laid out for one forward pass.

Completions of one problem share their prompt, so a row of a packed batch is one prompt followed by all its responses;
a mask keeps the responses from seeing each other. The prompt's keys and values are computed once, and no token of one
response reaches another. Notation: `B` completions, `T` response tokens, `R` packed rows, `S` packed tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

PROMPT = 0
PADDING = -1


class PackedBatch(NamedTuple):
    """One micro-batch as the model takes it.

    Attributes:
        input_ids: (R, S).
        position_ids: each token's position in its own prompt + response, (R, S).
        attention_mask: True where a query (dim 2) may look at a key (dim 3), (R, 1, S, S).
        response_index: where in the flattened (R * S) hidden states each response token is predicted from, (B, T).
        response_token_ids: the tokens to be scored, (B, T).
        response_mask: True at response tokens, (B, T).
        n_tokens: input tokens, padding not counted.
    """

    input_ids: Tensor
    position_ids: Tensor
    attention_mask: Tensor
    response_index: Tensor
    response_token_ids: Tensor
    response_mask: Tensor
    n_tokens: int


def plan_epoch(
    problem_nos: Sequence[int], lengths: Sequence[int], n_steps: int, n_micro_batches: int, rng: np.random.Generator
) -> list[list[int]]:
    """Split completions into micro-batches for one pass over them: each exactly once.

    Problems are shuffled, completions of one problem stay together, and the sequence is cut into `n_steps` nearly equal
    steps. Within a step problems are ordered by length, so that micro-batches pad little, and cut into
    `n_micro_batches`. A micro-batch is empty when there are fewer completions than micro-batches.

    Args:
        problem_nos: the problem of each completion.
        lengths: tokens of each completion's prompt and response.
        n_steps: optimiser steps in the pass.
        n_micro_batches: micro-batches in each step.
        rng: draws the order of problems.

    Returns:
        `n_steps * n_micro_batches` lists of row numbers, in the order of training.
    """
    problems = np.asarray(problem_nos)
    rank = rng.permutation(int(problems.max()) + 1) if len(problems) else problems
    order = np.lexsort((np.arange(len(problems)), rank[problems] if len(problems) else problems))
    longest = np.zeros(len(rank), dtype=np.int64)
    np.maximum.at(longest, problems, np.asarray(lengths, dtype=np.int64))
    batches: list[list[int]] = []
    for step in np.array_split(order, n_steps):
        by_length = step[np.lexsort((np.arange(len(step)), rank[problems[step]], -longest[problems[step]]))]
        batches += [part.tolist() for part in np.array_split(by_length, n_micro_batches)]
    return batches


def pack_responses(prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]], pad_id: int) -> PackedBatch:
    """Lay out completions for one forward pass, each distinct prompt once.

    The last token of a response is scored but not fed: nothing is predicted from it.

    Args:
        prompts: prompt tokens of each completion, at least one token each.
        responses: response tokens of each completion, at least one token each.
        pad_id: any token; it is masked.
    """
    rows: dict[tuple[int, ...], list[int]] = {}
    for no, prompt in enumerate(prompts):
        rows.setdefault(tuple(prompt), []).append(no)
    sizes = [len(prompt) + sum(len(responses[no]) - 1 for no in nos) for prompt, nos in rows.items()]
    width, longest = max(sizes), max(map(len, responses))
    input_ids = torch.full((len(rows), width), pad_id)  # (R, S)
    position_ids = torch.zeros((len(rows), width), dtype=torch.long)
    segments = torch.full((len(rows), width), PADDING)
    index = torch.zeros((len(prompts), longest), dtype=torch.long)  # (B, T)
    targets = torch.full((len(prompts), longest), pad_id)
    mask = torch.zeros((len(prompts), longest), dtype=torch.bool)
    for row, (prompt, nos) in enumerate(rows.items()):
        end = len(prompt)
        input_ids[row, :end] = torch.tensor(prompt)
        position_ids[row, :end] = torch.arange(end)
        segments[row, :end] = PROMPT
        for segment, no in enumerate(nos, PROMPT + 1):
            response = torch.as_tensor(responses[no])
            n = len(response)
            input_ids[row, end : end + n - 1] = response[:-1]
            position_ids[row, end : end + n - 1] = torch.arange(len(prompt), len(prompt) + n - 1)
            segments[row, end : end + n - 1] = segment
            index[no, 0] = row * width + len(prompt) - 1
            index[no, 1:n] = row * width + torch.arange(end, end + n - 1)
            targets[no, :n] = response
            mask[no, :n] = True
            end += n - 1
    return PackedBatch(input_ids, position_ids, _attention_mask(segments), index, targets, mask, sum(sizes))


def _attention_mask(segments: Tensor) -> Tensor:
    """Causal, to the prompt and to one's own segment; (R, S) -> (R, 1, S, S).

    No response sees padding; padding sees the prompt, since a query that sees nothing would give nan.
    """
    keys, queries = segments[:, None, :], segments[:, :, None]
    seen = (keys == PROMPT) | (keys == queries)
    return (seen & torch.ones(segments.shape[1], segments.shape[1], dtype=torch.bool).tril())[:, None]
