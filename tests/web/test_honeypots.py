"""Nothing that the page sends tells a honeypot from a task: bytes, lengths, headers, fields, order, work done."""

import re
from collections import Counter, defaultdict

import pytest
from sqlalchemy import select

from crlhf.web import code_view
from crlhf.web.assignment import is_honeypot_turn
from crlhf.web.tables import items as items_table
from crlhf.web.tables import leases
from tests.web.conftest import CODE, RULES, item
from tests.web.served import Served, hidden_fields, post

N_TURNS = 24
KINDS = (False, True)


@pytest.fixture
def served(lite):
    """Sixty programs of one length, every other one a honeypot; half of the turns are honeypots'."""
    shown = [item(n, is_honeypot=n % 2 == 1, code=f"# {n}\n{CODE}") for n in range(100, 160)]
    return Served(lite, shown, RULES._replace(honeypot_rate=0.5, k=50))


def is_honeypot(served, lease_id):
    query = select(items_table.c.is_honeypot).join(leases).where(leases.c.lease_id == lease_id)
    with served.database.read() as connection:
        return bool(connection.scalar(query))


def without_numbers(text):
    """Random ids and every number left out: what remains is the page itself."""
    return re.sub(r"\d+", "0", re.sub(r"[0-9a-f]{32}", "-", text))


def exchange(client, turn):
    """Everything that one item can make the page say, by the name of the request."""
    first = client.get("/task")
    fields = hidden_fields(first.text)
    said = {"open": first, "open again": client.get("/task")}
    said["no verdict"] = post(client, "/task", fields)
    said["a comment line marked"] = post(client, "/task", fields | {"line": "1"})
    said["unknown error"] = post(client, "/task", fields | {"line": "3", "error_type": "none of these"})
    kind = [{"nothing": "1"}, {"line": ["2", "3"], "error_type": "other", "comment": "why"}, {"skip": "1"}][turn % 3]
    said[f"answer {turn % 3}"] = post(client, "/task", fields | kind)
    said[f"answer {turn % 3} again"] = post(client, "/task", fields | kind)
    said["old form"] = post(client, "/task", fields | {"line": "5"})
    return fields, said


def test_responses_over_many_honeypots_and_tasks_are_alike(served):
    seen = {kind: defaultdict(set) for kind in KINDS}
    lengths, ids = defaultdict(set), {kind: [] for kind in KINDS}
    for _ in range(6):
        client = served.annotator()
        for turn in range(N_TURNS):
            served.now += 20  # within the rate limits
            fields, said = exchange(client, turn)
            kind = is_honeypot(served, fields["lease_id"])
            ids[kind].append("".join(fields.values()))
            assert list(fields) == ["lease_id", "idempotency_key"]
            assert all(re.fullmatch("[0-9a-f]{32}", value) for value in fields.values())
            for name, answer in said.items():
                headers = tuple((key, without_numbers(value)) for key, value in answer.headers.multi_items())
                seen[kind][name].add((answer.status_code, headers, without_numbers(answer.text)))
                lengths[name, turn].add(len(answer.content))
    assert min(map(len, ids.values())) >= 60
    assert seen[False] == seen[True]
    assert {name: len(answers) for name, answers in seen[True].items()} == dict.fromkeys(seen[True], 1)
    assert all(len(found) == 1 for found in lengths.values())  # at one turn, whatever the item and whoever asks
    shares = [[Counter(digits) for digits in zip(*ids[kind], strict=True)] for kind in KINDS]
    for of_tasks, of_honeypots in zip(*shares, strict=True):  # each place of the ids holds each digit equally often
        for digit in "0123456789abcdef":
            difference = of_tasks[digit] / len(ids[False]) - of_honeypots[digit] / len(ids[True])
            assert abs(difference) < 0.25  # standard deviation sqrt(2 / 60 * 15 / 256) = 0.044


def test_a_copy_of_ones_data_has_the_same_fields_for_both(served):
    client = served.annotator()
    kinds = {}
    for turn in range(N_TURNS):
        served.now += 20
        fields, _ = exchange(client, turn)
        kinds[turn] = is_honeypot(served, fields["lease_id"])
    copied = client.get("/my-data").json()
    shapes = defaultdict(set)
    for table in ("answers", "leases"):
        in_order = sorted(copied[table], key=lambda row: row["started_at"])
        for turn, row in enumerate(in_order):
            shapes[kinds[turn], table].add(tuple((key, type(value)) for key, value in row.items()))
    assert shapes[False, "answers"] == shapes[True, "answers"]
    assert shapes[False, "leases"] == shapes[True, "leases"]


def test_a_program_that_is_shown_often_is_drawn_no_faster_than_a_new_one(served, monkeypatch):
    """Honeypots are shown to everybody, tasks to k people: drawing must not be what a first look waits for."""

    def highlighting(code, language):
        raise AssertionError("a page was highlighted when somebody asked for it")

    monkeypatch.setattr(code_view, "_tokens", highlighting)
    client = served.annotator()
    for turn in range(9):
        exchange(client, turn)


def test_each_place_of_a_block_is_a_honeypots_equally_often():
    n = 4000
    counts = [sum(is_honeypot_turn(seed, place, 0.2) for seed in range(n)) for place in range(10)]
    assert sum(counts) == 2 * n
    expected = n / 5  # standard deviation sqrt(4000 * 0.2 * 0.8) = 25.3; four of them
    assert all(abs(count - expected) < 102 for count in counts)


def test_a_turn_says_nothing_about_the_next_block():
    n = 4000
    both = sum(is_honeypot_turn(seed, 3, 0.2) and is_honeypot_turn(seed, 13, 0.2) for seed in range(n))
    assert abs(both - n / 25) < 50  # standard deviation sqrt(4000 * 0.04 * 0.96) = 12.4; four of them
