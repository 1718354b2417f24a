import threading

import pytest
from sqlalchemy import func, select

from crlhf.schema import ANNOTATIONS
from crlhf.web.answers import Submission, annotation_rows, submit, submitted
from crlhf.web.assignment import next_task
from crlhf.web.refusals import RefusedError
from crlhf.web.tables import answers
from tests.web.conftest import RULES, fill, items, newcomer


def opened(database, me, now=0.0):
    with database.write() as connection:
        return next_task(connection, me, RULES, now)


def send(database, me, now=60.0, **sent):
    with database.write() as connection:
        return submit(connection, me, Submission(**{"idempotency_key": "key", **sent}), RULES, now)


def n_rows(database):
    with database.read() as connection:
        return connection.scalar(select(func.count()).select_from(answers))


def test_an_answer_becomes_one_row_for_each_judgeable_line(database):
    fill(database)
    me = newcomer(database)
    task = opened(database, me)
    send(database, me, lease_id=task.lease_id, wrong_line_nos=(3,), error_type="off by one", active_s=42.5)
    with database.read() as connection:
        rows = list(annotation_rows(submitted(connection)))
    assert [(row["line_no"], row["verdict"], row["error_type"]) for row in rows] == [
        (2, "ok", ""),
        (3, "wrong", "off by one"),
        (5, "ok", ""),
    ]
    assert set(rows[0]) == set(ANNOTATIONS.column_names) - {"source_file", "source_row"}
    assert rows[0]["duration_s"] == 42.5
    assert (rows[0]["started_at"], rows[0]["submitted_at"]) == (
        "1970-01-01T00:00:00.000+00:00",
        "1970-01-01T00:01:00.000+00:00",
    )


def test_the_second_answer_returns_the_first_and_changes_nothing(database):
    fill(database)
    me = newcomer(database)
    task = opened(database, me)
    first = send(database, me, lease_id=task.lease_id, wrong_line_nos=(3,))
    for key in ("key", "another key"):
        again = send(database, me, lease_id=task.lease_id, idempotency_key=key, is_nothing_wrong=True)
        assert again == (first.answer_no, False)
    assert n_rows(database) == 1
    with database.read() as connection:
        assert submitted(connection)[0]["wrong_line_nos"] == [3]


def test_a_key_of_another_answer_is_refused(database):
    fill(database)
    me = newcomer(database)
    send(database, me, lease_id=opened(database, me).lease_id, is_nothing_wrong=True)
    second = opened(database, me)
    with pytest.raises(RefusedError) as refused:
        send(database, me, lease_id=second.lease_id, is_nothing_wrong=True)
    assert refused.value.status == 409
    assert n_rows(database) == 1


def test_an_item_of_another_annotator_is_not_found(database):
    fill(database)
    me, other = newcomer(database), newcomer(database)
    task = opened(database, me)
    with pytest.raises(RefusedError) as refused:
        send(database, other, lease_id=task.lease_id, is_nothing_wrong=True)
    assert refused.value.status == 404


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"wrong_line_nos": (1,)},
        {"wrong_line_nos": (3, 99)},
        {"wrong_line_nos": (3,), "is_nothing_wrong": True},
        {"wrong_line_nos": (3,), "error_type": "anything"},
    ],
    ids=["says nothing", "comment line", "no such line", "says both", "unknown error"],
)
def test_an_answer_that_makes_no_sense_is_refused(database, sent):
    fill(database)
    me = newcomer(database)
    with pytest.raises(RefusedError) as refused:
        send(database, me, lease_id=opened(database, me).lease_id, **sent)
    assert refused.value.status == 422
    assert n_rows(database) == 0


@pytest.mark.parametrize(("active_s", "kept"), [(None, 60.0), (12.0, 12.0), (1e9, 60.0), (-5.0, 0.0)])
def test_time_is_what_the_browser_says_within_what_the_server_saw_and_costs_accordingly(lite, active_s, kept):
    fill(lite)
    me = newcomer(lite)
    send(lite, me, lease_id=opened(lite, me).lease_id, is_nothing_wrong=True, active_s=active_s)
    with lite.read() as connection:
        (found,) = submitted(connection)
    assert found["duration_s"] == kept
    assert found["cost"] == pytest.approx(18.0 * kept / 3600)


def test_eight_writers_lose_none_of_eight_hundred_answers(database):
    rules = RULES._replace(k=100, honeypot_rate=0.0)
    fill(database, items(n_tasks=100, n_honeypots=0), rules)
    people = [newcomer(database) for _ in range(8)]
    failures = []

    def work(me):
        try:
            for n in range(100):
                with database.write() as connection:
                    task = next_task(connection, me, rules, float(n))
                with database.write() as connection:
                    sent = Submission(task.lease_id, f"{n}", is_nothing_wrong=True)
                    submit(connection, me, sent, rules, float(n))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(me,)) for me in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert n_rows(database) == 800
