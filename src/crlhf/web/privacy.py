"""One annotator's data: a copy of all of it, and its deletion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Table, delete, select, update

from crlhf.errors import InputError
from crlhf.web import audit
from crlhf.web.people import free_leases
from crlhf.web.tables import annotators, answers, invitations, items, leases, practice, sessions
from crlhf.web.tables import audit as events

if TYPE_CHECKING:
    from crlhf.web.database import Database
    from crlhf.web.sources import Sources

_HASHES = {"token_sha256"}


class Deleted(NamedTuple):
    """What a deletion removed; collected answers are in batch files too, which the page does not touch."""

    n_answers: int
    n_collected: int


def _mine(annotator_id: str) -> list[tuple[Table, ColumnElement[bool]]]:
    """What belongs to an annotator, in an order in which it can be deleted."""
    return [
        (sessions, (sessions.c.role == "annotator") & (sessions.c.subject == annotator_id)),
        (invitations, invitations.c.annotator_id == annotator_id),
        (practice, practice.c.annotator_id == annotator_id),
        (answers, answers.c.annotator_id == annotator_id),
        (leases, leases.c.annotator_id == annotator_id),
        (annotators, annotators.c.annotator_id == annotator_id),
    ]


def annotator_ids(connection: Connection) -> list[str]:
    """Everybody the page knows."""
    return list(connection.scalars(select(annotators.c.annotator_id).order_by(annotators.c.annotator_id)))


def copy_of(connection: Connection, annotator_id: str) -> dict[str, Any]:
    """Everything the page holds about an annotator, but hashes of tokens.

    Raises:
        InputError: there is no such annotator.
    """
    found: dict[str, Any] = {}
    for table, is_mine in _mine(annotator_id):
        columns = [column for column in table.c if column.name not in _HASHES]
        found[table.name] = [dict(row) for row in connection.execute(select(*columns).where(is_mine)).mappings()]
    if not found["annotators"]:
        raise InputError(f"{annotator_id}: no such annotator")
    about = (events.c.actor == annotator_id) | (events.c.subject == annotator_id)
    found["audit"] = [dict(row) for row in connection.execute(select(events).where(about)).mappings()]
    return found


def delete_annotator(database: Database, sources: Sources, annotator_id: str, now: float, actor: str) -> Deleted:
    """`forget`, remembered beyond the database, and scrubbed from its files.

    Raises:
        InputError: there is no such annotator; nothing is remembered then.
    """
    with database.read() as connection:
        if annotator_id not in annotator_ids(connection):
            raise InputError(f"{annotator_id}: no such annotator")
    with sources.deletion(annotator_id), database.write() as connection:
        gone = forget(connection, annotator_id, now, actor)
    database.scrub()
    return gone


def forget(connection: Connection, annotator_id: str, now: float, actor: str) -> Deleted:
    """Delete everything about an annotator; the items they judged wait for other verdicts.

    Raises:
        InputError: there is no such annotator.
    """
    known = copy_of(connection, annotator_id)
    free_leases(connection, annotator_id)
    given = [answer for answer in known["answers"] if answer["status"] == "submitted"]
    for answer in given:
        this = items.c.completion_id == answer["completion_id"]
        connection.execute(update(items).where(this).values(n_taken=items.c.n_taken - 1))
    for table, is_mine in _mine(annotator_id):
        connection.execute(delete(table).where(is_mine))
    for column in (events.c.actor, events.c.subject):
        connection.execute(update(events).where(column == annotator_id).values({column.name: "deleted"}))
    audit.note(connection, now, actor, "delete annotator", "deleted")
    return Deleted(len(given), sum(answer["collection_id"] is not None for answer in given))
