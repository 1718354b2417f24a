"""PPO on TRL's GRPOTrainer: it owns devices, global random state while it trains, and checkpoint files.

TRL's trainer brings the loop, the adapter, generation, gradient accumulation and clipping, optimiser and scheduler,
distribution over processes, and the contents of a checkpoint. This class brings what makes it PPO: rollouts that are
stored or collected once and used for several epochs, a value head, per-token KL-penalised rewards, generalised
advantage estimation, clipped policy and value losses, and checkpoints that are exact at every step.

Several processes share each step: every one holds all rollouts, takes its part of the step's completions, and divides
by the tokens of the whole step, so that the sum of their gradients is that of one process.

Departs from the paper: training stops when the policy is more than `max_kl` nats a completion from the reference, or
its completions have changed their length by more than `max_length_drift`; the paper names no such bounds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset  # type: ignore[import-untyped]
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import PrinterCallback
from trl import GRPOTrainer

from crlhf.errors import CrlhfError
from crlhf.params import PPOParams
from crlhf.policy.ppo import processes
from crlhf.policy.ppo.diagnostics import (
    SUM_NAMES,
    Sums,
    add_sums,
    kl_per_completion,
    length_drift,
    step_metrics,
    token_sums,
)
from crlhf.policy.ppo.interruption import StopRequest
from crlhf.policy.ppo.kl_control import KLControl
from crlhf.policy.ppo.losses import clipped_policy_loss, clipped_value_loss
from crlhf.policy.ppo.packing import pack_responses, plan_epoch
from crlhf.policy.ppo.rollouts import Rollouts, placed_rewards, with_advantages
from crlhf.policy.ppo.saved_state import SavesExactly
from crlhf.policy.ppo.sources import Source
from crlhf.policy.ppo.start import Start
from crlhf.policy.ppo.stops import Stops
from crlhf.policy.ppo.tuning import Tuning
from crlhf.policy.ppo.value_head import ResponseScores, ValueHead, add_response_scores


class CrowdPPOTrainer(SavesExactly, GRPOTrainer):  # type: ignore[misc]
    """PPO on stored or fresh rollouts, of an adapter or of all weights.

    Attributes:
        rollouts: those of the current round, with advantages; None before the first step.
        kl: the KL coefficient of the round.
        start_length: mean tokens of a completion in the first round.
        stopped_reason: why training stopped early, or None.
        was_interrupted: training ended because SIGTERM came; the last step is in a checkpoint.
    """

    optimizer: Any

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        params: PPOParams,
        source: Source,
        config: Any,
        *,
        tuning: Tuning,
        key: str,
        start: Start,
        stop: StopRequest,
        on_step: Callable[[int, dict[str, float]], None],
        on_completions: Callable[[int], object],
    ) -> None:
        model, peft_config = tuning.prepared(model)
        n_micro_batches = config.max_steps * config.gradient_accumulation_steps
        super().__init__(
            model=model,
            reward_funcs=[source.reward_function],
            args=config,
            train_dataset=Dataset.from_dict({"cursor": list(range(n_micro_batches))}),
            processing_class=tokenizer,
            peft_config=peft_config,
        )
        self.num_generations = 1
        self.params = params
        self.source = source
        self.tuning = tuning
        self.key = key
        self.rollouts: Rollouts | None = None
        carried_over = start.kl_coef if params.kl_control == "adaptive" else None
        self.kl = KLControl(params.kl_coef if carried_over is None else carried_over)
        self.start_length = start.length
        self.stopped_reason: str | None = None
        self.was_interrupted = False
        self.value_head = ValueHead(self.model.config.get_text_config().hidden_size, mean_score=0.0)
        self._value_head_is_new = start.value_head is None
        if start.value_head is not None:
            self.value_head.load(start.value_head)
        self.value_head.to(self.accelerator.device)
        # After the adapter is in place: LoRA on all linear layers would otherwise wrap the head too.
        inner = self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model
        add_response_scores(inner, self.value_head, config.temperature, entropy_gradient=params.entropy_coef > 0)
        self._stop = stop
        self._on_step = on_step
        self._on_completions = on_completions
        self._round_no = -1
        self._plan: list[list[int]] = []
        self._sums: Sums = {}
        self._step_started = 0.0
        self._staging: Path | None = None
        self.remove_callback(PrinterCallback)
        self.add_callback(Stops(self))

    # Batches: TRL's dataloader counts micro-batches, and the plan of the round says which completions each one holds.

    def get_train_dataloader(self) -> DataLoader[Any]:
        """One cursor position a batch, in order, the same in each process; the order of completions is in the plan."""
        return DataLoader(self.train_dataset, batch_size=1, shuffle=False, collate_fn=list)

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """One micro-batch; SIGTERM may leave it at any point, since weights change after it only."""
        if processes.n_processes() > 1:  # the others would wait for this one: all stop together, after the step
            found: Tensor = super().training_step(*args, **kwargs)
            return found
        with self._stop.interruptible():
            found = super().training_step(*args, **kwargs)
            return found

    def _prepare_inputs(self, generation_batch: Any) -> dict[str, Any]:
        cursor = generation_batch[0]["cursor"]
        accumulation = self.args.gradient_accumulation_steps
        round_no, within = divmod(cursor, len(self.train_dataset) // self.source.n_rounds)
        if self.rollouts is None or round_no != self._round_no:
            self._open_round(round_no)
        assert self.rollouts is not None
        if not self._plan:
            self._plan = self._plan_round(self.rollouts, round_no)
        if within % accumulation == 0:
            self._step_started = time.perf_counter()
        n = processes.n_processes()
        first = n * (within - within % accumulation)
        step_rows = [no for part in self._plan[first : first + n * accumulation] for no in part]
        rows = self._plan[n * within + processes.rank()]
        return {"rows": rows, "n_step_tokens": sum(len(self.rollouts.responses[no]) for no in step_rows)}

    def _plan_round(self, rollouts: Rollouts, round_no: int) -> list[list[int]]:
        rng = np.random.default_rng([self.args.seed, round_no])
        n_parts = self.args.gradient_accumulation_steps * processes.n_processes()
        problem_nos, n_steps = rollouts.problem_nos.tolist(), self.steps_per_round // self.params.num_ppo_epochs
        epochs = [
            plan_epoch(problem_nos, rollouts.lengths, n_steps, n_parts, rng) for _ in range(self.params.num_ppo_epochs)
        ]
        return [batch for epoch in epochs for batch in epoch]

    @property
    def steps_per_round(self) -> int:
        """Optimiser steps between two samplings."""
        return int(self.args.max_steps) // self.source.n_rounds

    # Rollouts: log-probabilities, values and advantages are computed once, before the first update of the round.

    def _open_round(self, round_no: int) -> None:
        rollouts = self._score(self.source.collect(self, round_no), is_first=round_no == 0)
        self.start_length = self.start_length or rollouts.mean_length
        self.rollouts, self._round_no, self._plan = rollouts, round_no, []

    def _score(self, rollouts: Rollouts, *, is_first: bool) -> Rollouts:
        current = self._forward_all(rollouts)
        rollouts.ref_logprobs = current.logprobs
        if not self.tuning.is_reference(self.model):
            with self.tuning.reference(self.model):
                rollouts.ref_logprobs = self._forward_all(rollouts).logprobs
        if rollouts.old_logprobs is None:
            rollouts.old_logprobs = current.logprobs
        placed = placed_rewards(rollouts, self.params, self.kl.coef)
        rollouts.old_values = current.value_predictions
        if self._value_head_is_new and is_first:  # its weights are 0: what it predicts is its bias
            torch.nn.init.constant_(self.value_head.bias, placed.mean)
            rollouts.old_values = torch.where(rollouts.response_mask, placed.mean, 0.0)
        return with_advantages(rollouts, placed, self.params)

    @torch.no_grad()
    def _forward_all(self, rollouts: Rollouts) -> ResponseScores:
        """The policy's word on every completion, without gradient; tensors (B, T) on the CPU.

        Batches do not depend on the number of processes. Each process computes some; the others hold 0 there.
        """
        n, rank = processes.n_processes(), processes.rank()
        n_batches = math.ceil(len(rollouts) / self.params.micro_batch_size)
        plan = plan_epoch(rollouts.problem_nos.tolist(), rollouts.lengths, 1, n_batches, np.random.default_rng(0))
        plan += [[]] * (-len(plan) % n)  # sharded models need every process in every pass
        mask = rollouts.response_mask
        found = ResponseScores(*(torch.zeros(mask.shape) for _ in range(3)))
        for rows in plan[rank::n]:
            scores = self._forward(self.model, rollouts, rows or [0])[0]
            for whole, part in zip(found.to_tuple(), scores.to_tuple(), strict=True):
                whole[rows, : part.shape[1]] = part.cpu().float()[: len(rows)]
            self._on_completions(len(rows))
        return ResponseScores(*(processes.added_up(part, self.accelerator.device) for part in found.to_tuple()))

    def _forward(self, model: Any, rollouts: Rollouts, rows: list[int]) -> tuple[ResponseScores, Tensor, int]:
        pad_id = self.processing_class.pad_token_id
        batch = pack_responses([rollouts.prompts[no] for no in rows], [rollouts.responses[no] for no in rows], pad_id)
        tensors = {
            name: value.to(self.accelerator.device) for name, value in batch._asdict().items() if name != "n_tokens"
        }
        return model(**tensors), tensors["response_mask"], batch.n_tokens

    # Loss

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        rows, rollouts, params = inputs["rows"], self.rollouts, self.params
        assert rollouts is not None
        # With fewer completions than micro-batches some hold none: they go through the motions with weight 0.
        scores, mask, n_tokens = self._forward(model, rollouts, rows or [0])
        if not rows:
            return (scores.logprobs.sum() + scores.entropies.sum() + scores.value_predictions.sum()) * 0.0
        logprobs, values = scores.logprobs, scores.value_predictions
        old = {
            name: getattr(rollouts, name)[rows, : mask.shape[1]].to(mask.device)
            for name in ("old_logprobs", "ref_logprobs", "old_values", "advantages", "returns")
        }
        policy = clipped_policy_loss(logprobs, old["old_logprobs"], old["advantages"], mask, params.cliprange)
        value = clipped_value_loss(values, old["old_values"], old["returns"], mask, params.cliprange_value)
        loss_sum = policy.loss_sum + params.vf_coef * value.loss_sum
        if params.entropy_coef:
            loss_sum = loss_sum - params.entropy_coef * (scores.entropies * mask).sum()
        with torch.no_grad():
            sums = token_sums(
                logprobs=logprobs,
                entropies=scores.entropies,
                values=values,
                old_logprobs=old["old_logprobs"],
                ref_logprobs=old["ref_logprobs"],
                returns=old["returns"],
                scores=rollouts.scores[rows],
                response_mask=mask,
            )
        losses = {"policy_loss": policy.loss_sum, "value_loss": value.loss_sum}
        clipped = {"clip_fraction": policy.n_clipped, "value_clip_fraction": value.n_clipped}
        sums |= {name: float(x.detach()) for name, x in {**losses, **clipped}.items()}
        self._sums = add_sums(self._sums, sums | {"input_tokens": float(n_tokens)})
        self._on_completions(len(rows))
        # Processes average their gradients; the step wants the sum.
        loss: Tensor = loss_sum * processes.n_processes() / inputs["n_step_tokens"]
        return loss

    # Optimiser

    def create_optimizer(self, model: Any = None) -> Any:
        """AdamW with two groups: the policy, and the value head at its own learning rate."""
        if self.optimizer is None:
            named = [(name, p) for name, p in (model or self.model).named_parameters() if p.requires_grad]
            head = [p for name, p in named if "value_head." in name]
            policy = [p for name, p in named if "value_head." not in name]
            cls, kwargs = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            groups: list[dict[str, Any]] = [
                {"params": policy},
                {"params": head, "lr": self.params.value_learning_rate},
            ]
            self.optimizer = cls([group | {"weight_decay": 0.0} for group in groups], **kwargs)
        return self.optimizer

    def _clip_grad_norm(self, model: Any) -> Any:
        """Called once a step, after its last micro-batch: what all processes found is added up here."""
        self._sums["stop_asked"] = float(self._stop.asked)
        self._sums = processes.added_up_sums(self._sums, SUM_NAMES, self.accelerator.device)
        policy, value = self._sums["policy_loss"], self._sums["value_loss"]
        if not math.isfinite(policy + value):
            raise self._diverged(f"the loss is {policy + value} (policy {policy}, value {value})")
        norm = super()._clip_grad_norm(model)
        if not math.isfinite(float(norm)):
            raise self._diverged(f"the norm of the gradient is {float(norm)}")
        return norm

    def _diverged(self, what: str) -> CrlhfError:
        return CrlhfError(
            f"PPO diverged at step {self.state.global_step + 1}: {what}; lower ppo.learning_rate or "
            "ppo.value_learning_rate and run again"
        )

    def see_kl(self, step: int, *, is_last: bool) -> None:
        """Let the KL coefficient see a finished step of a round's last epoch, and end the round after its last step.

        Args:
            step: its number, from 1.
            is_last: training ends with it.
        """
        within = (step - 1) % self.steps_per_round + 1
        n_before_last_epoch = self.steps_per_round - self.steps_per_round // self.params.num_ppo_epochs
        if within > n_before_last_epoch or is_last:
            n = self._sums["completions"]
            self.kl.see(kl_per_completion(self._sums) * n, n)
        self._kl_coef_of_step = self.kl.coef
        if within == self.steps_per_round or is_last:
            self.kl.end_round(self.params)

    # Reports

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Report the step's curves; the summary that the base class logs at the end is not a step."""
        if "grad_norm" not in logs:
            return
        assert self.rollouts is not None
        seconds = time.perf_counter() - self._step_started
        metrics = {
            **step_metrics(self._sums),
            "length_drift": length_drift(self._sums, self.rollouts.mean_length, self.start_length),
            "kl_coef": self._kl_coef_of_step,
            "learning_rate": logs["learning_rate"],
            "grad_norm": float(logs["grad_norm"]),
            "wall/seconds": seconds,
            "wall/tokens_per_second": self._sums["input_tokens"] / seconds,
        }
        self._sums = {}
        self._metrics["train"].clear()
        self.state.log_history.append({"step": self.state.global_step, **metrics})
        self._on_step(self.state.global_step, metrics)

    def _send_telemetry(self) -> None:
        """Nothing is sent anywhere."""

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """A checkpoint holds what resuming needs and no card."""
