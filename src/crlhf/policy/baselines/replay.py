"""GRPO and RLOO on stored completions: TRL's trainers ask for a generation and get the annotated one.

All completions are one generation batch, so the log-probabilities of the policy that drew them are computed before the
first update and serve every later one, as in PPO's replay.
"""

from __future__ import annotations

import logging
import math
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

    TRL wants groups of one size, and as many as fill equal batches. A problem with fewer completions repeats its best
    one, and a filler repeats the first token of one; both without a reward, which gives the row an advantage of 0.

    Args:
        groups: the problems.
        batch_size: completions an optimiser step, at most.

    Attributes:
        size: completions of each group.
        per_step: completions an optimiser step: equally many in each, `batch_size` or as near below as can be.
    """

    def __init__(self, groups: Sequence[Group], batch_size: int) -> None:
        self.size = max(len(group.responses) for group in groups)
        n_fillers, self.per_step = equal_steps(len(groups), self.size, batch_size)
        best = groups[0].responses[0]
        filler = groups[0]._replace(responses=[best._replace(tokens=best.tokens[:1])])
        self._groups = {str(no): group for no, group in enumerate([*groups, *[filler] * n_fillers])}
        self._n_problems = len(groups)

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
            is_real = int(key) < self._n_problems and place < len(group.responses)
            response = group.responses[place if is_real else 0]
            drawn.append((group, response, response.reward if is_real else None))
        return drawn

    def reward(self, prompts: list[str], completions: list[Any], **_: Any) -> list[float | None]:
        """The rewards of completions in the order in which `draw` gave them."""
        return [reward for _, _, reward in self.draw(prompts)]


def equal_steps(n_groups: int, size: int, batch_size: int) -> tuple[int, int]:
    """How many fillers make all steps of an epoch equal, and how many completions a step then has.

    The fewest steps of at most `batch_size` completions, which is PPO's number of steps or nearest to it; then the
    fewest fillers. Adam takes little note of a gradient that fillers scale down, but much of the number of steps.
    """
    found = []
    for n_fillers in range(batch_size):
        n_rows = (n_groups + n_fillers) * size
        n_steps = next(n for n in range(math.ceil(n_rows / batch_size), n_rows + 1) if n_rows % n == 0)
        found.append((n_steps, n_fillers, n_rows // n_steps))
    _, n_fillers, per_step = min(found)
    return n_fillers, per_step


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
