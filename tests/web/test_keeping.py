"""Collections, backups, and the data of one person."""

import gzip
import time
from pathlib import Path

import pytest
from sqlalchemy import select

from crlhf.errors import InputError, IntegrityError, MissingInputError
from crlhf.web import backups, collection, people, privacy, progress, tables
from crlhf.web.database import open_database
from tests.web.conftest import RULES, fill, items, newcomer
from tests.web.served import Served, answer_fields, post
from tests.web.test_assignment import answer, n_taken, take, work_off


def everything(database):
    with database.read() as connection:
        return {
            table.name: [dict(row) for row in connection.execute(select(table).order_by(*table.primary_key)).mappings()]
            for table in tables.metadata.sorted_tables
        }


def test_each_answer_is_claimed_once(database):
    fill(database)
    first, second = newcomer(database), newcomer(database)
    n = len(work_off(database, first))
    with database.write() as connection:
        one = collection.claim(connection, 10.0)
        assert collection.claim(connection, 11.0) is None
    n += len(work_off(database, second))
    with database.write() as connection:
        two = collection.claim(connection, 12.0)
        assert collection.unfinished(connection) == [one, two]
        collection.mark_written(connection, one, "0001-page.jsonl")
        assert collection.unfinished(connection) == [two]
        rows = [row for claimed in (one, two) for row in collection.rows_of(connection, claimed)]
    assert len({(row["annotator_id"], row["completion_id"]) for row in rows}) == n
    assert len(rows) == 3 * n  # each item has three judgeable lines


def test_a_backup_restores_to_the_same_rows_in_either_database(database, tmp_path):
    fill(database)
    work_off(database, newcomer(database))
    take(database, newcomer(database), 5.0)
    backups.backup(database, tmp_path / "page.backup")
    other = open_database(f"sqlite:///{tmp_path}/other.sqlite3")
    backups.restore(other, tmp_path / "page.backup")
    assert everything(other) == everything(database)
    backups.restore(database, tmp_path / "page.backup", replace=True)
    assert everything(other) == everything(database)
    me = newcomer(database)
    answer(database, me, take(database, me, 6.0), 7.0)  # numbers go on after the restored ones
    other.close()


def test_a_damaged_backup_changes_nothing(lite, tmp_path):
    fill(lite)
    work_off(lite, newcomer(lite))
    path = tmp_path / "page.backup"
    backups.backup(lite, path)
    before = everything(lite)
    whole = gzip.decompress(path.read_bytes())
    for content in (path.read_bytes()[:-20], gzip.compress(whole.replace(b"add two", b"add 222", 1)), b"no backup"):
        path.write_bytes(content)
        with pytest.raises(IntegrityError, match="nothing was restored"):
            backups.restore(lite, path, replace=True)
    assert everything(lite) == before
    with pytest.raises(MissingInputError):
        backups.restore(lite, tmp_path / "none", replace=True)


def test_answers_are_not_replaced_by_mistake(lite, tmp_path):
    fill(lite)
    backups.backup(lite, tmp_path / "page.backup")
    work_off(lite, newcomer(lite))
    with pytest.raises(InputError, match="--replace"):
        backups.restore(lite, tmp_path / "page.backup")


def test_a_copy_of_ones_data_holds_the_answers_and_no_hash(database):
    fill(database)
    me, other = newcomer(database), newcomer(database)
    done = work_off(database, me)
    work_off(database, other)
    with database.read() as connection:
        copied = privacy.copy_of(connection, me)
    assert len(copied["answers"]) == len(done)
    assert {row["annotator_id"] for row in copied["answers"]} == {me}
    assert "sha256" not in str(copied)


def test_a_deleted_annotator_leaves_no_trace_and_frees_the_items(database):
    rules = RULES._replace(honeypot_rate=0.0)
    fill(database, items(n_tasks=4, n_honeypots=0), rules)
    me, other = newcomer(database), newcomer(database)
    n = len(work_off(database, me, rules=rules))
    take(database, other, 0.0, rules)
    with database.write() as connection:
        collection.claim(connection, 5.0)
    with database.write() as connection:
        assert privacy.forget(connection, me, 9.0, "test") == privacy.Deleted(n, n)
    assert me not in str(everything(database))
    assert sorted(n_taken(database).values()) == [0, 0, 0, 1]
    with pytest.raises(InputError, match="no such annotator"), database.write() as connection:
        privacy.forget(connection, me, 10.0, "test")


def test_a_reader_delays_the_scrubbing_of_the_log_for_a_moment_only(lite, tmp_path):
    served = Served(lite)
    client = served.annotator()
    post(client, "/task", answer_fields(client) | {"comment": "SECRET-COMMENT"})
    (me,) = {row["annotator_id"] for row in everything(lite)["answers"]}
    log = Path(f"{lite.engine.url.database}-wal")
    operator = served.client(served.operator_session(), "operator")
    with lite.read() as reading:
        reading.execute(select(tables.answers)).all()  # a snapshot, as a backup has one
        began = time.monotonic()
        assert post(operator, f"/operator/annotators/{me}/delete", {"confirm": me}).status_code == 200
        assert time.monotonic() - began < 10  # SQLite's own patience is 30 s
        assert not lite.is_scrubbed
        assert b"SECRET-COMMENT" in log.read_bytes()
    assert lite.scrub()
    assert b"SECRET-COMMENT" not in log.read_bytes()
    assert b"SECRET-COMMENT" not in Path(str(lite.engine.url.database)).read_bytes()


def test_progress_counts_completions_verdicts_time_and_cost(database):
    fill(database, items(n_tasks=4, n_honeypots=2))
    for _ in range(2):
        work_off(database, newcomer(database))
    with database.read() as connection:
        (found,) = progress.rounds(connection)
        workers = progress.workers(connection)
        per_completion = progress.costs(connection)
    assert (found.n_completions, found.n_complete, found.n_wanted, found.n_verdicts) == (4, 0, 12, 8)
    assert found.share == pytest.approx(8 / 12)
    n_given = found.n_verdicts + found.n_honeypot_answers  # each took a second, at 18 an hour
    assert found.hours == pytest.approx(n_given / 3600)
    assert found.cost == pytest.approx(n_given * 0.005)
    assert sum(worker.n_answers for worker in workers) == n_given
    assert sum(row["cost"] for row in per_completion) == pytest.approx(found.cost)
    work_off(database, newcomer(database))
    with database.read() as connection:
        assert progress.rounds(connection)[0].n_complete == 4


def test_a_pause_is_remembered(database):
    with database.write() as connection:
        assert not progress.is_paused(connection)
        progress.set_paused(connection, True)
    with database.read() as connection:
        assert progress.is_paused(connection)


def test_a_database_that_cannot_be_used_is_one_sentence(tmp_path):
    (tmp_path / "text").write_text("this is no database, " * 300)
    with pytest.raises(IntegrityError, match="not a database"):
        open_database(f"sqlite:///{tmp_path}/text")
    with pytest.raises(InputError, match="not in mysql"):
        open_database("mysql://host/name")
    for nowhere in ("sqlite://", "sqlite:///:memory:"):
        with pytest.raises(InputError, match="not in memory"):
            open_database(nowhere)
    with pytest.raises(InputError, match="not one"):
        open_database("nonsense")
    with pytest.raises(MissingInputError, match="crlhf serve"):
        open_database(f"sqlite:///{tmp_path}/none.sqlite3", must_exist=True)


def test_a_revoked_annotators_open_item_goes_to_others(database):
    rules = RULES._replace(k=1, honeypot_rate=0.0)
    fill(database, items(n_tasks=1, n_honeypots=0), rules)
    me, other = newcomer(database), newcomer(database)
    take(database, me, 0.0, rules)
    assert take(database, other, 1.0, rules) is None
    with database.write() as connection:
        people.revoke(connection, me, 2.0, "test")
    assert take(database, other, 3.0, rules) is not None


def test_after_a_deletion_the_files_hold_nothing_of_it_any_more(tmp_path):
    database = open_database(f"sqlite:///{tmp_path}/page.sqlite3")
    fill(database)
    me = newcomer(database)
    answer(database, me, take(database, me, 0.0), 1.0, wrong_line_nos=(3,), comment="a most peculiar remark")

    def bytes_on_disk():
        return b"".join(path.read_bytes() for path in tmp_path.glob("page.sqlite3*"))

    assert b"a most peculiar remark" in bytes_on_disk()
    with database.write() as connection:
        privacy.forget(connection, me, 2.0, "test")
    database.scrub()
    assert b"a most peculiar remark" not in bytes_on_disk()
    assert me.encode() not in bytes_on_disk()
    database.close()


def test_the_files_are_for_their_owner_only(tmp_path):
    database = open_database(f"sqlite:///{tmp_path}/page.sqlite3")
    fill(database)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == dict.fromkeys(["page.sqlite3", "page.sqlite3-wal", "page.sqlite3-shm"], 0o600)
    database.close()
