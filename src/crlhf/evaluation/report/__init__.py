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
from crlhf.evaluation.report.rounds import Point, RoundFacts, draw_rounds
from crlhf.evaluation.report.samples import choose_samples, samples_page

__all__ = [
    "Findings",
    "Point",
    "RoundFacts",
    "choose_samples",
    "draw_calibration",
    "draw_figures",
    "draw_ppo",
    "draw_reliabilities",
    "draw_rewards",
    "draw_rounds",
    "png",
    "render",
    "samples_page",
]
