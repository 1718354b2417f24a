"""Verbs that show what a project holds."""

from __future__ import annotations

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
