"""TRL's configuration for PPO."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import torch
from trl import GRPOConfig

from crlhf.params import PPOParams
from crlhf.policy.ppo.sources import Source


def ppo_config(params: PPOParams, source: Source, *, temperature: float, seed: int, folder: Path, **more: Any) -> Any:
    """TRL's configuration for PPO: what it calls a batch is one micro-batch of ours, which `_prepare_inputs` looks up.

    Args:
        params: of the stage.
        source: says how many completions a round has.
        temperature: of sampling, and of log-probabilities.
        seed: of the adapter's weights, the order of batches and generation.
        folder: where checkpoints lie.
        more: passed to `GRPOConfig`.
    """
    n_processes = int(os.environ.get("WORLD_SIZE", "1"))  # as torchrun and accelerate launch say it
    n_steps = math.ceil(source.n_completions / params.batch_size)
    per_step = math.ceil(source.n_completions / n_steps)
    n_micro_batches = math.ceil(per_step / (params.micro_batch_size * n_processes))
    return GRPOConfig(
        output_dir=str(folder),
        per_device_train_batch_size=1,
        gradient_accumulation_steps=n_micro_batches,
        # TRL asks for two generations a prompt and batches that they divide; neither number is used here.
        num_generations=2,
        generation_batch_size=2,
        max_steps=source.n_rounds * params.num_ppo_epochs * n_steps,
        learning_rate=params.learning_rate,
        lr_scheduler_type="linear",
        weight_decay=0.0,
        max_grad_norm=params.max_grad_norm,
        gradient_checkpointing=params.gradient_checkpointing,
        beta=0.0,  # the KL penalty is part of the rewards; TRL's own would count it twice
        temperature=temperature,
        top_p=1.0,
        top_k=0,
        disable_dropout=True,
        bf16=params.bf16,
        use_cpu=not torch.cuda.is_available(),
        ddp_find_unused_parameters=False,
        seed=seed,
        save_strategy="steps",
        save_steps=params.save_every_steps,
        logging_strategy="steps",
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_num_workers=0,
        dataloader_pin_memory=False,
        **more,
    )
