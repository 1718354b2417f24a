"""What was accepted since the last time, claimed once: the page's half of `crlhf collect`.

A collection is claimed in one transaction, written elsewhere as a batch, and then marked with the batch's name. One
that was claimed but not marked was interrupted; whoever collects next looks whether its batch is there and finishes it.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection as Set
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from crlhf.web.answers import annotation_rows, submitted, utc
from crlhf.web.tables import answers, collections

_NOT_COLLECTED = (answers.c.collection_id.is_(None)) & (answers.c.status == "submitted")


def claim(connection: Connection, now: float) -> str | None:
    """Take every answer that no collection has; the new collection's id, or None when there is no such answer."""
    if not n_waiting(connection):
        return None
    collection_id = secrets.token_hex(6)
    connection.execute(insert(collections), {"collection_id": collection_id, "claimed_at": now})
    connection.execute(update(answers).where(_NOT_COLLECTED).values(collection_id=collection_id))
    return collection_id


def unfinished(connection: Connection) -> list[str]:
    """Collections that were claimed and not marked as written, oldest first."""
    query = select(collections.c.collection_id).where(collections.c.file.is_(None)).order_by(collections.c.claimed_at)
    return list(connection.scalars(query))


def rows_of(connection: Connection, collection_id: str) -> list[dict[str, Any]]:
    """The collection's rows under `schema.ANNOTATIONS`; the writer gives them their batch."""
    found = submitted(connection, answers.c.collection_id == collection_id)
    return [{name: value for name, value in row.items() if name != "batch_id"} for row in annotation_rows(found)]


def mark_written(connection: Connection, collection_id: str, file: str) -> None:
    """Remember which batch holds the collection."""
    this = collections.c.collection_id == collection_id
    connection.execute(update(collections).where(this).values(file=file))


def mark_known(connection: Connection, known: Set[tuple[str, str, str]], file: str) -> int:
    """After a restore: mark answers that batches hold already, so that they are not collected again.

    Args:
        connection: a write transaction.
        known: (annotator_id, completion_id, submitted_at) of the rows of the page's batches.
        file: what to say of where they are.

    Returns:
        How many answers were marked.
    """
    waiting = connection.execute(select(answers).where(_NOT_COLLECTED)).mappings().all()
    found = [
        row["answer_no"]
        for row in waiting
        if (row["annotator_id"], row["completion_id"], utc(row["submitted_at"])) in known
    ]
    if found:
        collection_id = secrets.token_hex(6)
        row = {"collection_id": collection_id, "claimed_at": 0.0, "file": file}
        connection.execute(insert(collections), row)
        for answer_no in found:
            this = answers.c.answer_no == answer_no
            connection.execute(update(answers).where(this).values(collection_id=collection_id))
    return len(found)


def n_waiting(connection: Connection) -> int:
    """Answers that no collection has taken."""
    return connection.scalar(select(func.count()).select_from(answers).where(_NOT_COLLECTED)) or 0
