"""Train a policy by PPO and keep the result in a folder, across interruptions; effects: files, devices, random state."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from crlhf.errors import IntegrityError, MissingInputError, ParamsError
from crlhf.params import PPOParams
from crlhf.policy.ppo import checkpoints
from crlhf.progress import Bar
from crlhf.store import read_json, write_json

if TYPE_CHECKING:
    import pandas as pd

    from crlhf.policy.ppo.sources import RewardFunction, Source

OnStep = Callable[[int, dict[str, float]], None]
Progress = Callable[[str, int, str, int], AbstractContextManager[Bar]]
RESULT = "result.json"


class PPOResult(NamedTuple):
    """What training ended with.

    Attributes:
        adapter: folder of the trained adapter.
        value_head: file of the trained value head.
        n_steps: optimiser steps, one that was stopped before its update included.
        n_completions: completions a round, at most.
        stopped_reason: why training ended early, or None.
        history: the curves of every step, those of interrupted runs included, without wall-clock ones; each has `step`.
        resumed_from_step: the step of the checkpoint that this call went on from; 0 when it began anew.
        n_damaged_checkpoints: damaged checkpoints that this call found and removed.
    """

    adapter: Path
    value_head: Path
    n_steps: int
    n_completions: int
    stopped_reason: str | None
    history: list[dict[str, float]]
    resumed_from_step: int
    n_damaged_checkpoints: int


def train_ppo(
    model: Any,
    tokenizer: Any,
    rollouts: pd.DataFrame,
    params: PPOParams,
    *,
    temperature: float,
    seed: int,
    folder: Path,
    on_step: OnStep,
    progress: Progress | None = None,
    value_head: Path | None = None,
    keep_checkpoints: bool = False,
) -> PPOResult:
    """PPO on stored, annotated completions.

    Writes `adapter/`, `value_head.safetensors` and `result.json` into `folder`, and checkpoints below `checkpoints/`
    while it runs. Called again after a kill, it goes on from the last whole checkpoint and ends with the same weights as
    a run that was never interrupted; called again after it ended, it returns the result. A folder of other inputs is
    trained anew.

    Args:
        model: a causal language model; or a PEFT model, whose adapter is then trained on. The base weights do not
            change. A new adapter is taken off at the end; one that came with the model stays, trained.
        tokenizer: its tokenizer; only the padding token is used.
        rollouts: columns completion_id, problem_id, prompt_token_ids, token_ids, logprobs, reward.
        params: the section `ppo` of params.yaml.
        temperature: at which the completions were sampled.
        seed: of the adapter's first weights and of the order of completions.
        folder: of this run's files.
        on_step: called with each optimiser step's number (from 1) and curves. After an interruption, steps since the
            last checkpoint are reported again, with the same numbers. Curves whose names begin with `wall/` are times.
        progress: makes a progress bar from label, total, unit and units done; None shows nothing.
        value_head: a value head to start from; None starts a new one at the mean score.
        keep_checkpoints: leave the last checkpoints in place at the end.

    Raises:
        InputError: the rollouts are unusable.
        ParamsError: a parameter that PPO cannot run with.
        CrlhfError: the loss or the gradient is not finite.
        DiskFullError: no room for a checkpoint; the last one is untouched.
    """
    from crlhf.policy.ppo.rollouts import read_rollouts, rollouts_sha256
    from crlhf.policy.ppo.sources import Replay

    stored = read_rollouts(rollouts)
    return _train(
        model,
        tokenizer,
        Replay(stored),
        params,
        inputs={"rollouts": rollouts_sha256(stored)},
        temperature=temperature,
        seed=seed,
        folder=folder,
        on_step=on_step,
        progress=progress,
        value_head=value_head,
        keep_checkpoints=keep_checkpoints,
    )


def train_ppo_online(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    reward_function: RewardFunction,
    params: PPOParams,
    *,
    n_per_prompt: int,
    n_rounds: int,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    folder: Path,
    on_step: OnStep,
    progress: Progress | None = None,
    value_head: Path | None = None,
    keep_checkpoints: bool = False,
) -> PPOResult:
    """PPO on completions that the policy writes as it learns, scored by a Python callable.

    Args:
        model: as for `train_ppo`.
        tokenizer: turns prompts into tokens and completions into text.
        prompts: model inputs, one for each problem.
        reward_function: gets prompts and completions (texts) and returns a score for each; None leaves one out.
        params: the section `ppo` of params.yaml; `batch_size` completions a step.
        n_per_prompt: completions of each prompt in a round.
        n_rounds: how often the policy is sampled anew.
        max_new_tokens: longest completion.
        temperature: of sampling and of log-probabilities.
        seed: also of the sampling.
        folder: as for `train_ppo`. The reward function is not part of what the folder is recognised by.
        on_step: as for `train_ppo`.
        progress: as for `train_ppo`.
        value_head: as for `train_ppo`.
        keep_checkpoints: as for `train_ppo`.
    """
    from crlhf.policy.ppo.sources import Online

    shape = {"n_per_prompt": n_per_prompt, "n_rounds": n_rounds, "max_new_tokens": max_new_tokens}
    return _train(
        model,
        tokenizer,
        Online(prompts, reward_function, n_per_prompt=n_per_prompt, n_rounds=n_rounds, seed=seed),
        params,
        inputs={"prompts": list(prompts), **shape},
        temperature=temperature,
        seed=seed,
        folder=folder,
        on_step=on_step,
        progress=progress,
        value_head=value_head,
        keep_checkpoints=keep_checkpoints,
        max_completion_length=max_new_tokens,
    )


def _train(
    model: Any,
    tokenizer: Any,
    source: Source,
    params: PPOParams,
    *,
    inputs: dict[str, Any],
    temperature: float,
    seed: int,
    folder: Path,
    on_step: OnStep,
    progress: Progress | None,
    value_head: Path | None,
    keep_checkpoints: bool,
    **config: Any,
) -> PPOResult:
    if params.lora_dropout:
        raise ParamsError("ppo.lora_dropout must be 0: with dropout the policy differs from the one that was sampled")
    if value_head is not None and not value_head.is_file():
        raise MissingInputError(f"{value_head}: no such value head")
    key = _run_key(model, params, inputs | {"temperature": temperature, "seed": seed}, value_head)
    if (finished := _finished(folder, key)) is not None:
        return finished
    with _lent(model):
        from crlhf.policy.ppo.trainer import CrowdPPOTrainer, ppo_config

        checkpoint_folder = folder / "checkpoints"
        settings = ppo_config(params, source, temperature=temperature, seed=seed, folder=checkpoint_folder, **config)
        total = source.n_rounds * source.n_completions * (params.num_ppo_epochs + 1)
        found = checkpoints.newest(checkpoint_folder, key)
        done = total * found.step // settings.max_steps
        bars = progress("PPO", total, "completion", done) if progress else nullcontext(_Silent())
        with bars as bar, checkpoints.disk_full_explained(folder):
            trainer = CrowdPPOTrainer(
                model,
                tokenizer,
                params,
                source,
                settings,
                peft_config=_lora_config(model, params),
                key=key,
                value_head=value_head,
                on_step=_shown(on_step, bar),
                on_completions=bar.update,
            )
            trainer.train(resume_from_checkpoint=str(found.path) if found.path else None)
            result = _write_result(trainer, folder, key, found)
    if not keep_checkpoints:
        shutil.rmtree(checkpoint_folder, ignore_errors=True)
    return result


def _lora_config(model: Any, params: PPOParams) -> Any:
    from peft import LoraConfig, PeftModel

    if isinstance(model, PeftModel):
        for name, parameter in model.named_parameters():
            parameter.requires_grad_("lora_" in name)
        return None
    return LoraConfig(
        r=params.lora_r,
        lora_alpha=params.lora_alpha,
        lora_dropout=0.0,
        target_modules=list(params.lora_target_modules),
        bias="none",
        task_type="CAUSAL_LM",
    )


def _run_key(model: Any, params: PPOParams, inputs: dict[str, Any], value_head: Path | None) -> str:
    """Hash of everything that the trained weights depend on, except the machine."""
    import torch
    import transformers
    import trl

    digest = hashlib.sha256()
    known = {
        "params": params.model_dump(mode="json", exclude={"save_every_steps"}),
        "inputs": inputs,
        "value_head": checkpoints.file_sha256(value_head) if value_head else None,
        "versions": [torch.__version__, transformers.__version__, trl.__version__],
    }
    digest.update(json.dumps(known, sort_keys=True).encode())
    for name, parameter in model.named_parameters():
        # Adapters whole; of the base weights a sample, since reading two gigabytes for a hash takes seconds.
        stride = 1 if "lora_" in name else max(1, parameter.numel() // 64)
        digest.update(f"{name} {tuple(parameter.shape)}".encode())
        digest.update(parameter.detach().flatten()[::stride].float().cpu().numpy().tobytes())
    return digest.hexdigest()


def _write_result(trainer: Any, folder: Path, key: str, found: checkpoints.Found) -> PPOResult:
    """Put adapter, value head and result in place; the result comes last and vouches for the others."""
    from crlhf.policy.ppo.adapter import save_adapter
    from crlhf.policy.ppo.value_head import FILE_NAME

    staging = checkpoints.staging_folder(folder)
    save_adapter(trainer.model, staging / "adapter")
    trainer.value_head.save(staging / FILE_NAME)
    checkpoints.flush_folder(staging / "adapter")
    checkpoints.flush_folder(staging)
    (folder / RESULT).unlink(missing_ok=True)
    shutil.rmtree(folder / "adapter", ignore_errors=True)
    (staging / "adapter").rename(folder / "adapter")
    (staging / FILE_NAME).replace(folder / FILE_NAME)
    staging.rmdir()
    history = [{k: v for k, v in step.items() if not k.startswith("wall/")} for step in trainer.state.log_history]
    written = {
        "key": key,
        "files": {name: checkpoints.file_sha256(folder / name) for name in _result_files(folder)},
        "n_steps": trainer.state.global_step,
        "n_completions": trainer.source.n_completions,
        "stopped_reason": trainer.stopped_reason,
        "history": [{k: v if v == v else None for k, v in step.items()} for step in history],
    }
    write_json(folder / RESULT, written)
    return _result(folder, written, found.step, found.n_damaged)


def _result_files(folder: Path) -> list[str]:
    return [*sorted(f"adapter/{path.name}" for path in (folder / "adapter").glob("*")), "value_head.safetensors"]


def _finished(folder: Path, key: str) -> PPOResult | None:
    """The result of an earlier call with the same inputs, if its files are whole."""
    try:
        written = read_json(folder / RESULT)
        same = written["key"] == key
        whole = same and all(checkpoints.file_sha256(folder / name) == h for name, h in written["files"].items())
        return _result(folder, written, written["n_steps"], 0) if whole else None
    except (MissingInputError, IntegrityError, KeyError, TypeError, AttributeError, OSError):
        return None


def _result(folder: Path, written: dict[str, Any], resumed_from_step: int, n_damaged: int) -> PPOResult:
    return PPOResult(
        adapter=folder / "adapter",
        value_head=folder / "value_head.safetensors",
        n_steps=written["n_steps"],
        n_completions=written["n_completions"],
        stopped_reason=written["stopped_reason"],
        history=[{k: float("nan") if v is None else v for k, v in step.items()} for step in written["history"]],
        resumed_from_step=resumed_from_step,
        n_damaged_checkpoints=n_damaged,
    )


class _Silent:
    """A progress bar that shows nothing."""

    def update(self, n: float = 1) -> object:
        """Nothing."""
        return None

    def set_postfix_str(self, s: str = "", refresh: bool = True) -> None:
        """Nothing."""


def _shown(on_step: OnStep, bar: Bar) -> OnStep:
    """Report a step, and show it behind the bar."""

    def report(step: int, metrics: dict[str, float]) -> None:
        bar.set_postfix_str(f"step {step}, score {metrics['score']:.3f}, KL {metrics['kl_k3']:.3f}")
        on_step(step, metrics)

    return report


@contextmanager
def _lent(model: Any) -> Iterator[None]:
    """Give the caller's model and the global random state back as they were, however training ends."""
    import numpy as np
    import torch
    from peft import PeftModel

    came_with_adapter = isinstance(model, PeftModel)
    base = model.get_base_model() if came_with_adapter else model
    forward, was_training = base.__dict__.get("forward"), model.training
    states = random.getstate(), np.random.get_state(), torch.random.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.random.set_rng_state(states[2])
        base.gradient_checkpointing_disable()
        base.__dict__.pop("forward", None)
        if forward is not None:
            base.forward = forward
        if hasattr(base, "value_head"):
            del base.value_head
        if not came_with_adapter:
            _take_adapter_off(base)
        model.train(was_training)


def _take_adapter_off(base: Any) -> None:
    """Put the plain layers back where LoRA layers were injected."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    wrapped = [(name, module) for name, module in base.named_modules() if isinstance(module, BaseTunerLayer)]
    for name, module in wrapped:
        parent, _, child = name.rpartition(".")
        setattr(base.get_submodule(parent), child, module.get_base_layer())
    if hasattr(base, "peft_config"):
        del base.peft_config
