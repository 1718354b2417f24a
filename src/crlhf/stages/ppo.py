"""Stage `ppo`: a LoRA adapter tuned on the round's annotated completions."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from crlhf.errors import InputError
from crlhf.fetch import sha256_file
from crlhf.progress import progress_bar
from crlhf.schema import Summary
from crlhf.stages import summary_path
from crlhf.stages.policies import ADAPTER, MANIFEST, VALUE_HEAD, Policy, find_policy, policy_path
from crlhf.store import read_json, records, write_json

if TYPE_CHECKING:
    import pandas as pd

    from crlhf.policy.ppo import PPOResult
    from crlhf.stages.runner import Context

SECTIONS = ("seed", "ppo")


def run(context: Context) -> Summary:
    """Write the folder `models/<round>` (adapter, value head, manifest) and the table `ppo_steps`.

    Training goes on from the adapter and value head of the round before; the reference policy is always the base, whose
    weights the adapter leaves alone. It works in a folder of its own, with checkpoints; an interrupted run goes on
    there and ends with the same weights. The finished adapter is copied to `models/<round>`.
    """
    from crlhf.evaluation.report import draw_ppo, png
    from crlhf.policy.base import load_policy
    from crlhf.policy.ppo import train_ppo

    start = find_policy(context.store.root, context.previous)
    is_simulated = read_json(context.path(summary_path("rewards", context.round)))["is_simulated"]
    is_simulated = is_simulated or start.is_simulated
    rollouts, temperature = _rollouts(context)
    work = context.work_folder("ppo", start.policy_id, start.base, context.params.ppo.model_dump(), records(rollouts))
    model, tokenizer = load_policy(start.folder, start.adapter, merge=False)
    result = train_ppo(
        model,
        tokenizer,
        rollouts,
        context.params.ppo,
        temperature=temperature,
        seed=context.seed,
        folder=work,
        value_head=start.value_head,
        on_step=context.run.log_step,
        progress=progress_bar,
    )
    folder = _keep(context, start, work, is_simulated=is_simulated)
    table = steps_table(result.history)
    context.store.write("ppo_steps", table)
    shutil.rmtree(work)
    context.run.log_artifact(folder, "policy")
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
        raise InputError(f"{context.store.table_path('scores')}: no scored completion has tokens to learn from")
    return rollouts, float(completions["temperature"].iloc[0])


def _keep(context: Context, start: Policy, work: Path, *, is_simulated: bool) -> Path:
    """Copy the finished adapter and value head to the round's folder, which is returned, with a manifest."""
    assert context.round
    target = context.path(policy_path(context.round))
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    shutil.copytree(work / ADAPTER, target / ADAPTER)
    shutil.copy2(work / VALUE_HEAD, target / VALUE_HEAD)
    adapter = sha256_file(target / ADAPTER / "adapter_model.safetensors")
    teacher = "a simulated crowd" if is_simulated else "a human crowd"
    manifest = {
        "name": f"{start.base['name']} + LoRA tuned by PPO on {teacher}, round {context.round}",
        "policy_id": f"{start.base['policy_id']}+{adapter[:12]}",
        "adapter_sha256": adapter,
        "round": context.round,
        "prev": start.policy_id,
        "base": start.base,
        "is_simulated": is_simulated,
    }
    write_json(target / MANIFEST, manifest)
    return target


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
    facts = {"stopped": result.stopped_reason or "all epochs done"}
    return Summary(metrics, facts, is_simulated=is_simulated, figures=(figure,))
