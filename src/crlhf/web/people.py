"""Annotators and operators: invitations, sign-ins, sessions, revoking. Pseudonyms only; tokens are kept hashed.

Tokens hold 256 random bits, so one SHA-256 is enough: there is nothing to guess that a slow hash would protect.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy import Connection, RowMapping, bindparam, delete, func, insert, select, update

from crlhf.errors import InputError
from crlhf.web import audit
from crlhf.web.tables import annotators, invitations, items, leases, operators, practice, sessions

INVITATION_S = 14 * 86400.0
ANNOTATOR_SESSION_S = 30 * 86400.0
OPERATOR_SESSION_S = 12 * 3600.0
_SITTING_GAP_S = 30 * 60.0
_GRACE_S = 86400.0


class Invitation(NamedTuple):
    """A link's token: shown once, to whoever asked for it."""

    annotator_id: str
    token: str


def token_sha256(token: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def invite(connection: Connection, n: int, label: str, now: float, actor: str) -> list[Invitation]:
    """Make `n` new annotators, each with one link and a secret order of items.

    The seed of the order comes from the system and is recorded: one that followed from the project's, which is no
    secret, and the pseudonym, which its owner knows, would tell the owner which turns are honeypots.

    Raises:
        InputError: `n` is not between 1 and 1000, or the label is longer than 80 characters.
    """
    if not 1 <= n <= 1000 or len(label) > 80:
        raise InputError("1 to 1000 people are invited at once, with a label of at most 80 characters")
    made = []
    for _ in range(n):
        annotator_id = f"a_{secrets.token_hex(8)}"
        connection.execute(
            insert(annotators),
            {
                "annotator_id": annotator_id,
                "state": "invited",
                "label": label,
                "invited_at": now,
                "order_seed": secrets.randbelow(2**31),
                "n_assigned": 0,
            },
        )
        made.append(_new_link(connection, annotator_id, now, actor))
    return made


def invite_again(connection: Connection, annotator_id: str, now: float, actor: str) -> Invitation:
    """A new link for someone who lost theirs or changed the browser; links and sessions from before stop working.

    Raises:
        InputError: there is no such annotator, or access was revoked.
    """
    state = connection.scalar(select(annotators.c.state).where(annotators.c.annotator_id == annotator_id))
    if state is None or state == "revoked":
        raise InputError(f"{annotator_id}: {'access was revoked' if state else 'no such annotator'}")
    _close_doors(connection, annotator_id)
    return _new_link(connection, annotator_id, now, actor)


def _new_link(connection: Connection, annotator_id: str, now: float, actor: str) -> Invitation:
    token = secrets.token_urlsafe(32)
    row = {"token_sha256": token_sha256(token), "annotator_id": annotator_id, "expires_at": now + INVITATION_S}
    connection.execute(insert(invitations), row)
    audit.note(connection, now, actor, "invite", annotator_id)
    return Invitation(annotator_id, token)


def is_open_invitation(connection: Connection, token: str, now: float, browser: str = "") -> bool:
    """Whether the link would still let this browser in; looking uses nothing up."""
    return _open_invitation(connection, token, now) is not None or _is_in(connection, token, browser, now)


def _open_invitation(connection: Connection, token: str, now: float) -> str | None:
    query = (
        select(annotators.c.annotator_id)
        .join(invitations)
        .where(invitations.c.token_sha256 == token_sha256(token))
        .where(invitations.c.used_at.is_(None), invitations.c.expires_at > now, annotators.c.state != "revoked")
    )
    return connection.scalar(query)


def join(connection: Connection, token: str, now: float, browser: str = "") -> str | None:
    """Use an invitation up and open a session: the session's token, or None when the link lets nobody in.

    Args:
        connection: of a write transaction.
        token: the link's.
        now: the time.
        browser: a secret that the browser got with the invitation. Who sends it again, because the answer was lost on
            the way, gets the same session again; without one there is a single try.
    """
    annotator_id = _open_invitation(connection, token, now)
    if annotator_id is None:
        return _session_token(token, browser) if _is_in(connection, token, browser, now) else None
    is_this = invitations.c.token_sha256 == token_sha256(token)
    connection.execute(update(invitations).where(is_this).values(used_at=now))
    me = annotators.c.annotator_id == annotator_id
    connection.execute(update(annotators).where(me).values(state="active"))
    connection.execute(update(annotators).where(me, annotators.c.joined_at.is_(None)).values(joined_at=now))
    audit.note(connection, now, annotator_id, "join", annotator_id)
    session = _session_token(token, browser or secrets.token_urlsafe(32))
    return _open_session(connection, session, "annotator", annotator_id, now + ANNOTATOR_SESSION_S)


def _session_token(token: str, browser: str) -> str:
    """The session that an invitation opens in a browser: HMAC-SHA256, so that it needs both secrets."""
    return hmac.new(browser.encode(), b"session " + token.encode(), "sha256").hexdigest()


def _is_in(connection: Connection, token: str, browser: str, now: float) -> bool:
    """Whether this browser joined with this link, and its session still stands."""
    return bool(browser) and annotator_of(connection, _session_token(token, browser), now) is not None


def _open_session(connection: Connection, token: str, role: str, subject: str, expires_at: float) -> str:
    row = {"token_sha256": token_sha256(token), "role": role, "subject": subject, "expires_at": expires_at}
    connection.execute(insert(sessions), row)
    return token


_ANNOTATOR_OF = (
    select(annotators)
    .join(sessions, sessions.c.subject == annotators.c.annotator_id)
    .where(sessions.c.token_sha256 == bindparam("token"), sessions.c.role == "annotator")
    .where(sessions.c.expires_at > bindparam("now"), annotators.c.state == "active")
)


def annotator_of(connection: Connection, session_token: str, now: float) -> RowMapping | None:
    """The annotator whom a session belongs to, or None: unknown, expired, an operator's, or revoked."""
    token = {"token": token_sha256(session_token), "now": now}
    return connection.execute(_ANNOTATOR_OF, token).mappings().one_or_none()


def operator_of(connection: Connection, session_token: str, now: float) -> str | None:
    """The name of the operator whom a session belongs to, or None."""
    query = select(sessions.c.subject).where(
        sessions.c.token_sha256 == token_sha256(session_token),
        sessions.c.role == "operator",
        sessions.c.expires_at > now,
    )
    return connection.scalar(query)


def end_sessions(connection: Connection, role: str, subject: str) -> None:
    """Sign someone out everywhere."""
    connection.execute(delete(sessions).where(sessions.c.role == role, sessions.c.subject == subject))


def drop_expired(connection: Connection, now: float) -> None:
    """Forget links and sessions that ended a day ago or earlier; a clock that is wrong for an hour costs nobody's."""
    for table in (sessions, invitations):
        connection.execute(delete(table).where(table.c.expires_at <= now - _GRACE_S))


def read_guide(connection: Connection, annotator_id: str, now: float) -> None:
    """Remember that the guide was read to its end."""
    me = annotators.c.annotator_id == annotator_id
    connection.execute(update(annotators).where(me, annotators.c.guide_at.is_(None)).values(guide_at=now))


def touch(connection: Connection, annotator: Mapping[str, Any], now: float) -> float:
    """Note that someone is at work; the start of the present sitting.

    A new one begins after half an hour away, and when the clock was set back.
    """
    started, seen = annotator["work_started_at"], annotator["seen_at"]
    is_new = started is None or seen is None or not started <= seen <= now or now - seen > _SITTING_GAP_S
    start = now if is_new else float(started)
    connection.execute(_TOUCH, {"me": annotator["annotator_id"], "start": start, "now": now})
    return start


_TOUCH = (
    update(annotators)
    .where(annotators.c.annotator_id == bindparam("me"))
    .values(work_started_at=bindparam("start"), seen_at=bindparam("now"))
)


def revoke(connection: Connection, annotator_id: str, now: float, actor: str) -> None:
    """Shut someone out at once: links, sessions and open items end; answers given stay.

    Raises:
        InputError: there is no such annotator.
    """
    me = annotators.c.annotator_id == annotator_id
    if not connection.execute(update(annotators).where(me).values(state="revoked")).rowcount:
        raise InputError(f"{annotator_id}: no such annotator")
    _close_doors(connection, annotator_id)
    free_leases(connection, annotator_id)
    audit.note(connection, now, actor, "revoke", annotator_id)


def _close_doors(connection: Connection, annotator_id: str) -> None:
    connection.execute(delete(sessions).where(sessions.c.role == "annotator", sessions.c.subject == annotator_id))
    unused = (invitations.c.annotator_id == annotator_id) & invitations.c.used_at.is_(None)
    connection.execute(delete(invitations).where(unused))


def free_leases(connection: Connection, annotator_id: str) -> None:
    """Give the items that someone holds back to the others."""
    running = (leases.c.annotator_id == annotator_id) & leases.c.is_running
    held = connection.scalars(select(leases.c.completion_id).where(running)).all()
    connection.execute(update(leases).where(running).values(is_running=False))
    for completion_id in held:
        this = items.c.completion_id == completion_id
        connection.execute(update(items).where(this).values(n_taken=items.c.n_taken - 1))


def add_operator(connection: Connection, name: str, now: float, actor: str) -> str:
    """Make an operator, or give one a new key (the old key and its sessions stop working); the key, shown once.

    Raises:
        InputError: the name is empty or longer than 40 characters.
    """
    if not 1 <= len(name) <= 40 or not name.isprintable():
        raise InputError("an operator's name is 1 to 40 printable characters")
    key = secrets.token_urlsafe(24)
    connection.execute(delete(sessions).where(sessions.c.role == "operator", sessions.c.subject == name))
    connection.execute(delete(operators).where(operators.c.name == name))
    connection.execute(insert(operators), {"name": name, "key_sha256": token_sha256(key), "created_at": now})
    audit.note(connection, now, actor, "operator", name)
    return key


def sign_in(connection: Connection, name: str, key: str, now: float) -> str | None:
    """Open an operator's session: its token, or None for a wrong name or key."""
    kept = connection.scalar(select(operators.c.key_sha256).where(operators.c.name == name[:64]))
    is_right = hmac.compare_digest(kept or "-" * 64, token_sha256(key))
    if kept is None or not is_right:
        audit.note(connection, now, "nobody", "sign-in refused")
        return None
    audit.note(connection, now, f"operator:{name}", "sign-in")
    return _open_session(connection, secrets.token_urlsafe(32), "operator", name, now + OPERATOR_SESSION_S)


def practise(
    connection: Connection, annotator_id: str, number: int, wrong_line_nos: list[int], n_lessons: int, now: float
) -> None:
    """Keep the answer to training item `number` (1, 2, ...); after the last one the training is over."""
    this = (practice.c.annotator_id == annotator_id) & (practice.c.number == number)
    connection.execute(delete(practice).where(this))
    row = {"annotator_id": annotator_id, "number": number, "wrong_line_nos": wrong_line_nos, "answered_at": now}
    connection.execute(insert(practice), row)
    done = connection.scalar(select(func.count()).where(practice.c.annotator_id == annotator_id))
    if done == n_lessons:
        me = annotators.c.annotator_id == annotator_id
        connection.execute(update(annotators).where(me, annotators.c.trained_at.is_(None)).values(trained_at=now))


def practised(connection: Connection, annotator_id: str) -> dict[int, list[int]]:
    """The answers to training items: number to marked lines."""
    mine = practice.c.annotator_id == annotator_id
    return dict(connection.execute(select(practice.c.number, practice.c.wrong_line_nos).where(mine)).all())
