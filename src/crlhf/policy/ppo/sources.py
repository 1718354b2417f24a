"""Where rollouts come from: stored ones, or fresh ones scored by a Python callable."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch

from crlhf.errors import CrlhfError, InputError
from crlhf.policy.ppo import processes
from crlhf.policy.ppo.rollouts import Rollouts, pad_rows
from crlhf.policy.ppo.stop_strings import StopStrings

RewardFunction = Callable[[list[str], list[str]], Sequence[float | None]]


class Source(Protocol):
    """Gives the trainer its rollouts, `n_rounds` times up to `n_completions` of them."""

    n_rounds: int
    n_completions: int

    def reward_function(self, prompts: list[str], completions: list[str], **_: Any) -> list[float | None]:
        """Scores of fresh completions, in the form in which the trainer asks for them."""

    def collect(self, trainer: Any, round_no: int) -> Rollouts:
        """The rollouts of one round."""


class Replay:
    """Stored rollouts, once. Their scores were given before training began."""

    n_rounds = 1

    def __init__(self, rollouts: Rollouts) -> None:
        self.rollouts = rollouts
        self.n_completions = len(rollouts)

    def reward_function(self, prompts: list[str], completions: list[str], **_: Any) -> list[float | None]:
        """The trainer asks for a reward function; stored rollouts never call it."""
        raise CrlhfError("stored rollouts carry their scores: no reward function is called in replay")

    def collect(self, trainer: Any, round_no: int) -> Rollouts:
        """The stored rollouts, whatever the round."""
        return self.rollouts


class Online:
    """Fresh completions of the policy as it is, by the trainer's own generation (transformers or vLLM).

    A completion ends with the token that completes a stop string; one for which the reward function returns None is
    left out.
    """

    def __init__(
        self,
        prompts: Sequence[str],
        reward_function: RewardFunction,
        *,
        n_per_prompt: int,
        n_rounds: int,
        seed: int,
        stops: Sequence[str] = (),
    ) -> None:
        if not prompts:
            raise InputError("online PPO needs at least one prompt")
        self.n_rounds = n_rounds
        self.n_completions = len(prompts) * n_per_prompt
        self._prompts = [prompt for prompt in prompts for _ in range(n_per_prompt)]
        self._problem_nos = [no for no in range(len(prompts)) for _ in range(n_per_prompt)]
        self._scorer = reward_function
        self._seed = seed
        self._stops = tuple(stops)

    def reward_function(self, prompts: list[str], completions: list[str], **_: Any) -> list[float | None]:
        """The scores of completions, by the callable that was given."""
        return list(self._scorer(prompts, completions))

    def collect(self, trainer: Any, round_no: int) -> Rollouts:
        """Sample, score, and leave out what was not scored.

        Raises:
            CrlhfError: the reward function scored no completion at all.
        """
        # A round's draws depend on the seed, its number and the process only, so a resumed run draws the same.
        n, rank = processes.n_processes(), processes.rank()
        torch.manual_seed(self._seed + 7919 * (round_no + 1) + 104729 * rank)
        share = -(-len(self._prompts) // n)  # processes write equally many; what is too much is dropped
        prompts = (self._prompts * n)[rank * share : (rank + 1) * share]
        prompt_ids, token_ids, completions, logprobs = self._generated(trainer, prompts)
        rows = [{"prompt": prompt} for prompt in prompts]
        scores = trainer._calculate_rewards(rows, prompts, completions, token_ids)[:, 0].cpu()  # of all processes
        n_wanted = len(self._prompts)
        prompt_ids, token_ids = (processes.gathered(list(ids))[:n_wanted] for ids in (prompt_ids, token_ids))
        logprobs = None if logprobs is None else processes.gathered(list(logprobs))[:n_wanted]
        scores = scores[:n_wanted]
        kept = [no for no, score in enumerate(scores.tolist()) if not math.isnan(score) and token_ids[no]]
        if not kept:
            raise CrlhfError("the reward function scored no completion: there is nothing to train on")
        return Rollouts(
            prompts=[list(prompt_ids[no]) for no in kept],
            responses=[list(token_ids[no]) for no in kept],
            problem_nos=torch.tensor([self._problem_nos[no] for no in kept]),
            scores=scores[kept].float(),
            old_logprobs=None if logprobs is None else pad_rows([torch.tensor(logprobs[no]) for no in kept]),
        )

    def _generated(self, trainer: Any, prompts: list[str]) -> tuple[Any, Any, Any, Any]:
        """Prompt tokens, tokens, texts and log-probabilities (or None) of completions that end at stop strings."""
        if not self._stops:
            prompt_ids, token_ids, _, completions, logprobs, *_ = trainer._generate(prompts)
            return prompt_ids, token_ids, completions, logprobs
        stops = StopStrings(trainer.processing_class, self._stops)
        with stops.ending(trainer.accelerator.unwrap_model(trainer.model_wrapped)):
            prompt_ids, token_ids, _, _, logprobs, *_ = trainer._generate(prompts)
        token_ids = [ids[: stops.length(ids)] for ids in token_ids]
        if logprobs is not None:
            logprobs = [row[: len(ids)] for row, ids in zip(logprobs, token_ids, strict=True)]
        texts = trainer.processing_class.batch_decode(token_ids, skip_special_tokens=True)
        return prompt_ids, token_ids, texts, logprobs
