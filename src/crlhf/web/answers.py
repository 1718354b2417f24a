"""Answers: taken once each, kept with their time and cost, told apart by annotator and completion.

An answer is accepted when its transaction is on the disk, and only then acknowledged. The same answer sent again, with
the same key or another one, changes nothing and is acknowledged with the first.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, bindparam, func, insert, select, update

from crlhf.web.assignment import Rules, change_taken
from crlhf.web.refusals import RefusedError
from crlhf.web.tables import annotators, answers, items, leases

ERROR_TYPES = ("syntax", "wrong result", "missing case", "wrong name or call", "off by one", "other")
"""What an annotator may say of the kind of error; empty is allowed."""

MAX_COMMENT = 1000


class Submission(NamedTuple):
    """What an annotator sends about the item that is open.

    Attributes:
        lease_id: of the open item.
        idempotency_key: made with the page; a repeated request carries it again.
        wrong_line_nos: the marked lines, 1-based.
        is_nothing_wrong: said so explicitly; needed when no line is marked.
        is_skipped: no opinion.
        error_type: one of `ERROR_TYPES`, or empty.
        comment: free text.
        active_s: seconds with the page in view, as the browser says; None: not known.
    """

    lease_id: str
    idempotency_key: str
    wrong_line_nos: tuple[int, ...] = ()
    is_nothing_wrong: bool = False
    is_skipped: bool = False
    error_type: str = ""
    comment: str = ""
    active_s: float | None = None


class Receipt(NamedTuple):
    """The accepted answer; `is_new` is False when it had been accepted before."""

    answer_no: int
    is_new: bool


_LEASE = (
    select(leases, items.c.line_nos)
    .join(items)
    .join(annotators)
    .where(leases.c.lease_id == bindparam("lease_id"), leases.c.annotator_id == bindparam("me"))
    .where(annotators.c.state == "active")
)
_FIRST = select(answers.c.answer_no).where(
    answers.c.annotator_id == bindparam("me"), answers.c.completion_id == bindparam("id")
)
_SAME_KEY = select(answers.c.answer_no).where(
    answers.c.annotator_id == bindparam("me"), answers.c.idempotency_key == bindparam("key")
)
_KEEP = insert(answers).returning(answers.c.answer_no)
_END_LEASE = update(leases).where(leases.c.lease_id == bindparam("lease")).values(is_running=False)


def submit(connection: Connection, annotator_id: str, sent: Submission, rules: Rules, now: float) -> Receipt:
    """Accept an answer.

    Args:
        connection: a write transaction.
        annotator_id: someone whose session was checked.
        sent: the answer.
        rules: of the page; they say what it pays.
        now: seconds since 1970.

    Raises:
        RefusedError: 404 the item is not one that this annotator was given, or the annotator was shut out; 409 the key
            belongs to another answer; 422 a line is not one of the item's judgeable lines, or it is not said whether
            any is wrong.
    """
    lease = connection.execute(_LEASE, {"lease_id": sent.lease_id, "me": annotator_id}).mappings().one_or_none()
    if lease is None:
        raise RefusedError(404, "This item is not one of yours.")
    completion_id = lease["completion_id"]
    first = connection.scalar(_FIRST, {"me": annotator_id, "id": completion_id})
    if first is not None:
        return Receipt(first, False)
    if connection.scalar(_SAME_KEY, {"me": annotator_id, "key": sent.idempotency_key}) is not None:
        raise RefusedError(409, "This form was sent before with another answer. Reload the page and answer again.")
    marked = _checked_lines(sent, lease["line_nos"])
    row = _row(annotator_id, dict(lease), sent, marked, rules, now)
    answer_no = connection.execute(_KEEP, row).scalar_one()
    connection.execute(_END_LEASE, {"lease": sent.lease_id})
    change_taken(connection, completion_id, int(not sent.is_skipped) - int(lease["is_running"]))
    return Receipt(answer_no, True)


def _checked_lines(sent: Submission, line_nos: list[int]) -> list[int]:
    marked = sorted(set(sent.wrong_line_nos))
    if sent.is_skipped:
        return []
    if not set(marked) <= set(line_nos):
        raise RefusedError(422, "A marked line is not one of the lines that are judged.")
    if bool(marked) == sent.is_nothing_wrong:
        raise RefusedError(422, "Mark at least one line, or say that no line is wrong, but not both.")
    if sent.error_type not in ("", *ERROR_TYPES):
        raise RefusedError(422, "The kind of error is not one of the list.")
    return marked


def _row(
    annotator_id: str, lease: Mapping[str, Any], sent: Submission, marked: list[int], rules: Rules, now: float
) -> dict[str, Any]:
    elapsed = max(0.0, now - lease["started_at"])
    worked = elapsed if sent.active_s is None else min(max(0.0, sent.active_s), elapsed)
    pays = not sent.is_skipped
    return {
        "idempotency_key": sent.idempotency_key,
        "annotator_id": annotator_id,
        "completion_id": lease["completion_id"],
        "position": lease["position"],
        "status": "skipped" if sent.is_skipped else "submitted",
        "wrong_line_nos": marked,
        "error_type": sent.error_type if marked else "",
        "comment": sent.comment[:MAX_COMMENT],
        "started_at": lease["started_at"],
        "submitted_at": max(now, lease["started_at"]),  # a clock that was set back makes no answer end before it began
        "duration_s": round(worked, 3),
        "cost": round((rules.pay_per_completion + rules.pay_per_hour * worked / 3600) * pays, 6),
    }


_N_ANSWERED = select(func.count()).select_from(answers).where(answers.c.annotator_id == bindparam("me"))


def n_answered(connection: Connection, annotator_id: str) -> int:
    """How many items someone has answered."""
    return connection.scalar(_N_ANSWERED, {"me": annotator_id}) or 0


def state_of_answers(connection: Connection) -> tuple[int, int]:
    """Changes with every submitted answer and every deleted one; cheap."""
    query = select(func.count(), func.coalesce(func.max(answers.c.answer_no), 0)).where(answers.c.status == "submitted")
    n, last = connection.execute(query).one()
    return n, last


_SHOWN = (items.c.problem_id, items.c.code_sha256, items.c.line_nos, items.c.is_honeypot, items.c.round_name)


def submitted(connection: Connection, *conditions: ColumnElement[bool]) -> list[Mapping[str, Any]]:
    """Answers with what they were about, in the order in which they came; skipped ones are not among them."""
    query = select(answers, *_SHOWN).join(items).where(answers.c.status == "submitted", *conditions)
    return [dict(row) for row in connection.execute(query.order_by(answers.c.answer_no)).mappings()]


def annotation_rows(found: Iterable[Mapping[str, Any]], *, batch_id: str = "page") -> Iterator[dict[str, Any]]:
    """Rows under `schema.ANNOTATIONS`, one for each judgeable line of each answer of `submitted`."""
    for answer in found:
        marked = set(answer["wrong_line_nos"])
        for line_no in answer["line_nos"]:
            yield {
                "batch_id": batch_id,
                "problem_id": answer["problem_id"],
                "completion_id": answer["completion_id"],
                "code_sha256": answer["code_sha256"],
                "annotator_id": answer["annotator_id"],
                "line_no": line_no,
                "verdict": "wrong" if line_no in marked else "ok",
                "error_type": answer["error_type"] if line_no in marked else "",
                "is_honeypot": bool(answer["is_honeypot"]),
                "status": "submitted",
                "started_at": utc(answer["started_at"]),
                "submitted_at": utc(answer["submitted_at"]),
                "duration_s": answer["duration_s"],
                "source": "page",
            }


def utc(seconds: float) -> str:
    """ISO 8601 in UTC, to the millisecond."""
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat(timespec="milliseconds")
