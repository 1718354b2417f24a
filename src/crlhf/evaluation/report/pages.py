"""The report's two pages, HTML in one file and Markdown beside its figures, from the same findings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from crlhf.evaluation.outcomes import OUTCOMES
from crlhf.evaluation.report.figures import Drawn
from crlhf.evaluation.report.paper_table import Pair, grids, own_pairs, power_note, settings_note
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
        left_out: (round, why) of the rounds that nothing is told of.
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
    left_out: Sequence[tuple[str, str]] = ()

    @property
    def pairs(self) -> list[Pair]:
        """The run's own rows of the paper's table."""
        return own_pairs(self.policy_name, self.scores, self.comparisons)

    @property
    def last_pairs(self) -> list[Pair]:
        """Those of the last round alone: what the slope chart shows."""
        last = [one for one in self.comparisons if one["policy"] == self.comparisons[-1]["policy"]]
        return own_pairs(self.policy_name, self.scores, last)


class PaperFindings(NamedTuple):
    """What the page of the paper's table tells.

    Attributes:
        pairs: a cell of the table each.
        is_simulated: True when a simulated crowd taught a tuned model.
        sources: (model, side, file, policy, protocol hash) of each result file.
    """

    pairs: Sequence[Pair]
    is_simulated: bool
    sources: Sequence[tuple[str, ...]]


def render(findings: Findings, figures: Sequence[Drawn]) -> tuple[str, str]:
    """The HTML page, with everything inside it, and the Markdown page, which refers to `figures/<round>/<name>.png`."""
    values = {
        **findings._asdict(),
        **_paper_values(findings.pairs),
        "outcome_names": list(OUTCOMES.values()),
        "outcomes": _outcome_rows(findings.scores),
        "figures": {figure.name: figure for figure in figures},
        "checks": [(name, check) for name, stage in findings.stages.items() for check in stage["checks"]],
        "label_noise": _label_noise(findings.stages.get("honeypots")),
        "ppo_stopped": findings.stages.get("ppo", {}).get("facts", {}).get("stopped", ""),
        "crowd": _crowd(findings.stages.get("reliabilities")),
        "simulated": _by_prefix(findings.stages.get("rewards"), "simulated/"),
    }
    return _pages("report", values)


def render_paper(findings: PaperFindings, slopes: Drawn) -> tuple[str, str]:
    """The page of the paper's table, in HTML with its figure inside and in Markdown, which refers to `slopes.png`."""
    return _pages("paper_page", {**findings._asdict(), **_paper_values(findings.pairs), "slopes": slopes})


def _paper_values(pairs: Sequence[Pair]) -> dict[str, Any]:
    return {"grids": grids(pairs), "settings": settings_note(pairs), "power": power_note(pairs)}


def _pages(name: str, values: dict[str, Any]) -> tuple[str, str]:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("crlhf.evaluation.report", "templates")
    pages = []
    for ending, autoescape in (("html", True), ("md", False)):
        environment = Environment(
            loader=loader, autoescape=autoescape, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        environment.filters |= {"percent": percent, "points": points, "cell": markdown_cell}
        pages.append(environment.get_template(f"{name}.{ending}.jinja").render(values))
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


def _outcome_rows(scores: Sequence[dict[str, Any]]) -> list[list[object]]:
    """Benchmark, policy and the count of each outcome; once for all k."""
    found = {(r["benchmark"], r["policy"]): r["outcomes"] for r in scores if "outcomes" in r}
    return [[*names, *(counts[name] for name in OUTCOMES)] for names, counts in found.items()]


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
