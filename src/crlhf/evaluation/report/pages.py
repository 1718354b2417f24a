"""The report's two pages, HTML in one file and Markdown beside its figures, from the same findings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from crlhf.evaluation.report.figures import Drawn
from crlhf.evaluation.report.rounds import RoundFacts

RATES = ("exact", "precision", "recall", "noise")
"""Rates of the simulated truth's label noise, as the `honeypots` stage names them."""


class Findings(NamedTuple):
    """All that the report tells.

    Attributes:
        policy_name: the base policy's full name.
        round: the last round, whose tables and figures are shown.
        is_simulated: True when the crowd was simulated; both pages then begin with that.
        scores: records of metrics/scores.json.
        comparisons: records of comparisons.json: each round's policy against the base.
        stages: summaries of the stages, by stage name.
        quarantine: (rule, number of rows).
        provenance: (name, value): commit, hashes, run ids.
        rounds: what each round showed, in order.
        suspects: annotators to look at: annotator_id, kind, evidence, strength.
        next_verdicts: where another annotator helps most: completion_id, n_annotators, score_sd, score_sd_next, gain,
            n_more (None: more than were considered).
    """

    policy_name: str
    round: str
    is_simulated: bool
    scores: Sequence[dict[str, Any]]
    comparisons: Sequence[dict[str, Any]]
    stages: dict[str, dict[str, Any]]
    quarantine: Sequence[tuple[str, int]]
    provenance: Sequence[tuple[str, str]]
    rounds: Sequence[RoundFacts] = ()
    suspects: Sequence[dict[str, Any]] = ()
    next_verdicts: Sequence[dict[str, Any]] = ()


def render(findings: Findings, figures: Sequence[Drawn]) -> tuple[str, str]:
    """The HTML page, with everything inside it, and the Markdown page, which refers to `figures/<round>/<name>.png`."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    values = {
        **findings._asdict(),
        "rows": _score_rows(findings),
        "figures": {figure.name: figure for figure in figures},
        "checks": [(name, check) for name, stage in findings.stages.items() for check in stage["checks"]],
        "label_noise": _label_noise(findings.stages.get("honeypots")),
        "ppo_stopped": findings.stages.get("ppo", {}).get("facts", {}).get("stopped", ""),
        "crowd": _crowd(findings.stages.get("reliabilities")),
        "simulated": _by_prefix(findings.stages.get("rewards"), "simulated/"),
    }
    loader = PackageLoader("crlhf.evaluation.report", "templates")
    pages = []
    for name, autoescape in (("report.html.jinja", True), ("report.md.jinja", False)):
        environment = Environment(
            loader=loader, autoescape=autoescape, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        environment.filters |= {"percent": percent, "points": points, "cell": markdown_cell}
        pages.append(environment.get_template(name).render(values))
    return pages[0], pages[1]


def percent(value: float) -> str:
    """A fraction as percent with one decimal."""
    return f"{100 * value:.1f}"


def points(value: float) -> str:
    """A difference of fractions in percentage points, signed."""
    return f"{100 * value:+.1f}"


def markdown_cell(text: object) -> str:
    """Text that cannot break out of a cell of a Markdown table."""
    return " ".join(str(text).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").split())


def _score_rows(findings: Findings) -> list[dict[str, Any]]:
    """One row a benchmark, k and round: base, tuned, and their comparison."""
    found = {(r["benchmark"], r["k"], r["policy"]): r for r in findings.scores}
    return [
        {
            "base": found[c["benchmark"], c["k"], "base"],
            "tuned": found[c["benchmark"], c["k"], c["policy"]],
            "comparison": c,
            "covers_zero": c["low"] <= 0 <= c["high"],
        }
        for c in findings.comparisons
    ]


CROWD_MEASURES = (
    ("krippendorff_alpha", "Krippendorff's alpha"),
    ("pairwise_agreement", "pairs of verdicts that agree"),
    ("held_out/accuracy", "held-out honeypot lines judged right"),
    ("held_out/log_loss", "log-loss"),
    ("held_out/brier", "Brier score"),
    ("held_out/ece", "expected calibration error"),
)
"""How the `reliabilities` stage names what it measured of the crowd, and how the report does."""


def _crowd(stage: dict[str, Any] | None) -> list[tuple[str, float, float, float]]:
    """(what, value, low, high) of agreement and calibration, as far as they could be measured."""
    metrics = stage["metrics"] if stage else {}
    return [
        (text, metrics[name], metrics[f"{name}_low"], metrics[f"{name}_high"])
        for name, text in CROWD_MEASURES
        if f"{name}_low" in metrics
    ]


def _label_noise(stage: dict[str, Any] | None) -> list[dict[str, Any]]:
    """One row for each way the simulated truth was measured: its name, and (value, low, high) of each rate."""
    found: dict[str, dict[str, Any]] = {}
    for name, value in _by_prefix(stage, "label_noise/"):
        variant, _, rate = name.partition("/")
        if rate:
            found.setdefault(variant, {})[rate] = value
    return [
        {"variant": variant.replace("_", " ")}
        | {rate: tuple(rates[rate + end] for end in ("", "_low", "_high")) for rate in RATES if rate in rates}
        for variant, rates in found.items()
    ]


def _by_prefix(stage: dict[str, Any] | None, prefix: str) -> list[tuple[str, float]]:
    metrics = stage["metrics"] if stage else {}
    return [(name.removeprefix(prefix), value) for name, value in metrics.items() if name.startswith(prefix)]
