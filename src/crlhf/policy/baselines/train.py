"""Train a policy by a baseline into a folder, across interruptions; effects: files, devices, random state."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from crlhf.errors import CrlhfError, IntegrityError, MissingInputError, ParamsError
from crlhf.params import PPOParams, TuningParams
from crlhf.policy.baselines.groups import ROLLOUT_COLUMNS, groups_of
from crlhf.policy.ppo import checkpoints
from crlhf.policy.ppo.lending import lent, quiet
from crlhf.policy.ppo.result import RESULT, run_key
from crlhf.policy.ppo.tuning import WEIGHTS, LoraTuning, Tuning
from crlhf.progress import Bar
from crlhf.store import read_json, write_json

if TYPE_CHECKING:
    import pandas as pd

OnStep = Callable[[int, dict[str, float]], None]
Progress = Callable[[str, int, str, int], AbstractContextManager[Bar]]


class BaselineResult(NamedTuple):
    """What a baseline ended with.

    Attributes:
        adapter: folder of the trained adapter.
        n_steps: optimiser steps.
        history: the curves of every step; each has `step`.
        resumed_from_step: the step of the checkpoint that this call went on from; 0 when it began anew.
    """

    adapter: Path
    n_steps: int
    history: list[dict[str, float]]
    resumed_from_step: int


def train_baseline(
    model: Any,
    tokenizer: Any,
    rollouts: pd.DataFrame,
    params: PPOParams,
    tuning: TuningParams,
    *,
    temperature: float,
    seed: int,
    folder: Path,
    on_step: OnStep,
    progress: Progress | None = None,
    start: Path | None = None,
) -> BaselineResult:
    """SFT, DPO, GRPO or RLOO on the annotated completions that PPO would learn from, by TRL's own trainers.

    Writes `adapter/` and `result.json` into `folder`, and checkpoints below `checkpoints/` while it runs. Called again
    after a kill, it goes on from the last whole checkpoint and ends with the same weights; called again after it
    ended, it returns the result.

    Args:
        model: a causal language model, without an adapter; it is the reference policy.
        tokenizer: its tokenizer; only the padding and end tokens are used.
        rollouts: columns completion_id, problem_id, prompt_token_ids, token_ids, reward.
        params: the section `ppo` of params.yaml: LoRA, learning rate, epochs, batch size, clip range.
        tuning: the section `tuning`; `method` is sft, dpo, grpo or rloo.
        temperature: at which the completions were sampled; of the log-probabilities of grpo and rloo.
        seed: of the adapter's first weights and of the order of completions.
        folder: of this run's files.
        on_step: called with each optimiser step's number (from 1) and curves, named as TRL names them.
        progress: makes a progress bar from label, total, unit and units done; None shows nothing.
        start: the folder of an earlier round's result, whose `adapter/` is trained on; None: a new adapter.

    Raises:
        InputError: the rollouts are unusable, or rank nothing.
        ParamsError: `ppo.fine_tuning` is not lora.
        CrlhfError: the loss is not finite.
        DiskFullError: no room for a checkpoint; the last one is untouched.
    """
    if params.fine_tuning != "lora":
        raise ParamsError(f"tuning.method {tuning.method} trains LoRA adapters: set ppo.fine_tuning to lora")
    groups = groups_of(rollouts)
    known = rollouts[list(ROLLOUT_COLUMNS)].to_json(orient="values", double_precision=15)
    inputs = {"rollouts": known, "tuning": tuning.model_dump(), "temperature": temperature, "seed": seed}
    adapter = LoraTuning(params, start)
    first = {} if start is None else {WEIGHTS: checkpoints.file_sha256(start / adapter.result / WEIGHTS)}
    key = run_key(model, params, inputs, first)
    if (earlier := _finished(folder, key)) is not None:
        return earlier
    with lent(model), quiet():
        from crlhf.policy.baselines.trainers import make_trainer

        prepared, peft_config = adapter.prepared(model)
        trainer = make_trainer(
            tuning.method,
            prepared,
            tokenizer,
            groups,
            params,
            tuning,
            temperature=temperature,
            seed=seed,
            folder=folder / "checkpoints",
            peft_config=peft_config,
        )
        found = checkpoints.newest(folder / "checkpoints", key)
        total = trainer.n_steps()
        label = tuning.method.upper()
        with progress(label, total, "step", found.step) if progress else nullcontext() as bar:

            def report(step: int, curves: dict[str, float]) -> None:
                if curves["loss"] != curves["loss"]:
                    raise CrlhfError(f"{label} diverged at step {step}: the loss is nan; lower ppo.learning_rate")
                if bar is not None:
                    bar.update(1)
                on_step(step, curves)

            trainer.prepare(key, adapter, report)
            trainer.train(resume_from_checkpoint=str(found.path) if found.path else None)
        with checkpoints.disk_full_explained(folder):
            result = _write(trainer, adapter, folder, key, found.step)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return result


def _write(trainer: Any, tuning: Tuning, folder: Path, key: str, resumed_from_step: int) -> BaselineResult:
    """Put adapter and result in place; the result comes last and vouches for the adapter."""
    staging = checkpoints.staging_folder(folder)
    tuning.save(trainer.model, staging / "adapter")
    checkpoints.flush_folder(staging / "adapter")
    (folder / RESULT).unlink(missing_ok=True)
    shutil.rmtree(folder / "adapter", ignore_errors=True)
    (staging / "adapter").rename(folder / "adapter")
    staging.rmdir()
    history = [
        {name: value for name, value in step.items() if not name.startswith("wall/")}
        for step in trainer.state.log_history
    ]
    written = {
        "key": key,
        "adapter_sha256": checkpoints.file_sha256(folder / "adapter" / WEIGHTS),
        "n_steps": trainer.state.global_step,
        "history": history,
    }
    write_json(folder / RESULT, written)
    return BaselineResult(folder / "adapter", written["n_steps"], history, resumed_from_step)


def _finished(folder: Path, key: str) -> BaselineResult | None:
    """The result of an earlier call with the same inputs, if its adapter is whole."""
    try:
        written = read_json(folder / RESULT)
        whole = written["adapter_sha256"] == checkpoints.file_sha256(folder / "adapter" / WEIGHTS)
        if written["key"] != key or not whole:
            return None
        return BaselineResult(folder / "adapter", written["n_steps"], written["history"], written["n_steps"])
    except (MissingInputError, IntegrityError, KeyError, TypeError, OSError):
        return None
