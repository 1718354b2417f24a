"""Who sees which item next: `k` verdicts a completion, honeypots mixed in, leases that expire, nothing twice.

An annotator's turns come in blocks of ten. In each block `10 * rate` turns are honeypots (rounded at random, so that
the rate holds in the mean), at places drawn from the annotator's own recorded seed: the mix is even, and nobody can
tell from the count so far what comes next. Among items the least judged come first, in an order that differs between
annotators.

Honeypots and tasks go through the same statements in the same number; what differs is a parameter.
"""

from __future__ import annotations

import hashlib
import random
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, RowMapping, bindparam, insert, select, update

from crlhf.errors import IntegrityError
from crlhf.web.sources import ShownItem
from crlhf.web.tables import annotators, answers, items, leases

BLOCK = 10
"""Turns in a block."""

UNLIMITED = 1_000_000_000
_CHOICE = 32


class Rules(NamedTuple):
    """How work is given out, and what it pays.

    Attributes:
        seed: the project's; reaches every order.
        k: verdicts a completion.
        honeypot_rate: share of an annotator's turns that are honeypots.
        max_extra: verdicts beyond `k` for a completion whose score is uncertain.
        lease_s: how long an opened item is kept for someone.
        pay_per_completion: for each submitted answer.
        pay_per_hour: of work on submitted answers.
    """

    seed: int
    k: int
    honeypot_rate: float
    max_extra: int = 0
    lease_s: float = 1800.0
    pay_per_completion: float = 0.0
    pay_per_hour: float = 0.0


class Task(NamedTuple):
    """One opened item: `item` has the columns of the table `items`."""

    lease_id: str
    started_at: float
    item: Mapping[str, Any]


def sync_items(connection: Connection, shown: Sequence[ShownItem], rules: Rules) -> int:
    """Bring the page's items in line with what the project shows now; the number of items that are new.

    Items that are no longer shown are closed, never removed: their answers refer to them.

    Raises:
        IntegrityError: an item is known by the same id with another code.
    """
    known = dict(connection.execute(select(items.c.completion_id, items.c.code_sha256)).tuples().all())
    for one in shown:
        if known.get(one.completion_id, one.code_sha256) != one.code_sha256:
            raise IntegrityError(f"item {one.completion_id}: its code is not the one that annotators were shown before")
    connection.execute(update(items).values(is_open=False))
    new = [_item_row(one, rules) for one in shown if one.completion_id not in known]
    if new:
        connection.execute(insert(items), new)
    old = [{"b_id": one.completion_id, "b_round": one.round_name} for one in shown if one.completion_id in known]
    if old:
        this = items.c.completion_id == bindparam("b_id")
        connection.execute(update(items).where(this).values(is_open=True, round_name=bindparam("b_round")), old)
    return len(new)


def _item_row(one: ShownItem, rules: Rules) -> dict[str, Any]:
    place = hashlib.sha256(f"{rules.seed}/{one.completion_id}".encode()).digest()
    lists = {"line_nos": list(one.line_nos), "examples": list(one.examples)}
    return (
        one._asdict()
        | lists
        | {
            "is_open": True,
            "n_wanted": UNLIMITED if one.is_honeypot else rules.k,
            "n_taken": 0,
            "shuffle": int.from_bytes(place[:6], "big") / 2**48,
        }
    )


def want_more(connection: Connection, n_more: Mapping[str, int], rules: Rules) -> None:
    """Ask for more verdicts where scores are uncertain: at most `rules.max_extra` beyond `k`.

    Args:
        connection: a write transaction.
        n_more: completion_id to how many more verdicts than now its score needs.
        rules: of the page.
    """
    is_task = items.c.is_honeypot.is_(False)
    for completion_id, wanted in connection.execute(select(items.c.completion_id, items.c.n_wanted).where(is_task)):
        extra = n_more.get(completion_id, 0)
        n_given = 0
        if extra:
            mine = (answers.c.completion_id == completion_id) & (answers.c.status == "submitted")
            n_given = len(connection.execute(select(answers.c.answer_no).where(mine)).all())
        target = max(rules.k, min(n_given + extra, rules.k + rules.max_extra))
        if target != wanted:
            this = items.c.completion_id == completion_id
            connection.execute(update(items).where(this).values(n_wanted=target))


def is_honeypot_turn(order_seed: int, position: int, rate: float) -> bool:
    """Whether the turn at `position` (0, 1, ...) of the annotator with this seed is a honeypot's."""
    draw = random.Random(f"{order_seed}/{position // BLOCK}")
    expected = rate * BLOCK
    n = int(expected) + (draw.random() < expected - int(expected))
    return position % BLOCK in draw.sample(range(BLOCK), n)


def next_task(connection: Connection, annotator_id: str, rules: Rules, now: float) -> Task | None:
    """The item that the annotator has open, or a new one, or None when nothing is left for them.

    Args:
        connection: a write transaction.
        annotator_id: someone whose session was checked.
        rules: of the page.
        now: seconds since 1970.
    """
    free_expired(connection, now)
    mine = (leases.c.annotator_id == annotator_id) & leases.c.is_running
    running = (
        connection.execute(select(leases.c.lease_id, leases.c.started_at, items).join(items).where(mine))
        .mappings()
        .first()
    )
    if running is not None:
        return Task(running["lease_id"], running["started_at"], dict(running))
    me = annotators.c.annotator_id == annotator_id
    order, position = connection.execute(select(annotators.c.order_seed, annotators.c.n_assigned).where(me)).one()
    tasks = _candidates(connection, annotator_id, is_honeypot=False)
    honeypots = _candidates(connection, annotator_id, is_honeypot=True)
    if not tasks:
        return None  # honeypots alone would be work for nothing
    wants_honeypot = is_honeypot_turn(order, position, rules.honeypot_rate)
    chosen = _pick(honeypots if wants_honeypot and honeypots else tasks, order)
    connection.execute(update(annotators).where(me).values(n_assigned=position + 1))
    this = items.c.completion_id == chosen["completion_id"]
    connection.execute(update(items).where(this).values(n_taken=items.c.n_taken + 1))
    return Task(_lease(connection, annotator_id, chosen["completion_id"], position, rules, now), now, dict(chosen))


def free_expired(connection: Connection, now: float) -> None:
    """End the leases whose time is over; an answer that comes later still counts."""
    is_over = leases.c.is_running & (leases.c.expires_at <= now)
    ended = (
        connection.execute(update(leases).where(is_over).values(is_running=False).returning(leases.c.completion_id))
        .scalars()
        .all()
    )
    for completion_id in ended:
        this = items.c.completion_id == completion_id
        connection.execute(update(items).where(this).values(n_taken=items.c.n_taken - 1))


def _candidates(connection: Connection, annotator_id: str, *, is_honeypot: bool) -> Sequence[RowMapping]:
    """The least judged items of a kind that the annotator has not answered."""
    answered = select(answers.c.completion_id).where(answers.c.annotator_id == annotator_id)
    query = (
        select(items)
        .where(items.c.is_honeypot == is_honeypot, items.c.is_open, items.c.n_taken < items.c.n_wanted)
        .where(items.c.completion_id.not_in(answered))
        .order_by(items.c.n_taken, items.c.shuffle)
        .limit(_CHOICE)
    )
    return connection.execute(query).mappings().all()


def _pick(candidates: Sequence[RowMapping], order_seed: int) -> RowMapping:
    """One of the least judged, by a hash that differs between annotators."""

    def place(item: RowMapping) -> tuple[int, str]:
        return item["n_taken"], hashlib.sha256(f"{order_seed}/{item['completion_id']}".encode()).hexdigest()

    return min(candidates, key=place)


def _lease(
    connection: Connection, annotator_id: str, completion_id: str, position: int, rules: Rules, now: float
) -> str:
    """Open an item for someone; an expired lease of the pair runs again, so that an answer sent late finds it."""
    times = {"position": position, "started_at": now, "expires_at": now + rules.lease_s, "is_running": True}
    pair = (leases.c.annotator_id == annotator_id) & (leases.c.completion_id == completion_id)
    earlier: str | None = connection.scalar(select(leases.c.lease_id).where(pair))
    if earlier is not None:
        connection.execute(update(leases).where(pair).values(times))
        return earlier
    lease_id = secrets.token_hex(16)
    row = {"lease_id": lease_id, "annotator_id": annotator_id, "completion_id": completion_id}
    connection.execute(insert(leases), row | times)
    return lease_id
