"""Between the page and the project: what is shown, what answers say, and batches that are written exactly once."""

import json
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from crlhf.annotations.raw_files import read_batches
from crlhf.errors import InputError, MissingInputError
from crlhf.evaluation.problems import load_starter
from crlhf.params import load_params
from crlhf.stages import page as stage
from crlhf.stages import page_batches
from crlhf.stages.batches import FOLDER, read_ledger
from crlhf.stages.collection import close_round, closing
from crlhf.stages.forgetting import forget_annotator
from crlhf.store import Store
from crlhf.web import backups, people, privacy
from crlhf.web.answers import Submission, annotation_rows, submit, submitted
from crlhf.web.assignment import next_task, sync_items
from crlhf.web.database import default_url, open_database
from tests.web.project import make_project

ROOT = Path(__file__).parents[2]


class Crowd:
    """A project, its page's database, and simulated annotators who answer there."""

    def __init__(self, root, **size):
        self.root = root
        self.store = make_project(root, **size)
        self.rules = stage.rules_of(load_params(root / "params.yaml"))
        self.database = open_database(default_url(root))
        with self.database.write() as connection:
            sync_items(connection, stage.items_to_show(root), self.rules)
        self.key = {row.completion_id: row.wrong_line_nos for row in self.store.read("items").itertuples()}
        self.now = 1_750_000_000.0

    def annotate(self, judge, seconds=30.0, most=1000):
        """A new annotator who answers everything; `judge` gives the lines to mark, from the item."""
        with self.database.write() as connection:
            (made,) = people.invite(connection, 1, "", self.now, "test")
            people.join(connection, made.token, self.now)
        for n in range(most):
            with self.database.write() as connection:
                task = next_task(connection, made.annotator_id, self.rules, self.now)
                if task is None:
                    break
                self.now += seconds
                marked = tuple(judge(task.item))
                sent = Submission(task.lease_id, f"{n}", marked, is_nothing_wrong=not marked)
                submit(connection, made.annotator_id, sent, self.rules, self.now)
        return made.annotator_id

    def estimates(self):
        with self.database.read() as connection:
            rows = list(annotation_rows(submitted(connection)))
        return stage.estimates_of(self.root, rows)

    def truth(self, item):
        """What a perfect annotator marks; of completions, that the even ones end in a wrong line."""
        known = self.key[item["completion_id"]]
        return known if known is not None else ([item["line_nos"][-1]] if "not " in item["code"] else [])


@pytest.fixture
def crowd(tmp_path):
    made = Crowd(tmp_path)
    yield made
    made.database.close()


def test_items_come_with_their_problems_description_and_examples(tmp_path):
    make_project(tmp_path)
    shown = {one.problem_id: one for one in stage.items_to_show(tmp_path)}
    one = shown["starter/2"]
    assert one.description.startswith("Write a function to return the name of the cheapest product")
    assert one.examples[1] == "cheapest_item({}) is None"
    assert len(one.examples) == stage.N_EXAMPLES
    assert one.language == "python"
    assert not hasattr(one, "wrong_line_nos")


def test_without_items_the_stage_to_run_is_named(tmp_path):
    shutil.copy(ROOT / "params.yaml", tmp_path / "params.yaml")
    Store(tmp_path).write("problems", load_starter(ROOT / "data/starter/problems.jsonl"))
    with pytest.raises(MissingInputError, match="run the stage that makes it"):
        stage.items_to_show(tmp_path)


def test_collected_rows_are_what_the_page_accepted(crowd):
    crowd.annotate(crowd.truth)
    (path,) = page_batches.collect(crowd.root, crowd.database, crowd.now, print)
    with crowd.database.read() as connection:
        accepted = list(annotation_rows(submitted(connection)))
    written = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row | {"batch_id": "page"} for row in written] == accepted
    assert page_batches.collect(crowd.root, crowd.database, crowd.now, print) == []
    crowd.annotate(crowd.truth, most=2)
    (second,) = page_batches.collect(crowd.root, crowd.database, crowd.now, print)
    assert (path.name[:10], second.name[:10]) == ("0001-page-", "0002-page-")
    read = read_batches([path, second])
    assert len(read.quarantine) == 0
    assert read.annotations["annotator_id"].nunique() == 2


KILLED = """
import os, signal, sys
from pathlib import Path
from crlhf.stages import batches, page_batches
from crlhf.web import collection
from crlhf.web.database import default_url, open_database

def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

place = sys.argv[2]
if place == "after the claim":
    page_batches.write_batch = die
elif place == "between file and ledger":
    batches.append_event = die
else:
    collection.mark_written = die
root = Path(sys.argv[1])
page_batches.collect(root, open_database(default_url(root)), 1.0, print)
"""


@pytest.mark.parametrize("place", ["after the claim", "between file and ledger", "before the mark"])
def test_a_collection_killed_anywhere_is_written_exactly_once(crowd, place):
    crowd.annotate(crowd.truth)
    died = subprocess.run([sys.executable, "-c", KILLED, crowd.root, place], cwd=ROOT)
    assert died.returncode == -signal.SIGKILL
    crowd.annotate(crowd.truth)
    written = page_batches.collect(crowd.root, crowd.database, crowd.now, print)
    assert len(written) == 2
    assert page_batches.collect(crowd.root, crowd.database, crowd.now, print) == []
    rows = [json.loads(line) for path in sorted((crowd.root / FOLDER).glob("*.jsonl")) for line in path.open()]
    with crowd.database.read() as connection:
        accepted = list(annotation_rows(submitted(connection)))
    found = sorted((row["annotator_id"], row["completion_id"], row["line_no"], row["verdict"]) for row in rows)
    assert found == sorted(
        (row["annotator_id"], row["completion_id"], row["line_no"], row["verdict"]) for row in accepted
    )


def test_after_a_restore_nothing_is_collected_twice(crowd, tmp_path):
    crowd.annotate(crowd.truth, most=5)
    backups.backup(crowd.database, tmp_path / "old.backup")
    page_batches.collect(crowd.root, crowd.database, crowd.now, print)
    _, found = page_batches.restore(crowd.root, crowd.database, tmp_path / "old.backup", crowd.now, replace=True)
    assert found == page_batches.Reconciled(n_known=5, n_forgotten=0)
    assert page_batches.collect(crowd.root, crowd.database, crowd.now, print) == []
    crowd.annotate(crowd.truth, most=1)
    assert len(page_batches.collect(crowd.root, crowd.database, crowd.now, print)) == 1


def test_a_deleted_annotators_claim_is_closed_without_a_batch(crowd):
    from crlhf.web import collection, privacy

    me = crowd.annotate(crowd.truth, most=2)
    with crowd.database.write() as connection:
        collection.claim(connection, 1.0)
    with crowd.database.write() as connection:
        privacy.forget(connection, me, 2.0, "test")
    assert page_batches.collect(crowd.root, crowd.database, crowd.now, print) == []
    with crowd.database.read() as connection:
        assert collection.unfinished(connection) == []


def test_reliability_and_its_moves_and_the_suspects_are_found(tmp_path, monkeypatch):
    ids = random.Random(6)  # pseudonyms decide on the order of items, so they are drawn alike every time
    monkeypatch.setattr(secrets, "token_hex", lambda n: ids.randbytes(n).hex())
    crowd = Crowd(tmp_path, n_problems=16, n_honeypots=16)
    draw = random.Random(5)

    def well(item):
        wrong = crowd.truth(item)
        return [n for n in item["line_nos"] if draw.random() < (0.85 if n in wrong else 0.06)]

    good = [crowd.annotate(well) for _ in range(3)]
    lazy = crowd.annotate(lambda item: [], seconds=30.0)
    hasty = crowd.annotate(well, seconds=0.3)
    copied = {}

    def first(item):
        return copied.setdefault(item["completion_id"], [n for n in item["line_nos"] if draw.random() < 0.4])

    crowd.rules = crowd.rules._replace(k=50)
    with crowd.database.write() as connection:
        connection.exec_driver_sql("UPDATE items SET n_wanted = 50 WHERE NOT is_honeypot")
    pair = [crowd.annotate(first), crowd.annotate(first)]
    found = crowd.estimates()
    crowd.database.close()
    kinds = {(one.annotator_id, one.kind) for one in found.suspects}
    assert (lazy, "lazy") in kinds
    assert (hasty, "too fast") in kinds
    assert {(one, "copying") for one in pair} <= kinds
    assert not {who for who, _ in kinds} & set(good)
    by_id = {one.annotator_id: one for one in found.annotators}
    assert by_id[good[0]].sensitivity.low > by_id[lazy].sensitivity.high
    steps = by_id[good[0]].steps
    assert [step.n_honeypots for step in steps] == list(range(1, by_id[good[0]].n_honeypots + 1))
    assert steps[-1].sensitivity.value > steps[0].sensitivity.value
    assert steps[-1].sensitivity.high - steps[-1].sensitivity.low < steps[0].sensitivity.high - steps[0].sensitivity.low
    assert 0 < found.agreement < 1


def test_a_round_that_closes_while_an_item_is_open_keeps_its_answer_for_the_next(crowd):
    with crowd.database.write() as connection:
        (made,) = people.invite(connection, 1, "", crowd.now, "test")
        people.join(connection, made.token, crowd.now)
        task = next_task(connection, made.annotator_id, crowd.rules, crowd.now)
    crowd.annotate(crowd.truth)
    (first,) = page_batches.collect(crowd.root, crowd.database, crowd.now, print)
    close_round(crowd.root, "r1")
    assert stage.items_to_show(crowd.root) == []
    with crowd.database.write() as connection:
        sync_items(connection, [], crowd.rules)
        again = next_task(connection, made.annotator_id, crowd.rules, crowd.now + 5)
        assert again.lease_id == task.lease_id
        sent = Submission(task.lease_id, "late", is_nothing_wrong=True)
        assert submit(connection, made.annotator_id, sent, crowd.rules, crowd.now + 9).is_new
        assert next_task(connection, made.annotator_id, crowd.rules, crowd.now + 10) is None
    (second,) = page_batches.collect(crowd.root, crowd.database, crowd.now, print)
    rows = [json.loads(line) for line in second.read_text().splitlines()]
    assert {(row["annotator_id"], row["completion_id"]) for row in rows} == {
        (made.annotator_id, task.item["completion_id"])
    }
    assert [entry["file"] for entry in closing(crowd.store)["files"]] == [first.name]  # the round stays as it was
    assert crowd.estimates().annotators  # and the page still knows its people


def test_who_was_forgotten_stays_forgotten_when_an_older_backup_is_restored(crowd, tmp_path):
    gone, stays = crowd.annotate(crowd.truth, most=4), crowd.annotate(crowd.truth, most=3)
    backups.backup(crowd.database, tmp_path / "old.backup")
    page_batches.collect(crowd.root, crowd.database, crowd.now, print)
    with crowd.database.write() as connection:
        privacy.forget(connection, gone, crowd.now, "test")
    forget_annotator(crowd.root, gone)
    _, found = page_batches.restore(crowd.root, crowd.database, tmp_path / "old.backup", crowd.now, replace=True)
    assert found == page_batches.Reconciled(n_known=3, n_forgotten=1)
    with crowd.database.read() as connection:
        assert privacy.annotator_ids(connection) == [stays]
    assert page_batches.collect(crowd.root, crowd.database, crowd.now, print) == []
    assert gone not in "".join(path.read_text() for path in (crowd.root / FOLDER).glob("*.jsonl"))


def test_who_is_deleted_while_answers_are_collected_is_in_the_batch_or_nowhere(crowd):
    me = crowd.annotate(crowd.truth, most=3)
    deleted = []

    def delete():
        deleted.append(privacy.delete_annotator(crowd.database, stage.sources(crowd.root), me, crowd.now, "test"))

    thread = threading.Thread(target=delete)
    with page_batches.collecting(crowd.root):
        thread.start()
        thread.join(0.5)
        assert thread.is_alive()  # it waits, outside of any transaction
        with crowd.database.write() as connection:
            assert privacy.annotator_ids(connection) == [me]
    thread.join(20)
    assert deleted == [privacy.Deleted(n_answers=3, n_collected=0)]
    assert page_batches.collect(crowd.root, crowd.database, crowd.now, print) == []
    with pytest.raises(InputError, match="no such annotator"):
        delete()
    events = [event for event in read_ledger(crowd.root) if event["event"] == "forgotten"]
    assert [(event["n_rows"], event["files"]) for event in events] == [(0, [])]


def test_more_verdicts_are_asked_for_where_annotators_disagree(crowd):
    by_code = {}
    for n in range(5):
        crowd.annotate(lambda item, n=n: by_code.setdefault(item["code"], item["line_nos"])[: 2 * (n % 2)])
    wanted = crowd.estimates().n_more
    limit = load_params(crowd.root / "params.yaml").page.max_extra_verdicts
    assert wanted
    assert set(wanted.values()) <= set(range(limit + 1))
    assert max(wanted.values()) == limit
    store = Store(crowd.root, "r1")
    honeypots = store.read("items").query("is_honeypot")["completion_id"]
    assert not set(wanted) & set(honeypots)


def test_two_collectors_at_once_write_everything_once(crowd):
    crowd.annotate(crowd.truth)
    program = "from crlhf.cli import main; main()"
    command = [sys.executable, "-c", program, "--root", str(crowd.root), "collect"]
    running = [subprocess.Popen(command, cwd=ROOT, env=os.environ, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait() for process in running] == [0, 0]
    assert len(list((crowd.root / FOLDER).glob("*.jsonl"))) == 1
