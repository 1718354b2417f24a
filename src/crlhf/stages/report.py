"""Stage `report`: one self-contained page of the run, and the same in Markdown."""

from __future__ import annotations

import hashlib
from importlib import metadata
from typing import TYPE_CHECKING

from crlhf import tracking
from crlhf.schema import Summary
from crlhf.stages import summary_path
from crlhf.stages.scores import COMPARISONS, SCORES
from crlhf.store import TABLE_PATHS, atomic_write, read_json

if TYPE_CHECKING:
    from crlhf.evaluation.report import Findings
    from crlhf.stages.runner import Context

SECTIONS = ("seed", "report", "base_policy")
FOLDER = "reports"
_STAGES = ("problems", "honeypots", "validated", "reliabilities", "rewards", "ppo")
_PACKAGES = ("crlhf", "torch", "transformers", "trl", "peft", "dagster", "mlflow", "great-expectations", "pandas")


def run(context: Context) -> Summary:
    """Write reports/report.html, reports/report.md and the slope chart; the other figures are their stages' own."""
    from crlhf.evaluation.report import draw_figures, render

    store = context.store
    findings = _findings(context)
    tables = (store.read(name) for name in ("reliabilities", "scores", "ppo_steps"))
    figures = draw_figures(findings.pairs, *tables)
    html, markdown = render(findings, figures)
    for name, page in (("report.html", html), ("report.md", markdown)):
        with atomic_write(context.path(f"{FOLDER}/{name}")) as file:
            file.write(page.encode())
        context.run.log_artifact(context.path(f"{FOLDER}/{name}"))
    slopes = next(figure for figure in figures if figure.name == "slopes")
    return Summary(
        {"n_scores": len(findings.scores)},
        {"report": f"{FOLDER}/report.html"},
        is_simulated=findings.is_simulated,
        figures=(context.keep_figure(slopes.name, slopes.png),),
    )


def _findings(context: Context) -> Findings:
    from crlhf.evaluation.report import Findings

    stages = {name: read_json(context.path(summary_path(name))) for name in _STAGES}
    quarantine = context.store.read("quarantine")["rule"].value_counts().sort_index()
    return Findings(
        policy_name=context.params.base_policy.name,
        is_simulated=stages["ppo"]["is_simulated"],
        scores=read_json(context.path(SCORES)),
        comparisons=read_json(context.path(COMPARISONS)),
        stages=stages,
        quarantine=[(str(rule), int(count)) for rule, count in quarantine.items()],
        provenance=_provenance(context),
    )


def _provenance(context: Context) -> list[tuple[str, str]]:
    """Where the numbers come from: commit, pipeline state, MLflow runs, hashes of the tables, versions."""
    root = context.store.root
    rows = [(name, value) for name, value in tracking.git_tags(root).items()]
    rows.append(("pipeline state", tracking.pipeline_state(root, context.params)))
    rows += [(f"MLflow run of {name}", run_id) for name, run_id in tracking.run_ids(root, context.params).items()]
    for name, path in TABLE_PATHS.items():
        if (root / path).exists():
            rows.append((f"md5 of {name}", hashlib.md5((root / path).read_bytes(), usedforsecurity=False).hexdigest()))
    rows += [(f"version of {name}", metadata.version(name)) for name in _PACKAGES]
    return rows
