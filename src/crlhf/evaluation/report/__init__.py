"""The report of a run: figures and pages from tables. Pure: tables in, SVG, PNG, HTML and Markdown out."""

from crlhf.evaluation.report.figures import draw_figures
from crlhf.evaluation.report.pages import Findings, render

__all__ = ["Findings", "draw_figures", "render"]
