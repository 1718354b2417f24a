"""Stage `report`: one self-contained page of the run, and the same in Markdown."""

from __future__ import annotations

import hashlib
from importlib import metadata
from typing import TYPE_CHECKING

from crlhf import tracking
from crlhf.schema import Summary
from crlhf.stages import summary_path
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

    store = context.store
    findings = _findings(context)
    last = _last(context)
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
        {"report": f"{FOLDER}/report.html"},
        is_simulated=findings.is_simulated,
        figures=own,
    )


def _last(context: Context) -> str:
    """The last round that is over: what the report shows in full."""
    return _rounds(context)[-1]


def _rounds(context: Context) -> list[str]:
    """The rounds that are over: all, unless one still waits for people."""
    rounds = list(context.params.rounds)
    return [name for name in rounds if context.store.has("ppo_steps", name)] or rounds[:1]


def _findings(context: Context) -> Findings:
    import pandas as pd

    from crlhf.evaluation.report import Findings
    from crlhf.rewards import value_of_verdicts

    rounds, last = _rounds(context), _last(context)
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
        scores=read_json(context.path(SCORES)),
        comparisons=read_json(context.path(COMPARISONS)),
        stages=stages,
        quarantine=[(str(rule), int(count)) for rule, count in quarantine.items()],
        provenance=_provenance(context),
        suspects=read_json(model_path(context.store, last))["suspects"],
        next_verdicts=json_records(wanted),
        rounds=[round_facts(context, name) for name in rounds],
    )


def _provenance(context: Context) -> list[tuple[str, str]]:
    """Where the numbers come from: commit, pipeline state, MLflow runs, hashes of the tables, versions."""
    root = context.store.root
    rows = [(name, value) for name, value in tracking.git_tags(root).items()]
    rows.append(("pipeline state", context.run.state))
    run_ids = tracking.run_ids(root, context.params, context.run.state)
    run_ids |= {"report": context.run.run_id} if context.run.run_id else {}
    rows += [(f"MLflow run of {name}", run_id) for name, run_id in run_ids.items()]
    for name in TABLE_PATHS:
        path = context.store.table_path(name, _last(context))
        if path.exists():
            rows.append((f"md5 of {name}", hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()))
    rows += [(f"version of {name}", metadata.version(name)) for name in _PACKAGES]
    return rows
