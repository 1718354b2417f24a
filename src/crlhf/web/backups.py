"""Backup and restore: the whole database as one file, whichever kind of database it is.

A backup is gzip of JSON lines: a header with the number of rows of each table, the rows as `[table, row]`, and a last
line with the SHA-256 of all lines before it. It is read from one snapshot while the page goes on, and restored in one
transaction: into SQLite or PostgreSQL, wherever it came from.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, insert, select, text

from crlhf.errors import InputError, IntegrityError, MissingInputError
from crlhf.store import atomic_write
from crlhf.web.database import Database
from crlhf.web.tables import VERSION, answers, metadata

_CHUNK = 1000


def backup(database: Database, path: Path) -> dict[str, int]:
    """Write the database to `path`, whole or not at all; the number of rows of each table."""
    digest = hashlib.sha256()
    with database.read() as connection, atomic_write(path) as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as file:

        def put(value: Any) -> None:
            line = json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"
            digest.update(line)
            file.write(line)

        counts = {
            table.name: connection.scalar(select(func.count()).select_from(table)) or 0
            for table in metadata.sorted_tables
        }
        put({"crlhf_page_backup": VERSION, "rows": counts})
        for table in metadata.sorted_tables:
            for row in connection.execute(select(table)):
                put([table.name, dict(row._mapping)])
        file.write(json.dumps({"sha256": digest.hexdigest()}).encode() + b"\n")
    return counts


def restore(
    database: Database,
    path: Path,
    *,
    replace: bool = False,
    then: Callable[[Connection], object] = lambda connection: None,
) -> dict[str, int]:
    """Put a backup in the place of everything that the database holds, in one transaction.

    Args:
        database: where to.
        path: the backup.
        replace: without it, a database that holds answers is refused.
        then: what else belongs into the transaction.

    Returns:
        The number of rows of each table.

    Raises:
        MissingInputError: there is no such file.
        IntegrityError: the file is not a whole backup of this version; nothing was changed.
        InputError: the database holds answers and `replace` is not set.
    """
    header, rows = _read(path)
    with database.write() as connection:
        n = connection.scalar(select(func.count()).select_from(answers)) or 0
        if n and not replace:
            raise InputError(f"the database holds {n} answers; back it up, then restore with --replace")
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())
        for table in metadata.sorted_tables:
            mine = rows.get(table.name, [])
            for start in range(0, len(mine), _CHUNK):
                connection.execute(insert(table), mine[start : start + _CHUNK])
        if not database.is_sqlite:
            _move_sequences(connection)
        then(connection)
    counts: dict[str, int] = header["rows"]
    return counts


def _read(path: Path) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
    damaged = IntegrityError(f"{path}: not a whole backup of the annotation page; nothing was restored")
    try:
        with gzip.open(path) as file:
            lines = file.read().splitlines(keepends=True)
    except FileNotFoundError:
        raise MissingInputError(f"{path}: no such file") from None
    except (OSError, EOFError):
        raise damaged from None
    try:
        header, *rows, last = (json.loads(line) for line in lines)
        is_whole = last["sha256"] == hashlib.sha256(b"".join(lines[:-1])).hexdigest()
        version = header["crlhf_page_backup"]
    except (ValueError, KeyError, TypeError):
        raise damaged from None
    if not is_whole:
        raise damaged
    if version != VERSION:
        raise IntegrityError(f"{path}: a backup of version {version}; this crlhf reads {VERSION}")
    by_table: dict[str, list[dict[str, Any]]] = {}
    for name, row in rows:
        by_table.setdefault(name, []).append(row)
    return header, by_table


def _move_sequences(connection: Connection) -> None:
    """PostgreSQL numbers on from where its own sequence stands, not from the rows that were put in."""
    for table, column in (("answers", "answer_no"), ("audit", "event_no")):
        connection.execute(
            text(
                f"SELECT setval(pg_get_serial_sequence('{table}', '{column}'), "
                f"COALESCE((SELECT MAX({column}) FROM {table}), 1))"
            )
        )
