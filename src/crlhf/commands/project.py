"""Verbs that show what a project, and the machine it runs on, holds."""

from __future__ import annotations

import warnings
from pathlib import Path

import click


@click.command()
def schema() -> None:
    """Print every table of the pipeline as Markdown: what a row is, columns, types, meanings."""
    from crlhf.schema import markdown
    from crlhf.store import TABLE_PATHS

    click.echo(markdown(TABLE_PATHS), nl=False)


@click.command()
@click.pass_obj
def where(root: Path) -> None:
    """Say where the results of the last run are, and how to look at them."""
    from crlhf.stages.results import describe

    for line in describe(root):
        click.echo(line)


@click.command()
@click.option("--require", metavar="LAYERS", help="Fail unless these hold, for example landlock+seccomp.")
def isolation(require: str | None) -> None:
    """Say what isolates the programs that are judged on this machine, and what was tried to find out."""
    from crlhf.evaluation.sandbox import describe_isolation
    from crlhf.evaluation.sandbox.probes import TRIED, outcome

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the missing layers are listed below
        found = describe_isolation(f"require:{require}" if require else "auto")
    click.echo(found.level)
    for layer, why in found.missing.items():
        click.echo(f"without {layer}: {why}")
    click.echo("\na program that tried to")
    for name, tried in TRIED.items():
        click.echo(f"  {tried:<34}{outcome(found.probed[name])}")
