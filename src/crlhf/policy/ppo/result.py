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
from crlhf.policy.ppo import checkpoints
from crlhf.store import read_json, write_json

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


def run_key(model: Any, params: PPOParams, inputs: dict[str, Any], value_head: Path | None) -> str:
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


def write_result(trainer: Any, folder: Path, key: str, found: checkpoints.Found) -> PPOResult:
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
        "history": [{k: None if math.isnan(v) else v for k, v in step.items()} for step in history],
    }
    write_json(folder / RESULT, written)
    return _result(folder, written, found.step, found.n_damaged)


def _result_files(folder: Path) -> list[str]:
    return [*sorted(f"adapter/{path.name}" for path in (folder / "adapter").glob("*")), "value_head.safetensors"]


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
        adapter=folder / "adapter",
        value_head=folder / "value_head.safetensors",
        n_steps=written["n_steps"],
        n_completions=written["n_completions"],
        stopped_reason=written["stopped_reason"],
        history=[{k: float("nan") if v is None else v for k, v in step.items()} for step in written["history"]],
        resumed_from_step=resumed_from_step,
        n_damaged_checkpoints=n_damaged,
    )
