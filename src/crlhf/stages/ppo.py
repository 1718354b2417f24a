"""Stage `ppo`: the policy of the round before, tuned on the round's annotated completions."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from crlhf.errors import InputError
from crlhf.fetch import sha256_file
from crlhf.launch import is_main_process
from crlhf.schema import Summary
from crlhf.stages import summary_path
from crlhf.stages.digests import digest
from crlhf.stages.policies import MANIFEST, Policy, find_policy, policy_path
from crlhf.stages.same_programs import require_same_programs
from crlhf.stages.tuning import METHODS, Trained, tune
from crlhf.store import read_json, records, write_json

if TYPE_CHECKING:
    import pandas as pd

    from crlhf.stages.runner import Context

SECTIONS = ("seed", "tuning", "ppo", "completions")


def run(context: Context) -> Summary:
    """Write the folder `models/<round>` (weights, what the next round needs, manifest) and the table `ppo_steps`.

    Training goes on from the weights of the round before; the reference policy is always the base. It works in a
    folder of its own, with checkpoints; an interrupted run goes on there and ends with the same weights. What it wrote
    is copied to `models/<round>`, and registered in MLflow under the round's name.
    """
    from crlhf.evaluation.report import draw_ppo, png

    start = find_policy(context.store.root, context.previous)
    is_simulated = read_json(context.path(summary_path("rewards", context.round)))["is_simulated"]
    is_simulated = is_simulated or start.is_simulated
    if is_simulated:
        context.run.mark_simulated()
    rollouts, temperature = _rollouts(context)
    known = [context.params.tuning.model_dump(), context.params.ppo.model_dump(), records(rollouts)]
    work = context.work_folder("ppo", start.policy_id, start.base, *known)
    context.run.resume(work.name)
    trained = tune(context, start, rollouts, temperature, work)
    if not is_main_process():
        return Summary({}, {})
    folder = _keep(context, start, trained, is_simulated=is_simulated)
    table = steps_table(trained.history)
    context.store.write("ppo_steps", table)
    context.run.register_policy(folder, context.round or "", is_simulated=is_simulated)
    figures = (context.keep_figure("ppo", png(draw_ppo(table))),)
    return _summary(table, rollouts, trained, figures, METHODS[context.params.tuning.method], is_simulated=is_simulated)


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
    scores = context.store.read("scores")
    require_same_programs(context.store, completions, "scores", scores)
    joined = completions.merge(scores[["completion_id", "reward"]], on="completion_id", validate="one_to_one")
    columns = ["completion_id", "problem_id", "model_input", "prompt_token_ids", "token_ids", "logprobs", "reward"]
    rollouts = joined.loc[joined["token_ids"].map(len) > 0, columns].reset_index(drop=True)
    if rollouts.empty:
        raise InputError(f"{context.store.table_path('scores')}: no scored completion has tokens to learn from")
    return rollouts, float(completions["temperature"].iloc[0])


def _keep(context: Context, start: Policy, trained: Trained, *, is_simulated: bool) -> Path:
    """Copy what training wrote to the round's folder, which is returned, with a manifest."""
    assert context.round
    target = context.path(policy_path(context.round))
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    shutil.copytree(trained.weights, target / trained.weights.name)
    for path in trained.beside:
        shutil.copy2(path, target / path.name)
    files = {path.name: sha256_file(path) for path in sorted((target / trained.weights.name).glob("*.safetensors"))}
    is_whole = trained.weights.name == "policy"
    teacher = "a simulated crowd" if is_simulated else "a human crowd"
    method = METHODS[context.params.tuning.method]
    manifest = {
        "name": f"{start.base['name']}{', all weights' if is_whole else ' + LoRA'} tuned by {method} on {teacher}, "
        f"round {context.round}",
        "policy_id": f"{start.base['policy_id']}+{digest(files)[:12]}",
        "weights": trained.weights.name,
        "weights_sha256": files,
        "method": context.params.tuning.method,
        "round": context.round,
        "prev": start.policy_id,
        "base": start.base,
        "is_simulated": is_simulated,
    }
    write_json(target / MANIFEST, manifest)
    return target


def _summary(
    table: pd.DataFrame,
    rollouts: pd.DataFrame,
    trained: Trained,
    figures: tuple[str, ...],
    method: str,
    *,
    is_simulated: bool,
) -> Summary:
    last = table[table["step"] == table["step"].max()].set_index("name")["value"].dropna()
    metrics = {f"last/{name}": round(float(value), 9) for name, value in last.items()}
    metrics |= trained.metrics | {
        "n_rollouts": len(rollouts),
        "n_steps": int(table["step"].max()),
        "mean_reward": round(float(rollouts["reward"].mean()), 9),
    }
    return Summary(metrics, {"method": method, "stopped": trained.stopped}, is_simulated=is_simulated, figures=figures)
