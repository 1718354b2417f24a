"""What a run ended with, how it is recognised, and its files."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from crlhf.errors import IntegrityError, MissingInputError
from crlhf.params import PPOParams
from crlhf.policy.ppo import checkpoints, processes
from crlhf.store import read_json, write_json

RESULT = "result.json"


class PPOResult(NamedTuple):
    """What training ended with.

    Attributes:
        weights: folder of the trained adapter, or with full fine-tuning of the whole policy.
        value_head: file of the trained value head.
        n_steps: optimiser steps, one that was stopped before its update included.
        n_completions: completions a round, at most.
        kl_coef: the KL coefficient that the next round starts with.
        stopped_reason: why training ended early, or None.
        history: the curves of every step, those of interrupted runs included, without wall-clock ones; each has `step`.
        resumed_from_step: the step of the checkpoint that this call went on from; 0 when it began anew.
        n_damaged_checkpoints: damaged checkpoints that this call found and removed.
    """

    weights: Path
    value_head: Path
    n_steps: int
    n_completions: int
    kl_coef: float
    stopped_reason: str | None
    history: list[dict[str, float]]
    resumed_from_step: int
    n_damaged_checkpoints: int


def run_key(model: Any, params: PPOParams, inputs: dict[str, Any], start: dict[str, str]) -> str:
    """Hash of everything that the trained weights depend on, except the machine."""
    import torch
    import transformers
    import trl

    digest = hashlib.sha256()
    known = {
        "params": params.model_dump(mode="json", exclude={"save_every_steps"}),
        "inputs": inputs,
        "start": start,
        "versions": [torch.__version__, transformers.__version__, trl.__version__],
    }
    digest.update(json.dumps(known, sort_keys=True).encode())
    for name, parameter in model.named_parameters():
        # Adapters whole; of the base weights a sample, since reading two gigabytes for a hash takes seconds.
        stride = 1 if "lora_" in name else max(1, parameter.numel() // 64)
        digest.update(f"{name} {tuple(parameter.shape)}".encode())
        digest.update(parameter.detach().flatten()[::stride].float().cpu().numpy().tobytes())
    return digest.hexdigest()


def write_result(trainer: Any, folder: Path, key: str, found: checkpoints.Found) -> PPOResult:
    """Put weights, value head, state and result in place; the result comes last and vouches for the others."""
    state_dict = trainer.accelerator.get_state_dict(trainer.model) if trainer.is_fsdp_enabled else None
    if processes.rank() == 0:
        _write(trainer, folder, key, state_dict)
    processes.wait_for_all()
    return _result(folder, read_json(folder / RESULT), found.step, found.n_damaged)


def _write(trainer: Any, folder: Path, key: str, state_dict: dict[str, Any] | None) -> None:
    from crlhf.policy.ppo.saved_state import STATE_FILE
    from crlhf.policy.ppo.value_head import FILE_NAME

    staging, weights = checkpoints.staging_folder(folder), trainer.tuning.result
    trainer.tuning.write(trainer.model, trainer.processing_class, staging / weights, state_dict)
    trainer.value_head.save(staging / FILE_NAME)
    trainer.ppo_state.save(staging / STATE_FILE)
    checkpoints.flush_folder(staging / weights)
    checkpoints.flush_folder(staging)
    (folder / RESULT).unlink(missing_ok=True)
    shutil.rmtree(folder / weights, ignore_errors=True)
    for name in (weights, FILE_NAME, STATE_FILE):
        (staging / name).replace(folder / name)
    staging.rmdir()
    history = [{k: v for k, v in step.items() if not k.startswith("wall/")} for step in trainer.state.log_history]
    names = [*(f"{weights}/{path.name}" for path in sorted((folder / weights).iterdir())), FILE_NAME, STATE_FILE]
    written = {
        "key": key,
        "weights": weights,
        "files": {name: checkpoints.file_sha256(folder / name) for name in names},
        "n_steps": trainer.state.global_step,
        "n_completions": trainer.source.n_completions,
        "kl_coef": trainer.kl.coef,
        "stopped_reason": trainer.stopped_reason,
        "history": [{k: None if math.isnan(v) else v for k, v in step.items()} for step in history],
    }
    write_json(folder / RESULT, written)


def finished(folder: Path, key: str) -> PPOResult | None:
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
        weights=folder / written["weights"],
        value_head=folder / "value_head.safetensors",
        n_steps=written["n_steps"],
        n_completions=written["n_completions"],
        kl_coef=written["kl_coef"],
        stopped_reason=written["stopped_reason"],
        history=[{k: float("nan") if v is None else v for k, v in step.items()} for step in written["history"]],
        resumed_from_step=resumed_from_step,
        n_damaged_checkpoints=n_damaged,
    )
