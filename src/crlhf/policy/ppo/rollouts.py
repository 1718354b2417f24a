"""Rollouts: completions with what PPO needs to know of them, from a table or freshly generated.

Notation: `B` completions, `T` response tokens, right-padded; `response_mask` is True at response tokens.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from crlhf.errors import InputError
from crlhf.params import PPOParams
from crlhf.policy.ppo.advantages import kl_rewards, problem_advantages, whitening_scale

if TYPE_CHECKING:
    import pandas as pd


@dataclass
class Rollouts:
    """Completions and their scores. What the policy, the reference and the value head say is None until computed.

    Attributes:
        prompts: prompt tokens of each completion.
        responses: response tokens of each completion.
        problem_nos: the problem of each completion as an integer, (B,).
        scores: (B,).
        token_scores: the score as it is placed among the tokens, (B, T); None: all at the last token.
        token_shares: the share of the score that each token would carry if all lines were right, (B, T), rows sum to 1;
            given with `token_scores`.
        old_logprobs: of the policy that drew the tokens, (B, T); never changed afterwards.
        ref_logprobs: of the frozen reference, (B, T).
        old_values: of the value head when the rollouts were made, (B, T).
        advantages: (B, T).
        returns: (B, T).
    """

    prompts: list[list[int]]
    responses: list[list[int]]
    problem_nos: Tensor
    scores: Tensor
    token_scores: Tensor | None = None
    token_shares: Tensor | None = None
    old_logprobs: Tensor | None = None
    ref_logprobs: Tensor | None = None
    old_values: Tensor | None = None
    advantages: Tensor | None = None
    returns: Tensor | None = None

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def lengths(self) -> list[int]:
        """Tokens of each prompt and response together."""
        return [len(prompt) + len(response) for prompt, response in zip(self.prompts, self.responses, strict=True)]

    @property
    def mean_length(self) -> float:
        """Mean response tokens of a completion."""
        return sum(map(len, self.responses)) / max(len(self.responses), 1)

    @property
    def response_mask(self) -> Tensor:
        """True at response tokens, (B, T)."""
        lengths = torch.tensor([len(response) for response in self.responses])
        return torch.arange(int(lengths.max())) < lengths[:, None]

    def save(self, path: Path) -> None:
        """Write everything as one safetensors file; exact."""
        tensors = {
            "prompt_tokens": torch.tensor([token for prompt in self.prompts for token in prompt]),
            "prompt_lengths": torch.tensor([len(prompt) for prompt in self.prompts]),
            "response_tokens": torch.tensor([token for response in self.responses for token in response]),
            "response_lengths": torch.tensor([len(response) for response in self.responses]),
        }
        for field in fields(self)[2:]:
            value = getattr(self, field.name)
            if value is not None:
                tensors[field.name] = value.detach().cpu().clone()  # two of them may be one tensor
        save_file(tensors, path)

    @classmethod
    def load(cls, path: Path) -> Rollouts:
        """Read what `save` wrote."""
        tensors = load_file(path)
        prompts, responses = (
            [part.tolist() for part in tensors.pop(f"{name}_tokens").split(tensors.pop(f"{name}_lengths").tolist())]
            for name in ("prompt", "response")
        )
        return cls(prompts, responses, **tensors)


def read_rollouts(table: pd.DataFrame) -> Rollouts:
    """Take stored rollouts as they are: token ids and behaviour log-probabilities, nothing tokenised again.

    Args:
        table: columns completion_id, problem_id, prompt_token_ids, token_ids, logprobs, reward; one row a completion.
            With the columns token_scores and token_shares (a number a token) the score is placed token by token.

    Raises:
        InputError: a column is missing, there is no row, a completion is twice in the table, or a row is unusable; the
            message names the completion.
    """
    wanted = ["completion_id", "problem_id", "prompt_token_ids", "token_ids", "logprobs", "reward"]
    missing = [name for name in wanted if name not in table.columns]
    if missing:
        raise InputError(f"rollouts: columns missing: {', '.join(missing)}")
    if table.empty:
        raise InputError("rollouts: no annotated completion to train on")
    if table["completion_id"].duplicated().any():
        repeated = table.loc[table["completion_id"].duplicated(), "completion_id"].iloc[0]
        raise InputError(f"rollouts: completion {repeated} is there more than once")
    for row in table[wanted].itertuples(index=False):
        _check_row(row)
    placed = {name: _per_token(table, name) for name in ("token_scores", "token_shares") if name in table.columns}
    if len(placed) == 1:
        raise InputError("rollouts: token_scores and token_shares come together")
    problems = {problem: no for no, problem in enumerate(dict.fromkeys(table["problem_id"]))}
    return Rollouts(
        prompts=[[int(token) for token in ids] for ids in table["prompt_token_ids"]],
        responses=[[int(token) for token in ids] for ids in table["token_ids"]],
        problem_nos=torch.tensor([problems[problem] for problem in table["problem_id"]]),
        scores=torch.tensor([float(reward) for reward in table["reward"]], dtype=torch.float32),
        old_logprobs=_per_token(table, "logprobs"),
        **placed,
    )


def _per_token(table: pd.DataFrame, column: str) -> Tensor:
    for name, tokens, values in zip(table["completion_id"], table["token_ids"], table[column], strict=True):
        if len(tokens) != len(values):
            raise InputError(f"rollouts: completion {name} has {len(tokens)} tokens but {len(values)} {column}")
    return pad_rows([torch.tensor([float(x) for x in row], dtype=torch.float32) for row in table[column]])


def _check_row(row: Any) -> None:
    name, _, prompt, tokens, logprobs, reward = row
    rules = (
        (len(prompt) > 0, "has no prompt tokens"),
        (len(tokens) > 0, "has no tokens"),
        (len(tokens) == len(logprobs), f"has {len(tokens)} tokens but {len(logprobs)} log-probabilities"),
        (all(math.isfinite(x) and x <= 1e-3 for x in logprobs), "has a log-probability above 0 or not finite"),
        (reward is not None and math.isfinite(reward), "has no finite reward; leave it out of the table"),
    )
    for holds, fault in rules:
        if not holds:
            raise InputError(f"rollouts: completion {name} {fault}")


class Placed(NamedTuple):
    """Rewards as PPO takes them.

    Attributes:
        rewards: (B, T), KL penalty included.
        scores: what the rewards of each completion sum to without the penalty, (B,).
        mean: the mean of `scores`, where a value head starts.
    """

    rewards: Tensor
    scores: Tensor
    mean: float


def placed_rewards(rollouts: Rollouts, params: PPOParams, kl_coef: float) -> Placed:
    """Per-token rewards of a round, whitened if the params say so.

    Scores that are placed line by line are measured from their mean over the round: each line carries `share * (q - m)`
    in place of `share * q`. Otherwise every line, a wrong one too, would look better than nothing, and the value head
    would have to learn how many lines are left before it is of use. Sums differ by the constant `m` only.
    """
    assert rollouts.old_logprobs is not None
    assert rollouts.ref_logprobs is not None
    mask, scores = rollouts.response_mask, rollouts.scores
    placed = scores
    if rollouts.token_scores is not None:
        assert rollouts.token_shares is not None
        mean = scores.mean()
        placed, scores = rollouts.token_scores - mean * rollouts.token_shares, scores - mean
    rewards = kl_rewards(
        rollouts.old_logprobs,
        rollouts.ref_logprobs,
        placed,
        mask,
        kl_coef=kl_coef,
        estimator=params.kl_estimator,
    )
    scale = whitening_scale(rewards, mask) if params.whiten_rewards else 1.0
    return Placed(rewards * scale, scores * scale, float(scores.mean()) * scale)


def with_advantages(rollouts: Rollouts, placed: Placed, params: PPOParams) -> Rollouts:
    """Fill in advantages and returns from rewards and values; changes and returns `rollouts`."""
    assert rollouts.old_values is not None
    rollouts.advantages, rollouts.returns = problem_advantages(
        placed.rewards,
        placed.scores,
        rollouts.old_values,
        rollouts.response_mask,
        rollouts.problem_nos,
        gamma=params.gamma,
        lam=params.lam,
        center_per_problem=params.center_per_problem,
        whiten=params.whiten_advantages,
        shares=rollouts.token_shares,
    )
    return rollouts


def pad_rows(rows: list[Tensor]) -> Tensor:
    """Stack rows of different lengths into (B, T), padded with 0 on the right."""
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)


def rollouts_sha256(rollouts: Rollouts) -> str:
    """Hash of the completions, their scores, where those are placed, and their behaviour log-probabilities."""
    digest = hashlib.sha256()
    digest.update(repr((rollouts.prompts, rollouts.responses, rollouts.problem_nos.tolist())).encode())
    for tensor in (rollouts.scores, rollouts.token_scores, rollouts.token_shares, rollouts.old_logprobs):
        digest.update(b"none" if tensor is None else tensor.numpy().tobytes())
    return digest.hexdigest()
