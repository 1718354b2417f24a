"""TRL's trainers for the baselines, with their configurations. LoRA, learning rate, epochs and batch size are PPO's.

- `sft`: cross-entropy on the best-scored completions (rejection sampling).
- `dpo`: Rafailov et al. 2023, arXiv:2305.18290, on every pair that the consensual ranking orders.
- `grpo`: Shao et al. 2024, arXiv:2402.03300, on the aligned scores within each problem.
- `rloo`: Ahmadian et al. 2024, arXiv:2402.14740, on the aligned scores, against the mean of a problem's others.

Departs from the papers: GRPO and RLOO replay annotated completions instead of drawing fresh ones in every step, because
people answer in hours.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datasets import Dataset  # type: ignore[import-untyped]
from trl import DPOConfig, DPOTrainer, GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer, SFTConfig, SFTTrainer

from crlhf.errors import InputError
from crlhf.params import PPOParams, TuningParams
from crlhf.policy.baselines.groups import Group, best_of, ranked_pairs, spread_groups
from crlhf.policy.baselines.replay import Replays, StoredGroups
from crlhf.policy.baselines.resumable import Resumable


class BestOfTrainer(Resumable, SFTTrainer):  # type: ignore[misc]
    """SFT on the best-scored completions."""


class PairsTrainer(Resumable, DPOTrainer):  # type: ignore[misc]
    """DPO on pairs of stored tokens."""

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        """The pairs hold tokens already; TRL would tokenise texts."""
        return dataset


class StoredGRPOTrainer(Replays, Resumable, GRPOTrainer):  # type: ignore[misc]
    """GRPO on stored completions."""

    def _generate_single_turn(self, *_: Any, **__: Any) -> tuple[list[list[int]], None]:
        return self._stored_tokens(), None


class StoredRLOOTrainer(Replays, Resumable, RLOOTrainer):  # type: ignore[misc]
    """RLOO on stored completions."""

    def _generate_single_turn(self, *_: Any, **__: Any) -> list[list[int]]:
        return self._stored_tokens()


def make_trainer(
    method: str,
    model: Any,
    tokenizer: Any,
    groups: list[Group],
    params: PPOParams,
    tuning: TuningParams,
    *,
    temperature: float,
    seed: int,
    folder: Path,
    peft_config: Any,
) -> Any:
    """The trainer of one baseline, ready to train.

    Raises:
        InputError: no problem has completions of different reward, so there is nothing to prefer.
    """
    common = {"model": model, "processing_class": tokenizer, "peft_config": peft_config}
    spread = spread_groups(groups)
    if not spread:
        raise InputError(
            f"{method}: in no problem do the rewards of two annotated completions differ; annotate more of each"
        )
    if method == "sft":
        rows = [
            {
                "input_ids": group.prompt + response.tokens,
                "labels": [-100] * len(group.prompt) + response.tokens,
            }
            for group, response in best_of(spread, tuning.sft_keep)
        ]
        args = SFTConfig(**row_settings(params, len(rows), seed, folder), max_length=None, packing=False)
        return BestOfTrainer(args=args, train_dataset=Dataset.from_list(rows), **common)
    if method == "dpo":
        pairs = ranked_pairs(spread)
        args = DPOConfig(**row_settings(params, len(pairs), seed, folder), beta=tuning.dpo_beta, max_length=None)
        columns = [
            {"prompt_ids": pair.prompt, "chosen_ids": pair.chosen, "rejected_ids": pair.rejected} for pair in pairs
        ]
        return PairsTrainer(args=args, train_dataset=Dataset.from_list(columns), **common)
    stored = StoredGroups(spread, params.batch_size)
    more = _by_groups(params, stored, seed, folder) | {"temperature": temperature}
    common |= {"train_dataset": Dataset.from_list(stored.rows), "reward_funcs": [stored.reward]}
    if method == "grpo":
        trainer: Any = StoredGRPOTrainer(args=GRPOConfig(**more, beta=tuning.grpo_beta), **common)
    else:
        trainer = StoredRLOOTrainer(args=RLOOConfig(**more, beta=tuning.rloo_beta), **common)
    trainer.stored = stored
    return trainer


def row_settings(params: PPOParams, n_rows: int, seed: int, folder: Path) -> dict[str, Any]:
    """TRL's settings for a trainer that reads `n_rows` rows an epoch."""
    micro = min(params.micro_batch_size, n_rows)
    accumulation = max(1, min(params.batch_size, n_rows) // micro)
    return _settings(params, seed, folder) | {
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": accumulation,
        "num_train_epochs": params.num_ppo_epochs,
    }


def _by_groups(params: PPOParams, stored: StoredGroups, seed: int, folder: Path) -> dict[str, Any]:
    """Settings of a trainer that takes all groups as one generation; every batch is full."""
    n_rows = len(stored) * stored.size
    micro = next(d for d in range(min(stored.per_step, params.micro_batch_size), 0, -1) if stored.per_step % d == 0)
    return _settings(params, seed, folder) | {
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": stored.per_step // micro,
        "generation_batch_size": n_rows,
        "num_generations": stored.size,
        "num_iterations": params.num_ppo_epochs,
        "num_train_epochs": 1,
        "epsilon": params.cliprange,
        "disable_dropout": True,
    }


def _settings(params: PPOParams, seed: int, folder: Path) -> dict[str, Any]:
    return {
        "output_dir": str(folder),
        "learning_rate": params.learning_rate,
        "lr_scheduler_type": "linear",
        "weight_decay": 0.0,
        "max_grad_norm": params.max_grad_norm,
        "gradient_checkpointing": params.gradient_checkpointing,
        "bf16": False,
        "seed": seed,
        "save_strategy": "steps",
        "save_steps": params.save_every_steps,
        "logging_strategy": "steps",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": False,
    }
