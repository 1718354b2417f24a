import threading
from collections import Counter

import pytest
from sqlalchemy import event, select

from crlhf.errors import IntegrityError
from crlhf.web import people, privacy
from crlhf.web.answers import Submission, submit, submitted
from crlhf.web.assignment import is_honeypot_turn, next_task, sync_items, want_more
from crlhf.web.refusals import RefusedError
from crlhf.web.tables import annotators
from crlhf.web.tables import items as items_table
from tests.web.conftest import RULES, fill, item, items, newcomer


def take(database, annotator_id, now, rules=RULES):
    with database.write() as connection:
        return next_task(connection, annotator_id, rules, now)


def answer(database, annotator_id, task, now, rules=RULES, **sent):
    sent = sent or {"is_nothing_wrong": True}
    with database.write() as connection:
        return submit(connection, annotator_id, Submission(task.lease_id, task.lease_id, **sent), rules, now)


def work_off(database, annotator_id, now=0.0, rules=RULES):
    done = []
    while task := take(database, annotator_id, now, rules):
        answer(database, annotator_id, task, now + 1, rules)
        done.append(task.item)
    return done


def n_taken(database):
    with database.read() as connection:
        rows = connection.execute(select(items_table.c.completion_id, items_table.c.n_taken))
        return dict(rows.all())


def test_every_completion_gets_k_verdicts_and_nobody_sees_one_twice(database):
    fill(database)
    seen = [work_off(database, newcomer(database)) for _ in range(5)]
    tasks = Counter(one["completion_id"] for done in seen for one in done if not one["is_honeypot"])
    assert tasks == {one.completion_id: 3 for one in items() if not one.is_honeypot}
    for done in seen:
        assert len({one["completion_id"] for one in done}) == len(done)


def test_a_block_of_ten_turns_holds_the_rate_of_honeypots():
    for seed in range(20):
        for block in range(5):
            turns = [is_honeypot_turn(seed, 10 * block + place, 0.2) for place in range(10)]
            assert sum(turns) == 2
    quarter = [is_honeypot_turn(seed, place, 0.25) for seed in range(200) for place in range(10)]
    assert 460 <= sum(quarter) <= 540  # 200 blocks of 2 or 3, 500 in the mean, standard deviation 7


def test_an_annotators_honeypots_come_at_the_rate(database):
    fill(database, items(n_tasks=40, n_honeypots=20))
    done = work_off(database, newcomer(database))
    assert [one["is_honeypot"] for one in done[:40]].count(True) == 8


def test_honeypots_alone_are_not_given_out(database):
    rules = RULES._replace(honeypot_rate=0.5)
    fill(database, items(n_tasks=3, n_honeypots=9), rules)
    done = work_off(database, newcomer(database), rules=rules)
    assert [one["is_honeypot"] for one in done].count(False) == 3
    assert not done[-1]["is_honeypot"]


def test_an_open_item_stays_open_and_is_the_same_on_reload(database):
    fill(database)
    me = newcomer(database)
    first, again = take(database, me, 0.0), take(database, me, 100.0)
    assert (first.lease_id, first.started_at) == (again.lease_id, again.started_at)


def test_an_expired_item_goes_to_someone_else_and_the_late_answer_still_counts(database):
    rules = RULES._replace(k=1, honeypot_rate=0.0)
    fill(database, items(n_tasks=1, n_honeypots=0), rules)
    slow, other = newcomer(database), newcomer(database)
    task = take(database, slow, 0.0, rules)
    assert take(database, other, 599.0, rules) is None
    second = take(database, other, 601.0, rules)
    assert second.item["completion_id"] == task.item["completion_id"]
    answer(database, other, second, 602.0, rules)
    assert answer(database, slow, task, 603.0, rules).is_new
    assert list(n_taken(database).values()) == [2]


def test_a_skipped_item_waits_for_someone_else_and_does_not_come_back(database):
    rules = RULES._replace(k=1, honeypot_rate=0.0)
    fill(database, items(n_tasks=1, n_honeypots=0), rules)
    me, other = newcomer(database), newcomer(database)
    answer(database, me, take(database, me, 0.0, rules), 1.0, rules, is_skipped=True)
    assert take(database, me, 2.0, rules) is None
    assert take(database, other, 3.0, rules) is not None


def test_the_order_differs_between_annotators_and_its_seed_is_a_recorded_secret(database):
    rules = RULES._replace(k=100, honeypot_rate=0.0)
    fill(database, items(n_tasks=12, n_honeypots=0), rules)
    orders, seeds = [], []
    for _ in range(2):
        me = newcomer(database)
        orders.append([one["completion_id"] for one in work_off(database, me, rules=rules)])
        with database.read() as connection:
            seeds.append(connection.scalar(select(annotators.c.order_seed).where(annotators.c.annotator_id == me)))
    assert seeds[0] != seeds[1]
    assert sorted(orders[0]) == sorted(orders[1])
    assert orders[0] != orders[1]


def test_uncertain_completions_get_more_verdicts_up_to_the_limit(database):
    rules = RULES._replace(k=1, honeypot_rate=0.0)
    shown = items(n_tasks=3, n_honeypots=0)
    fill(database, shown, rules)
    work_off(database, newcomer(database), rules=rules)
    assert take(database, newcomer(database), 5.0, rules) is None
    with database.write() as connection:
        want_more(connection, {shown[1].completion_id: 9}, rules)
    given = [one["completion_id"] for _ in range(4) for one in work_off(database, newcomer(database), 6.0, rules)]
    assert given == [shown[1].completion_id] * 2  # k + max_extra = 3 in all


def test_items_that_are_no_longer_shown_are_closed_and_come_back(database):
    shown = items(n_tasks=2, n_honeypots=0)
    fill(database, shown)
    with database.write() as connection:
        assert sync_items(connection, shown[:1], RULES) == 0
    assert len(work_off(database, newcomer(database))) == 1
    with database.write() as connection:
        assert sync_items(connection, [*shown, item(9)], RULES) == 1
    assert len(work_off(database, newcomer(database))) == 3


def test_an_item_whose_code_changed_under_its_id_is_refused(database):
    fill(database)
    with pytest.raises(IntegrityError, match="not the one that annotators were shown"), database.write() as connection:
        sync_items(connection, [items()[0]._replace(code_sha256="0" * 64)], RULES)


def test_honeypots_and_tasks_take_the_same_statements(lite):
    fill(lite, items(n_tasks=40, n_honeypots=20))
    me = newcomer(lite)
    said = []
    event.listen(lite.engine, "before_cursor_execute", lambda c, cur, text, *rest: said.append(text))
    statements = {True: set(), False: set()}
    for _ in range(30):
        said.clear()
        task = take(lite, me, 0.0)
        answer(lite, me, task, 1.0)
        statements[bool(task.item["is_honeypot"])].add(tuple(said))
    assert statements[True] == statements[False]
    assert len(statements[True]) == 1


def test_when_an_annotators_honeypots_run_out_work_goes_on_with_tasks(database):
    rules = RULES._replace(honeypot_rate=0.5)
    fill(database, items(n_tasks=20, n_honeypots=2), rules)
    done = [one["is_honeypot"] for one in work_off(database, newcomer(database), rules=rules)]
    assert (len(done), sum(done)) == (22, 2)
    assert sum(done[:10]) == 2  # they came at the rate while there were any


def test_eight_at_once_give_each_completion_k_verdicts_and_no_more(database):
    fill(database, items(n_tasks=30, n_honeypots=10))
    people_at_work = [newcomer(database) for _ in range(8)]
    done, failures = [], []

    def work(me):
        try:
            done.extend((me, one["completion_id"], one["is_honeypot"]) for one in work_off(database, me))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(me,)) for me in people_at_work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(set(done)) == len(done)
    verdicts = Counter(name for _, name, is_honeypot in done if not is_honeypot)
    assert verdicts == {one.completion_id: 3 for one in items(30, 10) if not one.is_honeypot}
    taken = n_taken(database)
    assert all(taken[name] == n for name, n in Counter(name for _, name, _ in done).items())


def test_what_is_the_same_as_before_is_not_written_again(lite):
    fill(lite)
    said = []
    event.listen(lite.engine, "before_cursor_execute", lambda c, cur, text, *rest: said.append(text.split()[0]))
    fill(lite)
    assert set(said) == {"SELECT"}


def test_whoever_is_shut_out_while_asking_gets_no_item_and_gives_no_answer(database):
    """The session was good when it was checked; the annotator is gone when the transaction begins."""
    fill(database)
    revoked, deleted = newcomer(database), newcomer(database)
    tasks = {me: take(database, me, 0.0) for me in (revoked, deleted)}
    with database.write() as connection:
        people.revoke(connection, revoked, 1.0, "test")
        privacy.forget(connection, deleted, 1.0, "test")
    for me, status in ((revoked, 401), (deleted, 401)):
        with pytest.raises(RefusedError) as refused:
            take(database, me, 2.0)
        assert refused.value.status == status
        with pytest.raises(RefusedError) as refused:
            answer(database, me, tasks[me], 2.0)
        assert refused.value.status == 404
    assert set(n_taken(database).values()) == {0}


def test_a_clock_that_is_set_back_loses_no_answer_and_ends_none_before_it_began(database):
    fill(database)
    me = newcomer(database, 1000.0)
    task = take(database, me, 1000.0)
    assert take(database, me, 400.0).lease_id == task.lease_id
    assert answer(database, me, task, 400.0).is_new
    with database.read() as connection:
        (kept,) = submitted(connection)
    assert (kept["started_at"], kept["submitted_at"], kept["duration_s"], kept["cost"]) == (1000.0, 1000.0, 0.0, 0.0)
    assert take(database, me, 400.0) is not None


def test_a_clock_that_leaps_forward_ends_leases_and_loses_no_answer(database):
    fill(database)
    me, other = newcomer(database), newcomer(database)
    task = take(database, me, 0.0)
    take(database, other, 1e9)
    assert answer(database, me, task, 1e9).is_new
    assert sum(n_taken(database).values()) == 2


def test_a_program_with_a_nul_is_kept_as_it_is(database):
    """PostgreSQL's text holds no NUL; a policy may write one."""
    shown = item(1, code="x = 1\ny = '\0'\n", line_nos=(1, 2), description="a \0 b")
    fill(database, [shown])
    task = take(database, newcomer(database), 0.0)
    assert (task.item["code"], task.item["description"]) == (shown.code, shown.description)
