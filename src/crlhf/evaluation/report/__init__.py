"""The report of a run: figures and pages from tables. Pure: tables in, SVG, PNG, HTML and Markdown out."""

from crlhf.evaluation.report.figures import draw_figures, draw_ppo, draw_reliabilities, draw_rewards, png, save_slopes
from crlhf.evaluation.report.pages import Findings, PaperFindings, render, render_paper
from crlhf.evaluation.report.paper_table import MEAN, Pair, difference_note

__all__ = [
    "MEAN",
    "Findings",
    "Pair",
    "PaperFindings",
    "difference_note",
    "draw_figures",
    "draw_ppo",
    "draw_reliabilities",
    "draw_rewards",
    "png",
    "render",
    "render_paper",
    "save_slopes",
]
