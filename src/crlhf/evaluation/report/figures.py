"""Figures of the report, drawn with matplotlib into bytes that depend on the data only.

Each `draw_*` function draws on a figure of its own; `draw_figures` returns all as SVG (for the page) and PNG (for
Markdown, Dagster and MLflow). A gain is green and rises, a loss is red and falls, as in Figure 5 of arXiv:2503.15129.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

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
    scores: Sequence[dict[str, Any]],
    reliabilities: pd.DataFrame,
    rewards: pd.DataFrame,
    ppo_steps: pd.DataFrame,
    calibration_bins: pd.DataFrame,
) -> list[Drawn]:
    """Draw the report's five figures.

    Args:
        scores: records of metrics/scores.json; may be empty.
        reliabilities: schema RELIABILITIES.
        rewards: schema SCORES.
        ppo_steps: schema PPO_STEPS.
        calibration_bins: see `draw_calibration`.
    """
    return [
        _save(
            "slopes",
            "Base to the last round, with 95 % intervals over problems; green rises, red falls",
            draw_slopes(scores),
        ),
        _save(
            "reliabilities",
            "Annotators' sensitivity and specificity with 95 % intervals",
            draw_reliabilities(reliabilities),
        ),
        _save(
            "calibration",
            "Calibration on held-out honeypots, with 95 % intervals: on the diagonal, probabilities are what they say",
            draw_calibration(calibration_bins),
        ),
        _save("rewards", "Aligned scores and rewards of the annotated completions", draw_rewards(rewards)),
        _save("ppo", "PPO, step by step", draw_ppo(ppo_steps)),
    ]


def draw_slopes(scores: Sequence[dict[str, Any]]) -> Figure:
    """A line from base to the last policy for each benchmark and k, intervals as whiskers (Figure 5 of the paper)."""
    keys = sorted({(record["benchmark"], record["k"]) for record in scores})
    figure, panels = _panels(1, max(1, len(keys)), width=3.2 * max(1, len(keys)), height=3.6)
    for axes, key in zip(panels, keys, strict=False):
        base, *_, last = (r for r in scores if (r["benchmark"], r["k"]) == key)
        _slope(axes, base, last, f"{key[0]} pass@{key[1]}")
    if not keys:
        panels[0].text(0.5, 0.5, "no benchmark was scored", ha="center")
    return figure


def _slope(axes: Axes, base: dict[str, Any], tuned: dict[str, Any], title: str) -> None:
    values = [100 * base["value"], 100 * tuned["value"]]
    color = GAIN if values[1] > values[0] else LOSS if values[1] < values[0] else LEVEL
    for x, record in enumerate((base, tuned)):
        axes.plot(
            [x, x],
            [100 * record["low"], 100 * record["high"]],
            color=color,
            alpha=0.35,
            linewidth=5,
            solid_capstyle="butt",
        )
    axes.plot([0, 1], values, color=color, marker="o", linewidth=2.2)
    for x, value in enumerate(values):
        axes.annotate(
            f"{value:.1f}",
            (x, value),
            (-9 if x == 0 else 9, 0),
            textcoords="offset points",
            ha="right" if x == 0 else "left",
            va="center",
        )
    axes.set(
        title=title, xticks=[0, 1], xticklabels=[base["policy"], tuned["policy"]], xlim=(-0.5, 1.5), ylim=(-2, 102)
    )
    axes.set_ylabel("% of problems")


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
