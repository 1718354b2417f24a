"""Verbs on raw annotations."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--quarantine", type=click.Path(path_type=Path), help="Write the bad rows here, as Parquet.")
@click.pass_obj
def validate(root: Path, files: tuple[Path, ...], quarantine: Path | None) -> None:
    """Check raw annotation FILES against the items that were shown; exit code 3 if any row is bad."""
    from crlhf.stages.validated import check_files

    lines, is_clean = check_files(root, files, quarantine)
    for line in lines:
        click.echo(line)
    sys.exit(0 if is_clean else 3)
