"""The audit log: who did what to whom and when. Tokens, keys and answers never enter it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, insert, select

from crlhf.web import tables

COMMAND_LINE = "command line"


def note(connection: Connection, now: float, actor: str, action: str, subject: str = "", detail: str = "") -> None:
    """Write one event down, in the transaction of the thing itself."""
    connection.execute(
        insert(tables.audit), {"at": now, "actor": actor, "action": action, "subject": subject, "detail": detail}
    )


def events(connection: Connection, limit: int = 50) -> list[dict[str, Any]]:
    """The newest events, newest first."""
    query = select(tables.audit).order_by(tables.audit.c.event_no.desc()).limit(limit)
    return [dict(row) for row in connection.execute(query).mappings()]
