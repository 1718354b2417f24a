"""GRPO and RLOO on stored completions: TRL's trainers ask for a generation and get the annotated one.

All completions are one generation batch, so the log-probabilities of the policy that drew them are computed before the
first update and serve every later one, as in PPO's replay.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from crlhf.policy.baselines.groups import Group, Response

_BUFFER = "generation.pt"
_LOGGERS = ("trl.trainer.grpo_trainer", "trl.trainer.rloo_trainer")


def _is_news(record: logging.LogRecord) -> bool:
    """False for TRL's warning about rows without a reward: those that fill a group up have none on purpose."""
    return not record.getMessage().startswith(("All reward functions returned None", "[RANK"))


for _name in _LOGGERS:
    logging.getLogger(_name).addFilter(_is_news)


class StoredGroups:
    """The annotated completions by problem, under the number that stands for a problem's prompt.

    TRL wants groups of one size: a problem with fewer completions repeats its best one, without a reward, which gives
    that row an advantage of 0.
    """

    def __init__(self, groups: Sequence[Group]) -> None:
        self._groups = {str(no): group for no, group in enumerate(groups)}
        self.size = max(len(group.responses) for group in groups)

    def __len__(self) -> int:
        return len(self._groups)

    @property
    def rows(self) -> list[dict[str, str]]:
        """The data set: one row a problem."""
        return [{"prompt": key} for key in self._groups]

    def draw(self, keys: Sequence[str]) -> list[tuple[Group, Response, float | None]]:
        """For each key the next completion of its problem, and its reward; None for a repeated one."""
        seen: Counter[str] = Counter()
        drawn: list[tuple[Group, Response, float | None]] = []
        for key in keys:
            group, place = self._groups[key], seen[key] % self.size
            seen[key] += 1
            is_real = place < len(group.responses)
            response = group.responses[place if is_real else 0]
            drawn.append((group, response, response.reward if is_real else None))
        return drawn

    def reward(self, prompts: list[str], completions: list[Any], **_: Any) -> list[float | None]:
        """The rewards of completions in the order in which `draw` gave them."""
        return [reward for _, _, reward in self.draw(prompts)]


class Replays:
    """Mixed in before GRPOTrainer or RLOOTrainer: generation looks the stored completions up."""

    stored: StoredGroups
    args: Any
    state: Any
    _step: int
    _buffered_inputs: list[dict[str, Any]] | None
    _drawn: list[tuple[Group, Response, float | None]]

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        self._drawn = self.stored.draw(prompts)
        return [list(group.prompt) for group, _, _ in self._drawn], None, {}

    def _stored_tokens(self) -> list[list[int]]:
        return [list(response.tokens) for _, response, _ in self._drawn]

    def _save_more(self, folder: Path) -> None:
        torch.save(self._buffered_inputs, folder / _BUFFER)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Go on with the log-probabilities that were computed before the first update."""
        super()._load_from_checkpoint(resume_from_checkpoint, model)  # type: ignore[misc]
        saved = Path(resume_from_checkpoint)
        self._buffered_inputs = torch.load(saved / _BUFFER, weights_only=True)
        self._step = int(saved.name.split("-")[1]) * self.args.gradient_accumulation_steps
