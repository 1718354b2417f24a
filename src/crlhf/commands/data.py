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


@click.command("import")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--format", "format_", default="auto", show_default=True, help="A format; an unknown one lists them all.")
@click.option(
    "--quarantine", type=click.Path(path_type=Path), help="Write the bad rows here [default: data/quarantine]."
)
@click.option("--gold", type=click.Path(path_type=Path), help="Write the tool's honeypot keys here, as task,label.")
@click.option("--keep-annotator-ids", is_flag=True, help="The annotators' ids are pseudonyms already.")
@click.option("--accept-new-key", is_flag=True, help="Go on although earlier imports used another key for pseudonyms.")
@click.option("--dry-run", is_flag=True, help="Say what would happen, and write nothing.")
@click.pass_obj
def import_(
    root: Path,
    files: tuple[Path, ...],
    format_: str,
    quarantine: Path | None,
    gold: Path | None,
    keep_annotator_ids: bool,
    accept_new_key: bool,
    dry_run: bool,
) -> None:
    """Import annotation FILES of other tools as new batches; exit code 3 if any row is bad."""
    from crlhf.stages.imports import Options, import_files

    options = Options(format_, quarantine, gold, keep_annotator_ids, accept_new_key, dry_run)
    lines, is_clean = import_files(root, files, options)
    for line in lines:
        click.echo(line)
    sys.exit(0 if is_clean else 3)


@click.command()
@click.option("--format", "format_", required=True, help="A format; an unknown one lists them all.")
@click.option("--rows", type=click.Choice(["annotations", "validated"]), help="All raw verdicts, or those that count.")
@click.option("--round", "round_name", help="Only this round [default: verdicts of all, tasks of the newest].")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="A folder, or the main file.")
@click.pass_obj
def export(root: Path, format_: str, rows: str | None, round_name: str | None, out: Path) -> None:
    """Export programs to annotate, or verdicts, in another tool's format."""
    from crlhf.stages.exports import export_to

    for line in export_to(root, format_, rows, out, round_name):
        click.echo(line)


@click.command()
@click.argument("annotator")
@click.option("--source", help="The tool that ANNOTATOR is an id of, where several have it.")
@click.pass_obj
def forget(root: Path, annotator: str, source: str | None) -> None:
    """Remove ANNOTATOR (a pseudonym, or the id in the tool) from all raw data, and say what is still to do."""
    from crlhf.stages.forgetting import forget_annotator

    for line in forget_annotator(root, annotator, source):
        click.echo(line)
