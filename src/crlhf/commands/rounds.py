"""Verbs on rounds of people."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.pass_obj
def rounds(root: Path) -> None:
    """Say how far each round is, and how many completions of an open one have their verdicts."""
    from crlhf.stages.results import describe_rounds

    for line in describe_rounds(root):
        click.echo(line)


@click.command("close")
@click.argument("round_name", metavar="ROUND")
@click.pass_obj
def close(root: Path, round_name: str) -> None:
    """Close ROUND with the verdicts that are there: it waits no longer, and later ones join the next round."""
    from crlhf.stages.collection import close_round

    click.echo(f"round {round_name} is closed: {close_round(root, round_name)}; `dvc repro` goes on")
