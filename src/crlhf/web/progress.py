"""Numbers for the operator: how far each round is, what each annotator and each completion took and cost."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import Connection, and_, case, func, select

from crlhf.web.tables import annotators, answers, items, settings


class Round(NamedTuple):
    """One round: its completions, how many have all their verdicts, and what was given."""

    name: str
    n_completions: int
    n_complete: int
    n_wanted: int
    n_verdicts: int
    n_honeypot_answers: int
    hours: float
    cost: float

    @property
    def share(self) -> float:
        """Of the verdicts wanted, those given; at most 1."""
        return min(1.0, self.n_verdicts / self.n_wanted) if self.n_wanted else 0.0


class Worker(NamedTuple):
    """One annotator: state, and what was given, in what time and at what cost."""

    annotator_id: str
    label: str
    state: str
    n_answers: int
    n_skipped: int
    n_nothing_wrong: int
    hours: float
    median_s: float | None
    cost: float
    seen_at: float | None


def rounds(connection: Connection) -> list[Round]:
    """Every round that has an item, newest name last. Verdicts beyond what is wanted do not count as progress."""
    given = case((answers.c.status == "submitted", 1), else_=0)
    per_item = (
        select(
            items.c.round_name,
            items.c.is_honeypot,
            items.c.is_open,
            items.c.n_wanted,
            func.sum(given).label("n"),
            func.coalesce(func.sum(answers.c.duration_s * given), 0.0).label("seconds"),
            func.coalesce(func.sum(answers.c.cost), 0.0).label("cost"),
        )
        .select_from(items.outerjoin(answers, and_(answers.c.completion_id == items.c.completion_id)))
        .group_by(items.c.completion_id)
    )
    found: dict[str, list[Any]] = {}
    for row in connection.execute(per_item):
        if row.is_open or row.n:
            found.setdefault(row.round_name, []).append(row)
    return [_round(name, rows) for name, rows in sorted(found.items())]


def _round(name: str, rows: list[Any]) -> Round:
    tasks = [row for row in rows if not row.is_honeypot]
    return Round(
        name,
        n_completions=len(tasks),
        n_complete=sum(row.n >= row.n_wanted for row in tasks),
        n_wanted=sum(row.n_wanted for row in tasks),
        n_verdicts=sum(min(row.n, row.n_wanted) for row in tasks),
        n_honeypot_answers=sum(row.n for row in rows if row.is_honeypot),
        hours=sum(row.seconds for row in rows) / 3600,
        cost=sum(row.cost for row in rows),
    )


def workers(connection: Connection) -> list[Worker]:
    """Every annotator by id."""
    times: dict[str, list[Any]] = {}
    columns = (answers.c.annotator_id, answers.c.status, answers.c.wrong_line_nos, answers.c.duration_s, answers.c.cost)
    for row in connection.execute(select(*columns)):
        times.setdefault(row.annotator_id, []).append(row)
    query = select(annotators).order_by(annotators.c.annotator_id)
    return [_worker(row, times.get(row["annotator_id"], [])) for row in connection.execute(query).mappings()]


def _worker(row: Any, given: list[Any]) -> Worker:
    done = [answer for answer in given if answer.status == "submitted"]
    seconds = sorted(answer.duration_s for answer in done)
    return Worker(
        row["annotator_id"],
        row["label"],
        row["state"],
        n_answers=len(done),
        n_skipped=len(given) - len(done),
        n_nothing_wrong=sum(not answer.wrong_line_nos for answer in done),
        hours=sum(seconds) / 3600,
        median_s=seconds[len(seconds) // 2] if seconds else None,
        cost=sum(answer.cost for answer in done),
        seen_at=row["seen_at"],
    )


def costs(connection: Connection) -> list[dict[str, Any]]:
    """Verdicts, seconds and cost of each completion that has an answer, by completion_id."""
    query = (
        select(
            answers.c.completion_id,
            func.count().label("n_verdicts"),
            func.sum(answers.c.duration_s).label("seconds"),
            func.sum(answers.c.cost).label("cost"),
        )
        .where(answers.c.status == "submitted")
        .group_by(answers.c.completion_id)
        .order_by(answers.c.completion_id)
    )
    return [dict(row) for row in connection.execute(query).mappings()]


_IS_PAUSED = select(settings.c.value).where(settings.c.name == "is_paused")


def is_paused(connection: Connection) -> bool:
    """Whether the operator stopped giving out work."""
    return connection.scalar(_IS_PAUSED) == "yes"


def set_paused(connection: Connection, paused: bool) -> None:
    """Stop giving out work, or go on; an item that is open can still be answered."""
    connection.execute(settings.delete().where(settings.c.name == "is_paused"))
    connection.execute(settings.insert(), {"name": "is_paused", "value": "yes" if paused else "no"})


def n_answers(connection: Connection) -> int:
    """Submitted answers, honeypots included."""
    return connection.scalar(select(func.count()).where(answers.c.status == "submitted")) or 0
