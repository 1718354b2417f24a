"""Verbs on the statistics of a crowd."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click


@click.command()
@click.option("--labels", required=True, type=click.Path(path_type=Path), help="CSV: task, worker, label (0 or 1).")
@click.option("--gold", type=click.Path(path_type=Path), help="CSV: task, label; the truth of some tasks.")
@click.option("--method", default="dawid_skene", show_default=True, help="An estimator; an unknown one lists them all.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for posteriors and annotators.")
@click.option(
    "--tasks",
    type=click.Choice(["auto", "independent"]),
    default="auto",
    show_default=True,
    help="auto: tasks that the same workers judged together tell of each other, where gold proves that it pays.",
)
def aggregate(labels: Path, gold: Path | None, method: str, out: Path, tasks: Literal["auto", "independent"]) -> None:
    """Aggregate any binary crowd labels: posteriors.csv (task, probability) and annotators.csv."""
    from crlhf.stages.crowd_labels import aggregate_files

    for line in aggregate_files(labels, gold, method, out, tasks=tasks):
        click.echo(line)


@click.command("compare-estimators")
@click.pass_obj
def compare_estimators(root: Path) -> None:
    """Compare all reliability estimators on the project's annotations, judged on held-out honeypots."""
    from crlhf.stages.crowd_labels import compare_on_project

    for line in compare_on_project(root):
        click.echo(line)
