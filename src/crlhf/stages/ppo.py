"""Stage `ppo`: a policy tuned on the annotated completions."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crlhf.errors import InputError
from crlhf.fetch import cache_folder, sha256_file
from crlhf.launch import is_main_process
from crlhf.progress import progress_bar
from crlhf.schema import Summary
from crlhf.store import read_json, records, write_json

if TYPE_CHECKING:
    import pandas as pd

    from crlhf.policy.ppo import PPOResult
    from crlhf.stages.runner import Context

SECTIONS = ("seed", "ppo")
FOLDER = "models/ppo"
MANIFEST = "manifest.json"


def run(context: Context) -> Summary:
    """Write the folder `models/ppo` (weights, value head, PPO's state, manifest) and the table `ppo_steps`.

    Training works in a folder of its own, with checkpoints; an interrupted run goes on there and ends with the same
    weights. The finished weights are copied to `models/ppo`: an adapter, or with full fine-tuning a whole policy.
    """
    from crlhf.evaluation.report import draw_ppo, png
    from crlhf.policy.base import load_policy, policy_folder
    from crlhf.policy.ppo import train_ppo

    base = read_json(context.path("models/base_policy.json"))
    is_simulated = read_json(context.path("metrics/stages/rewards.json"))["is_simulated"]
    rollouts, temperature = _rollouts(context)
    work = context.work_folder("ppo", base, context.params.ppo.model_dump(), context.params.seed, records(rollouts))
    # An adapter is trained on the weights as they are stored; weights that are trained themselves are float32.
    dtype = base["dtype"] if context.params.ppo.fine_tuning == "lora" else "float32"
    model, tokenizer = load_policy(policy_folder(base, cache_folder()), dtype=dtype)
    if context.params.ppo.reward_placement == "line_ends":
        rollouts = _placed_by_line(context, rollouts, tokenizer)
    result = train_ppo(
        model,
        tokenizer,
        rollouts,
        context.params.ppo,
        temperature=temperature,
        seed=context.params.seed,
        folder=work,
        on_step=context.run.log_step,
        progress=progress_bar,
        say=context.say,
    )
    if not is_main_process():
        return Summary({}, {})
    _keep(context, base, work, result, is_simulated=is_simulated)
    table = steps_table(result.history)
    context.store.write("ppo_steps", table)
    shutil.rmtree(work)
    context.run.log_artifact(context.path(FOLDER), "policy")
    figure = context.keep_figure("ppo", png(draw_ppo(table)))
    return _summary(table, rollouts, result, figure, is_simulated=is_simulated)


def steps_table(history: Sequence[Mapping[str, float]]) -> pd.DataFrame:
    """The curves as the table PPO_STEPS, by step and name; NaN becomes null."""
    import pandas as pd

    rows = [
        (int(metrics["step"]), name, value) for metrics in history for name, value in metrics.items() if name != "step"
    ]
    return pd.DataFrame(rows, columns=["step", "name", "value"]).sort_values(["step", "name"], ignore_index=True)


def _rollouts(context: Context) -> tuple[pd.DataFrame, float]:
    """Scored completions with tokens and rewards, and their temperature; one without a reward is left out, not 0."""
    completions = context.store.read("completions")
    scores = context.store.read("scores")[["completion_id", "reward"]]
    joined = completions.merge(scores, on="completion_id", validate="one_to_one")
    columns = ["completion_id", "problem_id", "prompt_token_ids", "token_ids", "logprobs", "reward"]
    rollouts = joined.loc[joined["token_ids"].map(len) > 0, columns].reset_index(drop=True)
    if rollouts.empty:
        raise InputError("data/tables/scores.parquet: no scored completion has tokens to learn from")
    return rollouts, float(completions["temperature"].iloc[0])


def _placed_by_line(context: Context, rollouts: pd.DataFrame, tokenizer: Any) -> pd.DataFrame:
    from crlhf.stages.line_rewards import with_line_rewards

    store = context.store
    codes = store.read("completions").set_index("completion_id")["code"]
    return with_line_rewards(rollouts, codes, store.read("scores"), store.read("line_posteriors"), tokenizer)


def _keep(context: Context, base: dict[str, Any], work: Path, result: PPOResult, *, is_simulated: bool) -> None:
    """Copy the finished weights, value head and state to `models/ppo` and write the manifest beside them."""
    target = context.path(FOLDER)
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    shutil.copytree(result.weights, target / result.weights.name)
    for name in ("value_head.safetensors", "ppo_state.json"):
        shutil.copy2(work / name, target / name)
    is_full = result.weights.name == "policy"
    weights = sha256_file(next((target / result.weights.name).glob("*.safetensors")))
    teacher = "a simulated crowd" if is_simulated else "a human crowd"
    manifest = {
        "name": f"{base['name']}{', all weights' if is_full else ' + LoRA'} tuned by PPO on {teacher}",
        "policy_id": f"{base['policy_id']}+{weights[:12]}",
        "weights": result.weights.name,
        "weights_sha256": weights,
        "base": base,
        "is_simulated": is_simulated,
    }
    write_json(target / MANIFEST, manifest)


def _summary(
    table: pd.DataFrame, rollouts: pd.DataFrame, result: PPOResult, figure: str, *, is_simulated: bool
) -> Summary:
    last = table[table["step"] == table["step"].max()].set_index("name")["value"].dropna()
    metrics = {f"last/{name}": round(float(value), 9) for name, value in last.items()}
    metrics |= {
        "n_rollouts": len(rollouts),
        "n_steps": int(table["step"].max()),
        "mean_reward": round(float(rollouts["reward"].mean()), 9),
    }
    metrics["kl_coef_next"] = round(result.kl_coef, 12)
    facts = {"stopped": result.stopped_reason or "all epochs done"}
    return Summary(metrics, facts, is_simulated=is_simulated, figures=(figure,))
