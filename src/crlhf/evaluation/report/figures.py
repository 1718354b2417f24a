"""Figures of the report, drawn with matplotlib into bytes that depend on the data only.

Each `draw_*` function draws on a figure of its own; `draw_figures` returns all as SVG (for the page) and PNG (for
Markdown, Dagster and MLflow). A gain is green and rises, a loss is red and falls, as in Figure 5 of arXiv:2503.15129.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from crlhf.evaluation.report.paper_table import Pair

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GAIN, LOSS, LEVEL, INK = "#2e7d4f", "#c0392b", "#7a7f87", "#3d6fb4"
CURVES = (
    ("score", "Mean reward of the batch"),
    ("kl_k3", "KL to the base policy (nats a completion)"),
    ("policy_loss", "Policy loss"),
    ("value_loss", "Value loss"),
    ("clip_fraction", "Clipped ratios"),
    ("entropy", "Entropy (nats a token)"),
)
BASELINE_CURVES = (
    ("loss", "Loss"),
    ("reward", "Mean reward of the batch"),
    ("rewards/margins", "Margin of the implicit rewards"),
    ("rewards/accuracies", "Pairs in the right order"),
    ("kl", "KL to the base policy"),
    ("entropy", "Entropy (nats a token)"),
    ("mean_token_accuracy", "Tokens predicted"),
    ("grad_norm", "Norm of the gradient"),
    ("learning_rate", "Learning rate"),
)


class Drawn(NamedTuple):
    """One figure: its name, a caption, and its bytes in both formats."""

    name: str
    caption: str
    svg: str
    png: bytes


def draw_figures(
    pairs: Sequence[Pair],
    reliabilities: pd.DataFrame,
    rewards: pd.DataFrame,
    ppo_steps: pd.DataFrame,
    calibration_bins: pd.DataFrame,
) -> list[Drawn]:
    """Draw the report's five figures.

    Args:
        pairs: base and tuned, a record for each benchmark and k; may be empty.
        reliabilities: schema RELIABILITIES.
        rewards: schema SCORES.
        ppo_steps: schema PPO_STEPS.
        calibration_bins: see `draw_calibration`.
    """
    return [
        save_slopes(pairs),
        _save(
            "reliabilities",
            "Annotators' sensitivity and specificity with 95 % intervals",
            draw_reliabilities(reliabilities),
        ),
        _save(
            "calibration",
            "Calibration on held-out honeypots, each line judged by its own verdicts, with 95 % intervals: on the "
            "diagonal, probabilities are what they say",
            draw_calibration(calibration_bins),
        ),
        _save("rewards", "Aligned scores and rewards of the annotated completions", draw_rewards(rewards)),
        _save("ppo", "PPO, step by step", draw_ppo(ppo_steps)),
    ]


def draw_slopes(pairs: Sequence[Pair]) -> Figure:
    """A line from base to tuned for each model, a panel for each benchmark and k (arXiv:2503.15129, Figure 5).

    Intervals are drawn as whiskers for up to four models; more would hide each other, and the table has them.
    """
    keys = sorted({(pair.benchmark, pair.k) for pair in pairs})
    models = list(dict.fromkeys(pair.model for pair in pairs))
    is_one = len(models) < 2
    n_columns = max(1, len(keys) if is_one else min(3, len(keys)))
    n_rows = -(-max(1, len(keys)) // n_columns)
    height = 3.6 if is_one else max(3.6, 0.2 * len(models) + 2.4)
    width = (3.2 if is_one else 4.6) * n_columns
    figure, panels = _panels(n_rows, n_columns, width=width, height=height * n_rows)
    for axes in panels[len(keys) :]:
        axes.set_visible(not keys)
    for axes, key in zip(panels, keys, strict=False):
        here = [pair for pair in pairs if (pair.benchmark, pair.k) == key]
        for pair in here:
            _slope(axes, pair, has_whiskers=len(models) <= 4)
        _label_ends(axes, here, with_names=not is_one)
        axes.set(title=f"{key[0]} pass@{key[1]}", xticks=[0, 1], xticklabels=["base", "tuned"])
        axes.set(xlim=(-0.5, 1.5 if is_one else 2.6), ylim=_limits(here, is_one=is_one), ylabel="% of problems")
    if not keys:
        panels[0].text(0.5, 0.5, "no benchmark was scored", ha="center")
    return figure


def save_slopes(pairs: Sequence[Pair]) -> Drawn:
    """The slope chart as SVG and PNG."""
    caption = "Base to tuned, with 95 % intervals over problems; green rises, red falls"
    return _save("slopes", caption, draw_slopes(pairs))


def _slope(axes: Axes, pair: Pair, *, has_whiskers: bool) -> None:
    values = [100 * pair.base.value, 100 * pair.tuned.value]
    color = _color(pair)
    for x, end in enumerate((pair.base, pair.tuned)):
        if has_whiskers:
            ends = [100 * end.low, 100 * end.high]
            axes.plot([x, x], ends, color=color, alpha=0.35, linewidth=5, solid_capstyle="butt")
    axes.plot([0, 1], values, color=color, marker="o", linewidth=2.2 if has_whiskers else 1.4, markersize=4)


def _color(pair: Pair) -> str:
    return GAIN if pair.tuned.value > pair.base.value else LOSS if pair.tuned.value < pair.base.value else LEVEL


def _limits(pairs: Sequence[Pair], *, is_one: bool) -> tuple[float, float]:
    """The whole scale for one model; for many, what they span, or their slopes could not be told apart."""
    if is_one:
        return -2.0, 102.0
    values = [100 * side.value for pair in pairs for side in (pair.base, pair.tuned)]
    margin = max(2.0, 0.1 * (max(values) - min(values)))
    return min(values) - margin, max(values) + margin


def _label_ends(axes: Axes, pairs: Sequence[Pair], *, with_names: bool) -> None:
    """The values at both ends; labels that would cover each other are moved apart."""
    low, high = _limits(pairs, is_one=not with_names)
    for x, side in enumerate(("base", "tuned")):
        ordered = sorted(pairs, key=lambda pair: getattr(pair, side).value)
        places = _apart([100 * getattr(pair, side).value for pair in ordered], 0.045 * (high - low))
        for pair, place in zip(ordered, places, strict=True):
            name = f" {pair.model}" if with_names and x else ""
            axes.annotate(
                f"{100 * getattr(pair, side).value:.1f}{name}",
                (x, place),
                (-9 if x == 0 else 9, 0),
                textcoords="offset points",
                ha="right" if x == 0 else "left",
                va="center",
                fontsize=7 if with_names else 10,
                color=_color(pair) if with_names and x else "black",
            )


def _apart(places: Sequence[float], gap: float) -> list[float]:
    """Ascending places moved as little as can be (least squares) until neighbours are `gap` apart.

    That is isotonic regression of `places[i] - i * gap`: neighbours in the wrong order are pooled to their mean.
    """
    pools: list[list[float]] = []  # of each pool its sum and its size
    for number, place in enumerate(places):
        pools.append([place - number * gap, 1])
        while len(pools) > 1 and pools[-2][0] / pools[-2][1] > pools[-1][0] / pools[-1][1]:
            total, size = pools.pop()
            pools[-1][0] += total
            pools[-1][1] += size
    moved = [total / size for total, size in pools for _ in range(int(size))]
    return [place + number * gap for number, place in enumerate(moved)]


def draw_reliabilities(reliabilities: pd.DataFrame) -> Figure:
    """Sensitivity and specificity of each annotator as points with interval bars, the most informative at the top."""
    table = reliabilities.assign(informedness=reliabilities["sensitivity"] + reliabilities["specificity"])
    table = table.sort_values(["informedness", "annotator_id"]).tail(60)
    figure, panels = _panels(1, 2, width=8.4, height=max(2.4, 0.23 * len(table) + 1.1), share_y=True)
    for axes, name in zip(panels, ("sensitivity", "specificity"), strict=True):
        rows = range(len(table))
        axes.hlines(rows, table[f"{name}_low"], table[f"{name}_high"], color=INK, alpha=0.35, linewidth=4)
        axes.plot(table[name], rows, "o", color=INK, markersize=4)
        axes.axvline(0.5, color=LEVEL, linewidth=0.8, linestyle=":")
        axes.set(title=name, xlim=(0, 1), yticks=list(rows), yticklabels=table["annotator_id"])
        axes.tick_params(axis="y", labelsize=7)
    return figure


def draw_calibration(bins: pd.DataFrame) -> Figure:
    """The reliability diagram of held-out honeypot lines: share wrong against P(wrong), with the counts below.

    Args:
        bins: columns low, high, n, mean_probability, share_true, share_low, share_high; may be empty.
    """
    figure, (axes, counts) = _panels(2, 1, width=4.6, height=4.6, ratios=(3, 1))
    axes.plot([0, 1], [0, 1], color=LEVEL, linewidth=0.8, linestyle=":")
    if len(bins):
        axes.vlines(bins["mean_probability"], bins["share_low"], bins["share_high"], color=INK, alpha=0.35, linewidth=4)
        axes.plot(bins["mean_probability"], bins["share_true"], "o", color=INK, markersize=4)
        counts.bar(bins["low"], bins["n"], bins["high"] - bins["low"], align="edge", color=INK, alpha=0.45)
        counts.set_yscale("log")
    else:
        axes.text(0.5, 0.5, "no two honeypots to hold out", ha="center")
    axes.set(xlim=(0, 1), ylim=(0, 1), ylabel="share that is wrong")
    counts.set(xlim=(0, 1), xlabel="P(line wrong), honeypots held out", ylabel="lines")
    return figure


def draw_rewards(rewards: pd.DataFrame) -> Figure:
    """Histograms of the aligned score and of the reward."""
    import numpy as np

    figure, (axes,) = _panels(1, 1, width=6.4, height=2.9)
    low = min(0.0, float(rewards["reward"].min())) if len(rewards) else 0.0
    bins = np.linspace(low, 1, 31).tolist()
    axes.hist(rewards["aligned_score"], bins=bins, color=INK, alpha=0.45, label="aligned score")
    axes.hist(rewards["reward"], bins=bins, histtype="step", color=GAIN, linewidth=1.6, label="reward")
    axes.set(xlabel="score", ylabel="completions")
    axes.legend(frameon=False)
    return figure


def draw_ppo(ppo_steps: pd.DataFrame) -> Figure:
    """Six curves over optimiser steps: PPO's, or of a baseline the first that it has of `BASELINE_CURVES`."""
    present = set(ppo_steps["name"])
    curves = CURVES if CURVES[0][0] in present else [curve for curve in BASELINE_CURVES if curve[0] in present][:6]
    figure, panels = _panels(2, 3, width=9.6, height=4.6)
    for axes, (name, title) in zip(panels, curves, strict=False):
        curve = ppo_steps[ppo_steps["name"] == name].sort_values("step")
        axes.plot(curve["step"], curve["value"], color=INK, marker="o", markersize=3, linewidth=1.4)
        axes.set_title(title, fontsize=9)
        axes.margins(y=0.2)
    return figure


def _panels(
    n_rows: int,
    n_columns: int,
    *,
    width: float,
    height: float,
    share_y: bool = False,
    ratios: Sequence[float] | None = None,
) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    panels = figure.subplots(n_rows, n_columns, squeeze=False, sharey=share_y, height_ratios=ratios).ravel().tolist()
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.18)
        axes.set_axisbelow(True)
    return figure, panels


def png(figure: Figure) -> bytes:
    """The figure as PNG, without dates, so that equal data give equal bytes."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110, metadata={"Software": None})
    return content.getvalue()


def _save(name: str, caption: str, figure: Figure) -> Drawn:
    """Both formats, without dates or random ids, so that equal data give equal bytes."""
    import matplotlib as mpl

    svg = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name, "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(svg, format="svg", metadata={"Date": None})
    text = svg.getvalue()
    return Drawn(name, caption, text[text.index("<svg") :], png(figure))
