"""What every baseline adds to TRL's trainer: reported curves, atomic hashed checkpoints, a frozen reference."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import PrinterCallback, TrainerCallback

from crlhf.policy.ppo import checkpoints
from crlhf.policy.ppo.tuning import Tuning

KEEP_CHECKPOINTS = 2
_NOT_CURVES = ("epoch", "num_tokens")  # TRL's count of tokens starts at 0 again after an interruption
REFERENCE_COPY = "ref"
"""The adapter that TRL clones from one that came with the model; with it the reference would move every round."""


class Resumable:
    """Mixed in before one of TRL's trainers; `prepare` is called once after construction.

    A checkpoint is written beside, hashed, flushed and renamed. It holds adapter, optimiser, scheduler, random state
    and step, so a resumed run ends with the weights of one that was never interrupted.
    """

    model: Any
    args: Any
    state: Any
    key: str
    _tuning: Tuning
    _staging: Path | None = None
    _on_step: Callable[[int, dict[str, float]], None]

    def prepare(self, key: str, tuning: Tuning, on_step: Callable[[int, dict[str, float]], None]) -> None:
        """Take the run's key, what it tunes and the callback of its curves; the reference is the base weights."""
        self.key = key
        self._tuning = tuning
        self._on_step = on_step
        if REFERENCE_COPY in getattr(self.model, "peft_config", {}):
            self.model.delete_adapter(REFERENCE_COPY)
        self.remove_callback(PrinterCallback)  # type: ignore[attr-defined]
        self.add_callback(_NoSave())  # type: ignore[attr-defined]

    def n_steps(self) -> int:
        """Optimiser steps of the whole run."""
        loader = self.get_train_dataloader()  # type: ignore[attr-defined]
        return int(self.set_initial_training_values(self.args, loader)[-1])  # type: ignore[attr-defined]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Report the step's curves; the summary that the base class logs at the end is not a step."""
        averages = {name: sum(values) / len(values) for name, values in self._own_metrics().items() if values}
        self._own_metrics().clear()
        if "grad_norm" not in logs:
            return
        numbers = {
            "wall/seconds" if name == "step_time" else name: float(value)
            for name, value in {**logs, **averages}.items()
            if name not in _NOT_CURVES
        }
        self.state.log_history.append({"step": self.state.global_step, **numbers})
        self._on_step(self.state.global_step, numbers)

    def _own_metrics(self) -> dict[str, list[float]]:
        """The curves that TRL's trainers gather beside the loss."""
        found: dict[str, list[float]] = getattr(self, "_metrics", {}).get("train", {})
        return found

    def _send_telemetry(self) -> None:
        """Nothing is sent anywhere."""

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """A checkpoint holds what resuming needs and no card."""

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._staging or self.args.output_dir)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = Path(self.args.output_dir)
        with checkpoints.disk_full_explained(folder):
            self._staging = checkpoints.staging_folder(folder)
            super()._save_checkpoint(model, trial)  # type: ignore[misc]
            written = self._staging / f"checkpoint-{self.state.global_step}"
            self._save_more(written)
            checkpoints.commit(written, folder, self.key, self.state.global_step, KEEP_CHECKPOINTS)
            self._staging = None

    def _save_more(self, folder: Path) -> None:
        """Write what a trainer keeps beside the usual."""

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        self._tuning.save(self.model, Path(output_dir or self.args.output_dir))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        self._tuning.load(self.model, Path(resume_from_checkpoint))


class _NoSave(TrainerCallback):  # type: ignore[misc]
    """No checkpoint at the last step: the finished adapter is written right after it."""

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step >= state.max_steps:
            control.should_save = False
