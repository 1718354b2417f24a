"""The report of a run: figures and pages from tables. Pure: tables in, SVG, PNG, HTML and Markdown out."""

from crlhf.evaluation.report.figures import (
    draw_calibration,
    draw_figures,
    draw_ppo,
    draw_reliabilities,
    draw_rewards,
    png,
)
from crlhf.evaluation.report.pages import Findings, render

__all__ = [
    "Findings",
    "draw_calibration",
    "draw_figures",
    "draw_ppo",
    "draw_reliabilities",
    "draw_rewards",
    "png",
    "render",
]
