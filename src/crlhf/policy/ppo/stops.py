"""What ends training early: too far from the reference, completions of another length, or SIGTERM."""

from __future__ import annotations

import math
from typing import Any

from transformers import TrainerCallback

from crlhf.policy.ppo.diagnostics import kl_per_completion, length_drift


class Stops(TrainerCallback):  # type: ignore[misc]
    """Ends training before the update of a step that crossed a bound, and after a step within which SIGTERM came."""

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Look at the step's sums, those of all processes: every process decides the same."""
        trainer = self._trainer
        reason = self._reason(state.global_step + 1)
        if reason:
            trainer.stopped_reason = reason
            # The optimiser passes over parameters without a gradient: the update is not made.
            trainer.optimizer.zero_grad(set_to_none=True)

    def _reason(self, step: int) -> str | None:
        trainer = self._trainer
        kl, max_kl = kl_per_completion(trainer._sums), trainer.params.max_kl
        drift, max_drift = self._drift(), trainer.params.max_length_drift
        if not math.isfinite(kl) or kl > max_kl:
            return (
                f"KL from the reference policy was {kl:.3f} nats a completion at step {step}, "
                f"above ppo.max_kl = {max_kl:g}"
            )
        if abs(drift) > max_drift:
            return (
                f"completions were {abs(drift):.0%} {'longer' if drift > 0 else 'shorter'} than at the start at step "
                f"{step}, more than ppo.max_length_drift = {max_drift:g}"
            )
        return None

    def _drift(self) -> float:
        trainer = self._trainer
        return length_drift(trainer._sums, trainer.rollouts.mean_length, trainer.start_length)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Let the KL coefficient see the step; stop if asked to."""
        trainer = self._trainer
        trainer.see_kl(state.global_step, is_last=bool(trainer.stopped_reason))
        if trainer.stopped_reason:
            control.should_training_stop = True
            control.should_save = False
        elif trainer._sums.get("stop_asked"):
            control.should_training_stop = True
            control.should_save = True
            trainer.was_interrupted = True
