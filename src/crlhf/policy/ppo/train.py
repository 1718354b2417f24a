"""Train a policy by PPO into a folder, across interruptions; effects: files, devices, random state."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crlhf.errors import ParamsError
from crlhf.params import PPOParams
from crlhf.policy.ppo import checkpoints, processes
from crlhf.policy.ppo.interruption import StopAskedError, StopRequest, stop_requests
from crlhf.policy.ppo.lending import lent, quiet
from crlhf.policy.ppo.result import PPOResult, finished, run_key, write_result
from crlhf.progress import Bar

if TYPE_CHECKING:
    import pandas as pd

    from crlhf.policy.ppo.sources import RewardFunction, Source

OnStep = Callable[[int, dict[str, float]], None]
Say = Callable[[str], None]
Progress = Callable[[str, int, str, int], AbstractContextManager[Bar]]


def _say_nothing(text: str) -> None:
    return None


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
    start: Path | None = None,
    keep_checkpoints: bool = False,
    say: Say = _say_nothing,
) -> PPOResult:
    """PPO on stored, annotated completions.

    Writes `adapter/` (full fine-tuning: `policy/`), `value_head.safetensors`, `ppo_state.json` and `result.json` into
    `folder`, and checkpoints below `checkpoints/` while it runs. Called again after a kill, it goes on from the last
    whole checkpoint and ends with the same weights as a run that was never interrupted; called again after it ended, it
    returns the result. A folder of other inputs is trained anew. SIGTERM writes one more checkpoint, of the last
    finished step, and then does what the process does on SIGTERM.

    Under torchrun or accelerate launch every process calls this with the same arguments; they share each step.

    Args:
        model: a causal language model; or a PEFT model, whose adapter is then trained on. With LoRA the base weights do
            not change; a new adapter is taken off at the end, one that came with the model stays, trained. With full
            fine-tuning the model itself is trained.
        tokenizer: its tokenizer; only the padding token is used.
        rollouts: columns completion_id, problem_id, prompt_token_ids, token_ids, logprobs, reward.
        params: the section `ppo` of params.yaml.
        temperature: at which the completions were sampled.
        seed: of the adapter's first weights and of the order of completions.
        folder: of this run's files.
        on_step: called with each optimiser step's number (from 1) and curves. After an interruption, steps since the
            last checkpoint are reported again, with the same numbers. Curves whose names begin with `wall/` are times.
        progress: makes a progress bar from label, total, unit and units done; None shows nothing.
        start: the folder of an earlier round's result (`adapter/` or `policy/`, value head, `ppo_state.json`): training
            goes on from its weights, its value head and, where it is adaptive, its KL coefficient. The reference stays
            the model as it is given, so give the base. None: a new adapter, and a value head that starts at the mean
            score.
        keep_checkpoints: leave the last checkpoints in place at the end.
        say: takes sentences for the person who waits: where an interrupted run goes on, and what was damaged.

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
        start=start,
        keep_checkpoints=keep_checkpoints,
        say=say,
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
    start: Path | None = None,
    keep_checkpoints: bool = False,
    say: Say = _say_nothing,
    use_vllm: bool = False,
    stops: Sequence[str] = (),
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
        start: as for `train_ppo`.
        keep_checkpoints: as for `train_ppo`.
        say: as for `train_ppo`.
        use_vllm: write completions with vLLM on the training device (TRL's colocate mode), which needs a CUDA device
            and `pip install vllm`. Not run by the project's own tests.
        stops: a completion ends with the token that completes one of these.

    Raises:
        CrlhfError: as for `train_ppo`, or nothing was scored.
        ParamsError: as for `train_ppo`, or vLLM is not installed.
    """
    from crlhf.policy.ppo.sources import Online

    if use_vllm and find_spec("vllm") is None:
        raise ParamsError("use_vllm: vLLM is not installed; it needs a CUDA device and `pip install vllm`")
    engine = {"use_vllm": True, "vllm_mode": "colocate"} if use_vllm else {}
    shape = {"n_per_prompt": n_per_prompt, "n_rounds": n_rounds, "max_new_tokens": max_new_tokens}
    return _train(
        model,
        tokenizer,
        Online(prompts, reward_function, n_per_prompt=n_per_prompt, n_rounds=n_rounds, seed=seed, stops=stops),
        params,
        inputs={"prompts": list(prompts), **shape} | ({"stops": list(stops)} if stops else {}),
        temperature=temperature,
        seed=seed,
        folder=folder,
        on_step=on_step,
        progress=progress,
        start=start,
        keep_checkpoints=keep_checkpoints,
        say=say,
        max_completion_length=max_new_tokens,
        **engine,
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
    start: Path | None,
    keep_checkpoints: bool,
    say: Say,
    **config: Any,
) -> PPOResult:
    from crlhf.policy.ppo.config import ppo_config
    from crlhf.policy.ppo.start import read_start
    from crlhf.policy.ppo.trainer import CrowdPPOTrainer
    from crlhf.policy.ppo.tuning import tuning_of

    if temperature <= 0:
        raise ParamsError("PPO needs completions that were sampled: the temperature must be above 0")
    tuning = tuning_of(params, start, keeps_reference=source.n_rounds > 1)
    begin = read_start(start, tuning.result)
    key = run_key(model, params, inputs | {"temperature": temperature, "seed": seed}, begin.sha256s)
    if (earlier := finished(folder, key)) is not None:
        return earlier
    checkpoint_folder = folder / "checkpoints"
    with lent(model), quiet(), stop_requests() as stop:
        settings = ppo_config(params, source, temperature=temperature, seed=seed, folder=checkpoint_folder, **config)
        found = _found(checkpoint_folder, key, say)
        total = source.n_rounds * source.n_completions * (params.num_ppo_epochs + 1)
        with _bar(progress, total, total * found.step // settings.max_steps) as bar:
            trainer = CrowdPPOTrainer(
                model,
                tokenizer,
                params,
                source,
                settings,
                tuning=tuning,
                key=key,
                start=begin,
                stop=stop,
                on_step=_shown(on_step, bar),
                on_completions=bar.update,
            )
            if _run(trainer, found, stop):
                with checkpoints.disk_full_explained(folder):
                    result = write_result(trainer, folder, key, found)
    if processes.rank() == 0 and not keep_checkpoints:
        shutil.rmtree(checkpoint_folder, ignore_errors=True)
    return result


def _found(folder: Path, key: str, say: Say) -> checkpoints.Found:
    """The checkpoint to go on from, said aloud; process 0 looks, and removes what is damaged."""
    found = checkpoints.Found(None, 0, 0)
    if processes.rank() == 0:
        folder.mkdir(parents=True, exist_ok=True)
        found = checkpoints.newest(folder, key)
        if found.n_damaged:
            say(f"PPO: {found.n_damaged} damaged checkpoint(s) found and removed")
        if found.path is not None:
            say(f"PPO: going on after step {found.step}, from the last good checkpoint")
        elif found.n_damaged:
            say("PPO: there is no good checkpoint, training begins anew")
    return processes.of_main(found)


def _run(trainer: Any, found: checkpoints.Found, stop: StopRequest) -> bool:
    """Train to the end; False if SIGTERM came first and a checkpoint was written."""
    try:
        trainer.train(resume_from_checkpoint=str(found.path) if found.path else None)
    except StopAskedError:
        trainer.save_now()
        return False
    return not trainer.was_interrupted


def _bar(progress: Progress | None, total: int, done: int) -> AbstractContextManager[Bar]:
    """A progress bar, shown by process 0 only."""
    if progress is None or processes.rank() > 0:
        return nullcontext(_Silent())
    return progress("PPO", total, "completion", done)


class _Silent:
    """A progress bar that shows nothing."""

    def update(self, n: float = 1) -> object:
        """Nothing."""
        return None

    def set_postfix_str(self, s: str = "", refresh: bool = True) -> None:
        """Nothing."""


def _shown(on_step: OnStep, bar: Bar) -> OnStep:
    """Report a step, and show it behind the bar; process 0 speaks for all."""

    def report(step: int, metrics: dict[str, float]) -> None:
        if processes.rank() == 0:
            bar.set_postfix_str(f"step {step}, score {metrics['score']:.3f}, KL {metrics['kl_k3']:.3f}")
            on_step(step, metrics)

    return report
