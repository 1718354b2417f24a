"""Curves over rounds: what the policies write, how the crowd judges it, and how well the annotators are known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from crlhf.evaluation.report.figures import INK, LEVEL, Drawn, _panels, _save

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


class Point(NamedTuple):
    """One value with its interval."""

    value: float
    low: float
    high: float


class RoundFacts(NamedTuple):
    """What one round showed.

    Attributes:
        name: of the round.
        prev: the policy that wrote its completions.
        true_pass_rate: share of its completions that pass their tests, of a simulated crowd's truth; None with people.
        aligned_score: mean aligned score of its completions.
        n_annotators: annotators who gave verdicts.
        n_late: verdicts that arrived late for earlier rounds.
        reliabilities: schema RELIABILITIES of the round.
    """

    name: str
    prev: str
    true_pass_rate: Point | None
    aligned_score: Point
    n_annotators: int
    n_late: int
    reliabilities: pd.DataFrame


def draw_rounds(rounds: Sequence[RoundFacts], scores: Sequence[dict[str, Any]]) -> Drawn:
    """Four panels over rounds, intervals as whiskers: completions, benchmark scores, sensitivities, specificities.

    Args:
        rounds: the rounds that are over, in order.
        scores: records of metrics/scores.json.
    """
    figure, (first, second, *known) = _panels(1, 4, width=13.0, height=3.3)
    names = [one.name for one in rounds]
    _curve(first, names, [one.aligned_score for one in rounds], "mean aligned score", INK)
    passed = [one.true_pass_rate for one in rounds if one.true_pass_rate is not None]
    if len(passed) == len(rounds):
        _curve(first, names, passed, "true pass rate (simulated crowd's truth)", LEVEL)
    first.set(title="Completions of the round", ylim=(-0.02, 1.02))
    first.legend(frameon=False, fontsize=7)
    for number, key in enumerate(sorted({(r["benchmark"], r["k"]) for r in scores})):
        of_key = [r for r in scores if (r["benchmark"], r["k"]) == key]
        points = [Point(r["value"], r["low"], r["high"]) for r in of_key]
        _curve(second, [r["policy"] for r in of_key], points, f"{key[0]} pass@{key[1]}", f"C{number}")
    second.set(title="Scores of the policies", ylim=(-0.02, 1.02))
    if scores:
        second.legend(frameon=False, fontsize=7)
    for axes, name in zip(known, ("sensitivity", "specificity"), strict=True):
        _draw_known(axes, rounds, name)
    return _save("rounds", "Over rounds, with 95 % intervals: completions, scores, and each annotator", figure)


def _curve(axes: Axes, names: Sequence[str], points: Sequence[Point], label: str, color: str) -> None:
    xs = range(len(points))
    axes.vlines(xs, [p.low for p in points], [p.high for p in points], color=color, alpha=0.35, linewidth=4)
    axes.plot(xs, [p.value for p in points], marker="o", color=color, label=label, linewidth=1.6)
    axes.set(xticks=list(xs), xticklabels=list(names))


def _draw_known(axes: Axes, rounds: Sequence[RoundFacts], name: str) -> None:
    """One thin line an annotator, whiskers where there are few enough to be read."""
    ids = sorted({annotator for one in rounds for annotator in one.reliabilities["annotator_id"]})
    for annotator in ids:
        xs, points = [], []
        for x, one in enumerate(rounds):
            row = one.reliabilities[one.reliabilities["annotator_id"] == annotator]
            if len(row):
                xs.append(x)
                points.append(Point(*row[[name, f"{name}_low", f"{name}_high"]].iloc[0]))
        axes.vlines(xs, [p.low for p in points], [p.high for p in points], color=INK, alpha=min(0.3, 2 / len(ids)))
        axes.plot(xs, [p.value for p in points], marker="o", markersize=3, color=INK, alpha=0.55, linewidth=0.9)
    axes.set(title=f"Annotators: {name}", ylim=(0, 1), xticks=range(len(rounds)), xticklabels=[r.name for r in rounds])
