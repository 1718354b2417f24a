"""Stage `report`: one self-contained page of the run, and the same in Markdown."""

from __future__ import annotations

import hashlib
from importlib import metadata
from typing import TYPE_CHECKING, Any

from crlhf import tracking
from crlhf.schema import Summary
from crlhf.stages import BASE, summary_path
from crlhf.stages.finished_rounds import FinishedRounds, finished_rounds
from crlhf.stages.reliabilities import model_path
from crlhf.stages.round_facts import round_facts
from crlhf.stages.scores import COMPARISONS, SCORES
from crlhf.store import TABLE_PATHS, atomic_write, json_records, read_json

if TYPE_CHECKING:
    from crlhf.evaluation.report import Findings
    from crlhf.stages.runner import Context

SECTIONS = ("seed", "rounds", "report", "base_policy")
FOLDER = "reports"
_N_WANTED = 10  # completions listed of those that another annotator helps most
_OWN_FIGURES = ("slopes", "rounds")
_OF_A_ROUND = ("honeypots", "validated", "reliabilities", "rewards", "ppo")
_PACKAGES = ("crlhf", "torch", "transformers", "trl", "peft", "dagster", "mlflow", "great-expectations", "pandas")


def run(context: Context) -> Summary:
    """Write reports/report.html, reports/report.md and the charts over rounds; the other figures are their stages'."""
    import pandas as pd

    from crlhf.evaluation.report import draw_figures, draw_rounds, render

    store, finished = context.store, finished_rounds(context, "report")
    findings = _findings(context, finished)
    last = findings.round
    reliabilities, scores, steps = (store.read(name, last) for name in ("reliabilities", "scores", "ppo_steps"))
    bins = pd.DataFrame(read_json(model_path(store, last))["calibration_bins"], dtype=float)
    drawn = draw_figures(findings.last_pairs, reliabilities, scores, steps, bins)
    figures = [*drawn, draw_rounds(findings.rounds, findings.scores)]
    html, markdown = render(findings, figures)
    for name, page in (("report.html", html), ("report.md", markdown)):
        with atomic_write(context.path(f"{FOLDER}/{name}")) as file:
            file.write(page.encode())
        context.run.log_artifact(context.path(f"{FOLDER}/{name}"))
    own = tuple(context.keep_figure(figure.name, figure.png) for figure in figures if figure.name in _OWN_FIGURES)
    return Summary(
        {"n_scores": len(findings.scores)},
        {"report": f"{FOLDER}/report.html"} | finished.facts,
        is_simulated=findings.is_simulated,
        figures=own,
    )


def _findings(context: Context, finished: FinishedRounds) -> Findings:
    """What the report tells of the rounds that are over; the last of them is shown in full."""
    import pandas as pd

    from crlhf.evaluation.report import Findings
    from crlhf.rewards import value_of_verdicts

    rounds, last = finished.names, finished.names[-1]
    posteriors, reliabilities = (context.store.read(name, last) for name in ("line_posteriors", "reliabilities"))
    wanted = value_of_verdicts(posteriors, reliabilities).head(_N_WANTED)
    stages = {"problems": read_json(context.path(summary_path("problems")))}
    stages |= {stage: read_json(context.path(summary_path(stage, last))) for stage in _OF_A_ROUND}
    quarantine = pd.concat([context.store.read("quarantine", name)["rule"] for name in rounds])
    quarantine = quarantine.value_counts().sort_index()
    return Findings(
        policy_name=context.params.base_policy.name,
        round=last,
        is_simulated=stages["ppo"]["is_simulated"],
        scores=_of_policies(read_json(context.path(SCORES)), rounds),
        comparisons=_of_policies(read_json(context.path(COMPARISONS)), rounds),
        stages=stages,
        quarantine=[(str(rule), int(count)) for rule, count in quarantine.items()],
        provenance=_provenance(context, last),
        suspects=read_json(model_path(context.store, last))["suspects"],
        next_verdicts=json_records(wanted),
        rounds=[round_facts(context, name) for name in rounds],
        left_out=tuple(finished.left_out.items()),
    )


def _of_policies(records: list[dict[str, Any]], rounds: list[str]) -> list[dict[str, Any]]:
    """The records of the base policy and of these rounds' policies."""
    return [one for one in records if one["policy"] in (BASE, *rounds)]


def _provenance(context: Context, last: str) -> list[tuple[str, str]]:
    """Where the numbers come from: commit, pipeline state, MLflow runs, hashes of the tables, versions."""
    root = context.store.root
    rows = [(name, value) for name, value in tracking.git_tags(root).items()]
    rows.append(("pipeline state", context.run.state))
    run_ids = tracking.run_ids(root, context.params, context.run.state)
    run_ids |= {"report": context.run.run_id} if context.run.run_id else {}
    rows += [(f"MLflow run of {name}", run_id) for name, run_id in run_ids.items()]
    for name in TABLE_PATHS:
        path = context.store.table_path(name, last)
        if path.exists():
            rows.append((f"md5 of {name}", hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()))
    rows += [(f"version of {name}", metadata.version(name)) for name in _PACKAGES]
    return rows
