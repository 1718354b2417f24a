"""PPO on TRL's GRPOTrainer: it owns devices, global random state while it trains, and checkpoint files.

TRL's trainer brings the loop, the adapter, generation, gradient accumulation and clipping, optimiser and scheduler,
distribution over processes, and the contents of a checkpoint. This class brings what makes it PPO: rollouts that are
stored or collected once and used for several epochs, a value head, per-token KL-penalised rewards, generalised
advantage estimation, clipped policy and value losses, and checkpoints that are exact at every step.

Departs from the paper: training stops when the policy is more than `max_kl` nats a completion from the reference; the
paper names no such bound.
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
from torch.utils.data import DataLoader, SequentialSampler
from transformers import PrinterCallback, TrainerCallback
from trl import GRPOTrainer

from crlhf.errors import CrlhfError
from crlhf.params import PPOParams
from crlhf.policy.ppo import checkpoints
from crlhf.policy.ppo.adapter import load_adapter, save_adapter
from crlhf.policy.ppo.diagnostics import Sums, add_sums, kl_per_completion, step_metrics, token_sums
from crlhf.policy.ppo.losses import clipped_policy_loss, clipped_value_loss
from crlhf.policy.ppo.packing import pack_responses, plan_epoch
from crlhf.policy.ppo.rollouts import Rollouts, with_advantages
from crlhf.policy.ppo.sources import Source
from crlhf.policy.ppo.value_head import FILE_NAME, ResponseScores, ValueHead, add_response_scores

ROLLOUTS_FILE = "rollouts.safetensors"
KEEP_CHECKPOINTS = 2


class CrowdPPOTrainer(GRPOTrainer):  # type: ignore[misc]
    """PPO with LoRA on stored or fresh rollouts.

    Attributes:
        rollouts: those of the current round, with advantages; None before the first step.
        stopped_reason: why training stopped early, or None.
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
        peft_config: Any,
        key: str,
        value_head: Path | None,
        on_step: Callable[[int, dict[str, float]], None],
        on_completions: Callable[[int], object],
    ) -> None:
        if config.world_size > 1:
            raise CrlhfError("PPO runs in one process; start it without torchrun or accelerate launch")
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
        self.key = key
        self.rollouts: Rollouts | None = None
        self.stopped_reason: str | None = None
        self.value_head = ValueHead(self.model.config.get_text_config().hidden_size, mean_score=0.0)
        self._value_head_is_new = value_head is None
        if value_head is not None:
            self.value_head.load(value_head)
        self.value_head.to(self.accelerator.device)
        # After the adapter is in place: LoRA on all linear layers would otherwise wrap the head too.
        add_response_scores(self.model.get_base_model(), self.value_head, config.temperature)
        self._on_step = on_step
        self._on_completions = on_completions
        self._round_no = -1
        self._plan: list[list[int]] = []
        self._sums: Sums = {}
        self._step_started = 0.0
        self._staging: Path | None = None
        self.remove_callback(PrinterCallback)
        self.add_callback(_KlStop(self))

    # Batches: TRL's dataloader counts micro-batches, and the plan of the round says which completions each one holds.

    def get_train_dataloader(self) -> DataLoader[Any]:
        """One cursor position a batch, in order; the order of completions is in the plan."""
        loader: DataLoader[Any] = self._get_dataloader(
            self.train_dataset, "Training", batch_size=1, sampler_fn=SequentialSampler, is_training=True
        )
        return loader

    def _prepare_inputs(self, generation_batch: Any) -> dict[str, Any]:
        cursor = generation_batch[0]["cursor"]
        accumulation = self.args.gradient_accumulation_steps
        round_no, within = divmod(cursor, len(self.train_dataset) // self.source.n_rounds)
        if self.rollouts is None or round_no != self._round_no:
            self._round_no = round_no
            self.rollouts = self._score(self.source.collect(self, round_no))
            self._plan = []
        if not self._plan:
            self._plan = self._plan_round(self.rollouts, round_no)
        if within % accumulation == 0:
            self._step_started = time.perf_counter()
        first = within - within % accumulation
        step_rows = [no for part in self._plan[first : first + accumulation] for no in part]
        return {"rows": self._plan[within], "n_step_tokens": sum(len(self.rollouts.responses[no]) for no in step_rows)}

    def _plan_round(self, rollouts: Rollouts, round_no: int) -> list[list[int]]:
        rng = np.random.default_rng([self.args.seed, round_no])
        accumulation = self.args.gradient_accumulation_steps
        n_steps = self.args.max_steps // (self.source.n_rounds * self.params.num_ppo_epochs)
        problem_nos = rollouts.problem_nos.tolist()
        epochs = [
            plan_epoch(problem_nos, rollouts.lengths, n_steps, accumulation, rng)
            for _ in range(self.params.num_ppo_epochs)
        ]
        return [batch for epoch in epochs for batch in epoch]

    # Rollouts: log-probabilities, values and advantages are computed once, before the first update of the round.

    def _score(self, rollouts: Rollouts) -> Rollouts:
        if self._value_head_is_new and self._round_no == 0:
            torch.nn.init.constant_(self.value_head.bias, float(rollouts.scores.mean()))
        current = self._forward_all(rollouts)
        rollouts.ref_logprobs = current.logprobs
        if not self._adapter_is_new():
            with self.model.disable_adapter():
                rollouts.ref_logprobs = self._forward_all(rollouts).logprobs
        if rollouts.old_logprobs is None:
            rollouts.old_logprobs = current.logprobs
        rollouts.old_values = current.value_predictions
        return with_advantages(rollouts, self.params)

    def _adapter_is_new(self) -> bool:
        """True while the adapter changes nothing: its B matrices are 0, and the policy is the reference."""
        return not any(bool(p.any()) for name, p in self.model.named_parameters() if "lora_B" in name)

    @torch.no_grad()
    def _forward_all(self, rollouts: Rollouts) -> ResponseScores:
        """The policy's word on every completion, without gradient; tensors (B, T) on the CPU."""
        n_batches = math.ceil(len(rollouts) / self.params.micro_batch_size)
        plan = plan_epoch(rollouts.problem_nos.tolist(), rollouts.lengths, 1, n_batches, np.random.default_rng(0))
        mask = rollouts.response_mask
        found = ResponseScores(*(torch.zeros(mask.shape) for _ in range(3)))
        for rows in plan:
            scores = self._forward(self.model, rollouts, rows)[0]
            for whole, part in zip(found.to_tuple(), scores.to_tuple(), strict=True):
                whole[rows, : part.shape[1]] = part.cpu()
            self._on_completions(len(rows))
        return found

    def _forward(self, model: Any, rollouts: Rollouts, rows: list[int]) -> tuple[ResponseScores, Tensor, int]:
        pad_id = self.processing_class.pad_token_id
        batch = pack_responses([rollouts.prompts[no] for no in rows], [rollouts.responses[no] for no in rows], pad_id)
        tensors = {
            name: value.to(self.accelerator.device) for name, value in batch._asdict().items() if name != "n_tokens"
        }
        return model(**tensors), tensors["response_mask"], batch.n_tokens

    # Loss

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        rows, rollouts = inputs["rows"], self.rollouts
        if not rows:  # fewer completions than micro-batches
            return torch.stack([p.sum() * 0.0 for p in model.parameters() if p.requires_grad]).sum()
        assert rollouts is not None
        scores, mask, n_tokens = self._forward(model, rollouts, rows)
        logprobs, values = scores.logprobs, scores.value_predictions
        old = {
            name: getattr(rollouts, name)[rows, : mask.shape[1]].to(mask.device)
            for name in ("old_logprobs", "ref_logprobs", "old_values", "advantages", "returns")
        }
        policy = clipped_policy_loss(logprobs, old["old_logprobs"], old["advantages"], mask, self.params.cliprange)
        value = clipped_value_loss(values, old["old_values"], old["returns"], mask, self.params.cliprange_value)
        loss: Tensor = (policy.loss_sum + self.params.vf_coef * value.loss_sum) / inputs["n_step_tokens"]
        if not torch.isfinite(loss):
            raise self._diverged(
                f"the loss is {loss.item()} (policy {policy.loss_sum.item()}, value {value.loss_sum.item()})"
            )
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
        return loss

    def _diverged(self, what: str) -> CrlhfError:
        return CrlhfError(
            f"PPO diverged at step {self.state.global_step + 1}: {what}; lower ppo.learning_rate or "
            "ppo.value_learning_rate and run again"
        )

    # Optimiser

    def create_optimizer(self, model: Any = None) -> Any:
        """AdamW with two groups: the adapter, and the value head at its own learning rate."""
        if self.optimizer is None:
            head = list(self.value_head.parameters())
            own = {id(p) for p in head}
            adapter = [p for p in (model or self.model).parameters() if p.requires_grad and id(p) not in own]
            cls, kwargs = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            groups: list[dict[str, Any]] = [
                {"params": adapter},
                {"params": head, "lr": self.params.value_learning_rate},
            ]
            self.optimizer = cls([group | {"weight_decay": 0.0} for group in groups], **kwargs)
        return self.optimizer

    def _clip_grad_norm(self, model: Any) -> Any:
        norm = super()._clip_grad_norm(model)
        if not math.isfinite(float(norm)):
            raise self._diverged(f"the norm of the gradient is {float(norm)}")
        return norm

    # Reports

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Report the step's curves; the summary that the base class logs at the end is not a step."""
        if "grad_norm" not in logs:
            return
        seconds = time.perf_counter() - self._step_started
        metrics = {
            **step_metrics(self._sums),
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

    # Checkpoints

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._staging or self.args.output_dir)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = Path(self.args.output_dir)
        with checkpoints.disk_full_explained(folder):
            self._staging = checkpoints.staging_folder(folder)
            super()._save_checkpoint(model, trial)
            written = self._staging / f"checkpoint-{self.state.global_step}"
            if self.rollouts is not None:
                self.rollouts.save(written / ROLLOUTS_FILE)
            checkpoints.commit(written, folder, self.key, self.state.global_step, KEEP_CHECKPOINTS)
            self._staging = None

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        written = Path(output_dir or self.args.output_dir)
        save_adapter(self.model, written)
        self.value_head.save(written / FILE_NAME)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Adapter, value head, and the rollouts of the round with the advantages that its updates go on using."""
        saved = Path(resume_from_checkpoint)
        load_adapter(self.model, saved)
        self.value_head.load(saved / FILE_NAME)
        self.rollouts = Rollouts.load(saved / ROLLOUTS_FILE)
        step = int(saved.name.split("-")[1])
        # The round of the last step taken: the next step may open a new one.
        self._round_no = (step - 1) * self.source.n_rounds // self.args.max_steps


class _KlStop(TrainerCallback):  # type: ignore[misc]
    """Stops training before the update of a step that found the policy too far from the reference."""

    def __init__(self, trainer: CrowdPPOTrainer) -> None:
        self._trainer = trainer

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        kl, max_kl = kl_per_completion(self._trainer._sums), self._trainer.params.max_kl
        if kl > max_kl:
            self._trainer.stopped_reason = (
                f"KL from the reference policy was {kl:.3f} nats a completion at step {state.global_step + 1}, "
                f"above ppo.max_kl = {max_kl:g}"
            )
            # The optimiser passes over parameters without a gradient: the update is not made.
            self._trainer.optimizer.zero_grad(set_to_none=True)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self._trainer.stopped_reason:
            control.should_training_stop = True
            control.should_save = False
