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

from sqlalchemy import Connection, Executable, bindparam, exists, insert, select, update

from crlhf.errors import IntegrityError
from crlhf.web.refusals import RefusedError
from crlhf.web.sources import ShownItem
from crlhf.web.tables import annotators, answers, items, leases

BLOCK = 10
"""Turns in a block."""

UNLIMITED = 1_000_000_000
_CHOICE = 12


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
    known = {row.completion_id: row for row in connection.execute(_KNOWN)}
    for one in shown:
        if one.completion_id in known and known[one.completion_id].code_sha256 != one.code_sha256:
            raise IntegrityError(f"item {one.completion_id}: its code is not the one that annotators were shown before")
    new = [_item_row(one, rules) for one in shown if one.completion_id not in known]
    if new:
        connection.execute(insert(items), new)
    wanted = {name: (False, row.round_name) for name, row in known.items()}
    wanted |= {one.completion_id: (True, one.round_name) for one in shown if one.completion_id in known}
    changed = [
        {"b_id": name, "b_open": is_open, "b_round": round_name}
        for name, (is_open, round_name) in wanted.items()
        if (is_open, round_name) != (known[name].is_open, known[name].round_name)
    ]
    if changed:
        connection.execute(_MOVE, changed)
    return len(new)


_KNOWN = select(items.c.completion_id, items.c.code_sha256, items.c.is_open, items.c.round_name)
_MOVE = (
    update(items)
    .where(items.c.completion_id == bindparam("b_id"))
    .values(is_open=bindparam("b_open"), round_name=bindparam("b_round"))
)


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


_ME = annotators.c.annotator_id == bindparam("me")
_IS_OPEN = (leases.c.annotator_id == annotators.c.annotator_id) & leases.c.is_running
_TURN = (
    select(annotators.c.order_seed, annotators.c.n_assigned, leases.c.lease_id, leases.c.started_at)
    .add_columns(leases.c.completion_id)
    .select_from(annotators.outerjoin(leases, _IS_OPEN))
    .where(_ME, annotators.c.state == "active")
    .limit(1)
)
"""An annotator's place in their own order, and the item that they have open."""
_COUNT_TURN = update(annotators).where(_ME).values(n_assigned=annotators.c.n_assigned + 1)
_ITEM = select(items).where(items.c.completion_id == bindparam("id"))
_CHANGE_TAKEN = (
    update(items).where(items.c.completion_id == bindparam("id")).values(n_taken=items.c.n_taken + bindparam("change"))
)
_TAKE = (
    update(items)
    .where(items.c.completion_id == bindparam("id"))
    .values(n_taken=items.c.n_taken + 1)
    .returning(*items.c)
)
_IS_OVER = leases.c.expires_at <= bindparam("now")
_IS_FROM_A_FAST_CLOCK = 2 * leases.c.started_at - leases.c.expires_at > bindparam("now")
"""It begins more than its own length from now. A clock that is set back a little ends nobody's work."""
_EXPIRE = (
    update(leases)
    .where(leases.c.is_running, _IS_OVER | _IS_FROM_A_FAST_CLOCK)
    .values(is_running=False)
    .returning(leases.c.completion_id)
)
_CANDIDATES = (
    select(items.c.completion_id, items.c.n_taken)
    .where(items.c.is_honeypot == bindparam("is_honeypot"), items.c.is_open, items.c.n_taken < items.c.n_wanted)
    .where(~exists().where(answers.c.annotator_id == bindparam("me"), answers.c.completion_id == items.c.completion_id))
    .order_by(items.c.n_taken, items.c.shuffle)
    .limit(_CHOICE)
)
"""The least judged items of a kind that the annotator has not answered."""


def next_task(connection: Connection, annotator_id: str, rules: Rules, now: float) -> Task | None:
    """The item that the annotator has open, or a new one, or None when nothing is left for them.

    Args:
        connection: a write transaction.
        annotator_id: someone whose session was checked.
        rules: of the page.
        now: seconds since 1970.

    Raises:
        RefusedError: 401 the annotator was shut out or deleted since the session was checked.
    """
    free_expired(connection, now)
    turn = connection.execute(_TURN, {"me": annotator_id}).one_or_none()
    if turn is None:
        raise RefusedError(401, "You have no access to this page any more.")
    if turn.lease_id is not None:
        return Task(turn.lease_id, turn.started_at, _row(connection, _ITEM, turn.completion_id))
    order, position = turn.order_seed, turn.n_assigned
    tasks, honeypots = (
        connection.execute(_CANDIDATES, {"me": annotator_id, "is_honeypot": kind}).all() for kind in (False, True)
    )
    if not tasks:
        return None  # honeypots alone would be work for nothing
    wants_honeypot = is_honeypot_turn(order, position, rules.honeypot_rate)
    chosen = _pick(honeypots if wants_honeypot and honeypots else tasks, order)
    connection.execute(_COUNT_TURN, {"me": annotator_id})
    item = _row(connection, _TAKE, chosen)
    return Task(_lease(connection, annotator_id, chosen, position, rules, now), now, item)


def _row(connection: Connection, statement: Executable, completion_id: str) -> dict[str, Any]:
    return dict(connection.execute(statement, {"id": completion_id}).mappings().one())


def free_expired(connection: Connection, now: float) -> None:
    """End the leases whose time is over; an answer that comes later still counts."""
    for completion_id in connection.scalars(_EXPIRE, {"now": now}).all():
        change_taken(connection, completion_id, -1)


def change_taken(connection: Connection, completion_id: str, change: int) -> None:
    """Count a verdict or a running lease of an item more, or less."""
    connection.execute(_CHANGE_TAKEN, {"id": completion_id, "change": change})


def _pick(candidates: Sequence[Any], order_seed: int) -> str:
    """One of the least judged, by a hash that differs between annotators."""

    def place(item: Any) -> tuple[int, str]:
        return item.n_taken, hashlib.sha256(f"{order_seed}/{item.completion_id}".encode()).hexdigest()

    return str(min(candidates, key=place).completion_id)


_PAIR = (leases.c.annotator_id == bindparam("me")) & (leases.c.completion_id == bindparam("id"))
_EARLIER = select(leases.c.lease_id).where(_PAIR)
_NEW_LEASE = insert(leases)


def _lease(
    connection: Connection, annotator_id: str, completion_id: str, position: int, rules: Rules, now: float
) -> str:
    """Open an item for someone; an expired lease of the pair runs again, so that an answer sent late finds it."""
    times = {"position": position, "started_at": now, "expires_at": now + rules.lease_s, "is_running": True}
    pair = {"me": annotator_id, "id": completion_id}
    earlier: str | None = connection.scalar(_EARLIER, pair)
    if earlier is not None:
        connection.execute(update(leases).where(_PAIR).values(times), pair)
        return earlier
    lease_id = secrets.token_hex(16)
    row = {"lease_id": lease_id, "annotator_id": annotator_id, "completion_id": completion_id}
    connection.execute(_NEW_LEASE, row | times)
    return lease_id
