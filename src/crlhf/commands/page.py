"""Verbs on the annotation page: `serve`, `collect`, and `page` with everything that the operator's page does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from crlhf.web.database import Database

_URL_VARIABLE = "CRLHF_PAGE_DATABASE"
_SCRUB_PATIENCE_S = 10.0
_HOST, _PORT = "127.0.0.1", 8000
_LOCAL_URL = f"http://{_HOST}:{_PORT}"


def _with_database(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--database",
        "url",
        envvar=_URL_VARIABLE,
        show_envvar=True,
        help="SQLAlchemy URL [default: SQLite in data/page].",
    )(command)


def _checked_url(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    from crlhf.errors import InputError

    if value is not None and not value.startswith(("http://", "https://")):
        raise InputError(f"--public-url {value}: it begins with http:// or https://")
    return value


def _with_public_url(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--public-url",
        envvar="CRLHF_PAGE_URL",
        show_envvar=True,
        callback=_checked_url,
        help="The address that people use, where a proxy stands before the page.",
    )(command)


@contextmanager
def _opened(root: Path, url: str | None, *, must_exist: bool = True) -> Iterator[Database]:
    from crlhf.params import load_params
    from crlhf.web.database import default_url, open_database

    if not must_exist and url is None:
        load_params(root / "params.yaml")  # a page begins in a project, not in whatever folder this is
    database = open_database(url or default_url(root), must_exist=must_exist and url is None)
    try:
        yield database
    finally:
        database.close()


@click.command()
@click.option("--host", default=_HOST, show_default=True, help="Address to listen on.")
@click.option("--port", default=_PORT, show_default=True, type=click.IntRange(0, 65535), help="0: any free one.")
@_with_public_url
@click.option("--trust-proxy", default="127.0.0.1", show_default=True, help="Addresses whose X-Forwarded-For counts.")
@_with_database
@click.pass_obj
def serve(root: Path, host: str, port: int, public_url: str | None, trust_proxy: str, url: str | None) -> None:
    """Serve the annotation page until Ctrl-C; docs/page.md says how to put it on the internet."""
    import signal
    import socket

    import uvicorn

    from crlhf.errors import InputError
    from crlhf.params import load_params
    from crlhf.stages.page import settings_of, sources
    from crlhf.web.app import create_app, settle
    from crlhf.web.page import Page

    params = load_params(root / "params.yaml")
    try:
        listener = socket.create_server((host, port), backlog=256)
    except OSError as error:
        raise InputError(f"{host}:{port}: cannot listen there: {error.strerror}") from None
    address = f"http://{host}:{listener.getsockname()[1]}"
    with _opened(root, url, must_exist=False) as database:
        page = Page(database, settings_of(params, public_url, address), sources(root))
        page.refresh()
        config = uvicorn.Config(
            create_app(page),
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=True,
            forwarded_allow_ips=trust_proxy,
            timeout_graceful_shutdown=5,
        )
        server = uvicorn.Server(config)
        # before it runs too, and when uvicorn raises them again at its end
        signal.signal(signal.SIGINT, server.handle_exit)
        signal.signal(signal.SIGTERM, server.handle_exit)
        settle()
        click.echo(f"The page is at {public_url or address}; invite people with `crlhf page invite`.")
        server.run(sockets=[listener])


@click.command()
@_with_database
@click.pass_obj
def collect(root: Path, url: str | None) -> None:
    """Write what annotators submitted since the last time as a new immutable batch in data/annotations."""
    from crlhf.stages.page_batches import collect as collect_batches

    with _opened(root, url) as database:
        paths = collect_batches(root, database, time.time(), click.echo)
    for path in paths:
        click.echo(f"{path.relative_to(root)}: {len(path.read_bytes().splitlines())} rows")
    if not paths:
        click.echo("Nothing new was submitted since the last time.")


@click.group()
def page() -> None:
    """Run the annotation page: invite and revoke people, pause, look, back up, export, delete."""


@page.command()
@click.option("-n", "n", default=1, show_default=True, help="How many people.")
@click.option("--note", default="", help="For your own eyes; kept with the pseudonym until it is deleted.")
@click.option("--again", metavar="ANNOTATOR", help="A new link for someone who lost theirs.")
@_with_public_url
@_with_database
@click.pass_obj
def invite(root: Path, n: int, note: str, again: str | None, public_url: str | None, url: str | None) -> None:
    """Print invitation links, one a line: pseudonym and link. Each works once; only its hash is kept.

    Without --public-url they lead to this machine, port 8000, where `crlhf serve` listens unless told otherwise.
    """
    from crlhf.web import audit, people

    with _opened(root, url, must_exist=False) as database, database.write() as connection:
        if again:
            made = [people.invite_again(connection, again, time.time(), audit.COMMAND_LINE)]
        else:
            made = people.invite(connection, n, note, time.time(), audit.COMMAND_LINE)
    for one in made:
        click.echo(f"{one.annotator_id} {(public_url or _LOCAL_URL).rstrip('/')}/join/{one.token}")


@page.command()
@click.argument("annotator")
@_with_database
@click.pass_obj
def revoke(root: Path, annotator: str, url: str | None) -> None:
    """Shut ANNOTATOR out at once; the answers given stay."""
    from crlhf.web import audit, people

    with _opened(root, url) as database, database.write() as connection:
        people.revoke(connection, annotator, time.time(), audit.COMMAND_LINE)
    click.echo(f"{annotator} has no access any more.")


@page.command()
@click.argument("name")
@_with_database
@click.pass_obj
def operator(root: Path, name: str, url: str | None) -> None:
    """Print a key with which NAME signs in to the operator's page; an earlier key stops working."""
    from crlhf.web import audit, people

    with _opened(root, url, must_exist=False) as database, database.write() as connection:
        key = people.add_operator(connection, name, time.time(), audit.COMMAND_LINE)
    click.echo(key)


def _pause(root: Path, url: str | None, paused: bool) -> None:
    from crlhf.web import audit, progress

    with _opened(root, url) as database, database.write() as connection:
        progress.set_paused(connection, paused)
        audit.note(connection, time.time(), audit.COMMAND_LINE, "pause" if paused else "go on")


@page.command()
@_with_database
@click.pass_obj
def pause(root: Path, url: str | None) -> None:
    """Stop giving out work; items that are open can still be answered."""
    _pause(root, url, True)
    click.echo("Paused. `crlhf page resume` goes on.")


@page.command()
@_with_database
@click.pass_obj
def resume(root: Path, url: str | None) -> None:
    """Give out work again."""
    _pause(root, url, False)
    click.echo("Work is given out.")


@page.command()
@_with_database
@click.pass_obj
def status(root: Path, url: str | None) -> None:
    """Progress per round, agreement, reliabilities with intervals, and suspects with the evidence."""
    from crlhf.stages.page import status_lines

    with _opened(root, url) as database:
        for line in status_lines(root, database):
            click.echo(line)


@page.command()
@click.argument("file", type=click.Path(path_type=Path))
@_with_database
@click.pass_obj
def backup(root: Path, file: Path, url: str | None) -> None:
    """Write everything the page holds to FILE while it goes on."""
    from crlhf.web import backups

    with _opened(root, url) as database:
        counts = backups.backup(database, file)
    click.echo(f"{file}: {counts['answers']} answers of {counts['annotators']} annotators")


@page.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--replace", is_flag=True, help="Replace a database that holds answers.")
@_with_database
@click.pass_obj
def restore(root: Path, file: Path, replace: bool, url: str | None) -> None:
    """Put the backup FILE in the place of what the page holds, in one transaction; SQLite or PostgreSQL."""
    from crlhf.stages.page_batches import restore as restore_page

    with _opened(root, url, must_exist=False) as database:
        counts, found = restore_page(root, database, file, time.time(), replace=replace)
        _wait_until_scrubbed(database)
    click.echo(f"{counts['answers']} answers of {counts['annotators']} annotators are back.")
    if found.n_known:
        click.echo(f"{found.n_known} of them are in batch files already and will not be collected again.")
    if found.n_forgotten:
        click.echo(f"{found.n_forgotten} annotators had been forgotten since that backup, and are gone again.")


@page.command()
@click.argument("kind", type=click.Choice(["rows", "spreadsheet", "costs"]))
@_with_database
@click.pass_obj
def export(root: Path, kind: str, url: str | None) -> None:
    """Print all answers: `rows` of the raw table as JSON lines, a `spreadsheet`, or `costs` per completion, as CSV."""
    from crlhf.web import exports

    with _opened(root, url) as database:
        for line in exports.EXPORTS[kind](database):
            click.echo(line, nl=False)


@page.command("export-annotator")
@click.argument("annotator")
@_with_database
@click.pass_obj
def export_annotator(root: Path, annotator: str, url: str | None) -> None:
    """Print a copy of everything the page holds about ANNOTATOR, as JSON."""
    import json

    from crlhf.web import privacy

    with _opened(root, url) as database, database.read() as connection:
        click.echo(json.dumps(privacy.copy_of(connection, annotator), indent=2, ensure_ascii=False))


def _wait_until_scrubbed(database: Database) -> None:
    """Say so when somebody reads on and on, and the log cannot be emptied of what was deleted."""
    patience = time.monotonic() + _SCRUB_PATIENCE_S
    while not database.is_scrubbed and not database.scrub():
        if time.monotonic() > patience:
            click.echo(
                "What was deleted still stands in the database's log (-wal), because somebody reads, a backup for "
                "example; it goes with the next deletion or when the page is stopped.",
                err=True,
            )
            return
        time.sleep(0.2)


@page.command("delete-annotator")
@click.argument("annotator")
@click.confirmation_option(prompt="Delete everything about this annotator?")
@_with_database
@click.pass_obj
def delete_annotator(root: Path, annotator: str, url: str | None) -> None:
    """Delete everything the page holds about ANNOTATOR."""
    from crlhf.stages.page import sources
    from crlhf.web import audit, privacy

    with _opened(root, url) as database:
        gone = privacy.delete_annotator(database, sources(root), annotator, time.time(), audit.COMMAND_LINE)
        _wait_until_scrubbed(database)
    click.echo(f"{annotator} and {gone.n_answers} answers were deleted from the page.")
    if gone.n_collected:
        click.echo(f"{gone.n_collected} of them are in batch files: run `crlhf forget {annotator}` as well.")
