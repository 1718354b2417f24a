"""The report of a run: figures and pages from tables. Pure: tables in, SVG, PNG, HTML and Markdown out."""

from crlhf.evaluation.report.figures import (
    draw_calibration,
    draw_figures,
    draw_ppo,
    draw_reliabilities,
    draw_rewards,
    png,
    save_slopes,
)
from crlhf.evaluation.report.pages import Findings, PaperFindings, render, render_paper
from crlhf.evaluation.report.paper_table import MEAN, Pair, difference_note
from crlhf.evaluation.report.rounds import Point, RoundFacts, draw_rounds
from crlhf.evaluation.report.samples import choose_samples, samples_page

__all__ = [
    "MEAN",
    "Findings",
    "Pair",
    "PaperFindings",
    "Point",
    "RoundFacts",
    "choose_samples",
    "difference_note",
    "draw_calibration",
    "draw_figures",
    "draw_ppo",
    "draw_reliabilities",
    "draw_rewards",
    "draw_rounds",
    "png",
    "render",
    "render_paper",
    "samples_page",
    "save_slopes",
]
