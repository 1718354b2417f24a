"""What stage `ppo` calls: PPO, or one of the baselines on the same verdicts, as `tuning.method` says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from crlhf.errors import ParamsError
from crlhf.launch import is_alone
from crlhf.progress import progress_bar
from crlhf.stages.policies import Policy

if TYPE_CHECKING:
    import pandas as pd

    from crlhf.policy.ppo import PPOResult
    from crlhf.stages.runner import Context

METHODS = {
    "ppo": "PPO",
    "sft": "SFT on the best-scored completions",
    "dpo": "DPO on the ranked pairs",
    "grpo": "GRPO",
    "rloo": "RLOO",
    "reward_model": "PPO on a reward model",
}
"""How each method is called in the names of policies and in reports."""


class Trained(NamedTuple):
    """What training wrote.

    Attributes:
        weights: folder of the trained adapter, or of the whole policy.
        beside: files that the next round needs beside them.
        history: the curves of each step; each has `step`.
        stopped: why training ended.
        metrics: more numbers of the method.
    """

    weights: Path
    beside: tuple[Path, ...]
    history: Sequence[Mapping[str, float]]
    stopped: str
    metrics: dict[str, float]


def tune(context: Context, start: Policy, rollouts: pd.DataFrame, temperature: float, work: Path) -> Trained:
    """Train on the round's rollouts, from the weights of `start`, in the folder `work`; resumes what lies there.

    Args:
        context: of the stage.
        start: the policy of the round before.
        rollouts: completion_id, problem_id, model_input, prompt_token_ids, token_ids, logprobs, reward.
        temperature: at which they were sampled.
        work: a folder that belongs to these very inputs.
    """
    from crlhf.policy.base import load_policy

    if context.params.tuning.method != "ppo" and not is_alone():
        raise ParamsError(f"tuning.method {context.params.tuning.method} runs in one process; unset CRLHF_LAUNCH")
    # An adapter is trained on the weights as they are stored; weights that are trained themselves are float32.
    dtype = start.base["dtype"] if context.params.ppo.fine_tuning == "lora" else "float32"
    model, tokenizer = load_policy(start.base_folder, dtype=dtype)
    shared = {
        "temperature": temperature,
        "seed": context.seed,
        "folder": work,
        "start": start.home,
        "on_step": context.run.log_step,
        "progress": progress_bar,
    }
    method = {"ppo": _replay, "reward_model": _reward_model}.get(context.params.tuning.method, _baseline)
    return method(context, start, model, tokenizer, rollouts, shared)


def _replay(
    context: Context, start: Policy, model: Any, tokenizer: Any, rollouts: pd.DataFrame, shared: dict[str, Any]
) -> Trained:
    """PPO on the annotated completions."""
    from crlhf.policy.ppo import train_ppo

    if context.params.ppo.reward_placement == "line_ends":
        rollouts = _placed_by_line(context, rollouts, tokenizer)
    result = train_ppo(model, tokenizer, rollouts, context.params.ppo, say=context.say, **shared)
    return _of_ppo(result, {})


def _baseline(
    context: Context, start: Policy, model: Any, tokenizer: Any, rollouts: pd.DataFrame, shared: dict[str, Any]
) -> Trained:
    """SFT, DPO, GRPO or RLOO."""
    from crlhf.policy.baselines import train_baseline

    result = train_baseline(model, tokenizer, rollouts, context.params.ppo, context.params.tuning, **shared)
    return Trained(result.adapter, (), result.history, "all epochs done", {})


def _reward_model(
    context: Context, start: Policy, model: Any, tokenizer: Any, rollouts: pd.DataFrame, shared: dict[str, Any]
) -> Trained:
    """A reward model learns the ranking; PPO samples the policy anew and learns from the model."""
    from crlhf.evaluation.protocols import get_protocol
    from crlhf.policy.baselines import train_reward_model
    from crlhf.policy.ppo import train_ppo_online

    params = context.params
    protocol = get_protocol(params.completions.protocol)
    learned = train_reward_model(
        start.base_folder,
        tokenizer,
        rollouts,
        params.ppo,
        params.tuning,
        seed=context.seed,
        work=shared["folder"] / "reward_model",
        on_step=lambda step, curves: None,
        progress=progress_bar,
        cut=protocol.cut,
    )
    context.say(f"ppo: the reward model orders {learned.pair_accuracy:.0%} of its {learned.n_pairs} pairs as the crowd")
    result = train_ppo_online(
        model,
        tokenizer,
        list(dict.fromkeys(rollouts["model_input"])),
        learned.score,
        params.ppo,
        n_per_prompt=params.completions.n_per_problem,
        n_rounds=params.tuning.reward_model_rounds,
        max_new_tokens=params.completions.max_new_tokens,
        stops=protocol.stops,
        say=context.say,
        **shared,
    )
    return _of_ppo(
        result,
        {"reward_model/pair_accuracy": round(learned.pair_accuracy, 9), "reward_model/n_pairs": learned.n_pairs},
    )


def _of_ppo(result: PPOResult, metrics: dict[str, float]) -> Trained:
    beside = (result.value_head, result.value_head.with_name("ppo_state.json"))
    return Trained(result.weights, beside, result.history, result.stopped_reason or "all epochs done", metrics)


def _placed_by_line(context: Context, rollouts: pd.DataFrame, tokenizer: Any) -> pd.DataFrame:
    from crlhf.stages.line_rewards import with_line_rewards

    store = context.store
    codes = store.read("completions").set_index("completion_id")["code"]
    return with_line_rewards(rollouts, codes, store.read("scores"), store.read("line_posteriors"), tokenizer)
