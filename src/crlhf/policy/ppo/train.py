"""Train a policy by PPO into a folder, across interruptions; effects: files, devices, random state."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crlhf.errors import MissingInputError, ParamsError
from crlhf.params import PPOParams
from crlhf.policy.ppo import checkpoints
from crlhf.policy.ppo.lending import lent, quiet
from crlhf.policy.ppo.result import PPOResult, finished, run_key, write_result
from crlhf.progress import Bar

if TYPE_CHECKING:
    import pandas as pd

    from crlhf.policy.ppo.sources import RewardFunction, Source

OnStep = Callable[[int, dict[str, float]], None]
Progress = Callable[[str, int, str, int], AbstractContextManager[Bar]]


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
    while it runs. Called again after a kill, it goes on from the last whole checkpoint and ends with the same weights
    as a run that was never interrupted; called again after it ended, it returns the result. A folder of other inputs
    is trained anew.

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
    if temperature <= 0:
        raise ParamsError("PPO needs completions that were sampled: the temperature must be above 0")
    if value_head is not None and not value_head.is_file():
        raise MissingInputError(f"{value_head}: no such value head")
    key = run_key(model, params, inputs | {"temperature": temperature, "seed": seed}, value_head)
    if (earlier := finished(folder, key)) is not None:
        return earlier
    with lent(model), quiet():
        from crlhf.policy.ppo.config import ppo_config
        from crlhf.policy.ppo.trainer import CrowdPPOTrainer

        checkpoint_folder = folder / "checkpoints"
        settings = ppo_config(params, source, temperature=temperature, seed=seed, folder=checkpoint_folder, **config)
        total = source.n_rounds * source.n_completions * (params.num_ppo_epochs + 1)
        found = checkpoints.newest(checkpoint_folder, key)
        done = total * found.step // settings.max_steps
        bars = progress("PPO", total, "completion", done) if progress else nullcontext(_Silent())
        folder.mkdir(parents=True, exist_ok=True)
        with bars as bar:
            trainer = CrowdPPOTrainer(
                model,
                tokenizer,
                params,
                source,
                settings,
                peft_config=lora_config(model, params),
                key=key,
                value_head=value_head,
                on_step=_shown(on_step, bar),
                on_completions=bar.update,
            )
            trainer.train(resume_from_checkpoint=str(found.path) if found.path else None)
            with checkpoints.disk_full_explained(folder):
                result = write_result(trainer, folder, key, found)
    if not keep_checkpoints:
        shutil.rmtree(checkpoint_folder, ignore_errors=True)
    return result


def lora_config(model: Any, params: PPOParams) -> Any:
    """The adapter that the params ask for; None for a model that came with one, which then is made trainable."""
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
