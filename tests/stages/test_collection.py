"""Rounds of people: when one waits, what it takes, when it is closed; and every verdict counts exactly once."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml

from crlhf.crowd.items import item_row, items_frame
from crlhf.errors import IntegrityError, WaitingError
from crlhf.languages import python
from crlhf.stages.batches import FOLDER, FORGOTTEN, LEDGER, read_ledger, write_batch
from crlhf.stages.collection import (
    awaited_rounds,
    close_round,
    closing,
    is_ready,
    progress_of,
    state_of_files,
)
from crlhf.stages.crowd_record import read_record
from crlhf.stages.forgetting import forget_annotator
from crlhf.stages.results import describe_rounds
from crlhf.stages.runner import execute
from crlhf.store import Store

ROOT = Path(__file__).parents[2]
CODE = "def f(a):\n    return a"


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A project of two rounds of people, two verdicts a completion; the items of round r1 are made."""
    monkeypatch.setenv("CRLHF_TRACKING", "off")
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    values["rounds"] = {"r1": {"prev": "base"}, "r2": {"prev": "r1"}}
    values["policies"] = {"base": {}, "r1": {}, "r2": {}}
    values["crowd"] |= {"source": "collected", "verdicts_per_completion": 2}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    make_items(tmp_path, "r1")
    return tmp_path


def make_items(root, name):
    """Two completions, `<name>-c1` and `<name>-c2`, and a honeypot whose second line is wrong."""
    rows = [item_row(f"{name}-{which}", "p/1", f"{CODE}  # {name} {which}", python) for which in ("c1", "c2", "pot")]
    rows[2] |= {"is_honeypot": True, "wrong_line_nos": [2], "origin": "reference", "fault_kind": "x"}
    Store(root, name).write("items", items_frame(rows))


def answer(root, completion, annotator, *marked, at="10:00"):
    """The rows of one whole answer."""
    items = pd.concat([Store(root, name).read("items") for name in ("r1", "r2") if Store(root).has("items", name)])
    item = items.set_index("completion_id").loc[completion]
    return [
        {
            "problem_id": "p/1",
            "completion_id": completion,
            "code_sha256": item["code_sha256"],
            "annotator_id": annotator,
            "line_no": line_no,
            "verdict": "wrong" if line_no in marked else "ok",
            "is_honeypot": bool(item["is_honeypot"]),
            "status": "submitted",
            "submitted_at": f"2025-01-01T{at}:00Z",
            "duration_s": 9.0,
        }
        for line_no in item["line_nos"]
    ]


def deliver(root, *answers):
    return write_batch(root, [row for one in answers for row in one], "page")


def deliver_round(root, name):
    """Everything that a round needs, from two annotators, each of whom saw the honeypot."""
    which = [(f"{name}-{c}", a) for c in ("c1", "c2", "pot") for a in ("ann", "bob")]
    return deliver(root, *(answer(root, completion, annotator) for completion, annotator in which))


def run(root, stage, name):
    said = []
    execute(stage, root, said.append, name)
    return said


def keys(root, name, table="validated"):
    rows = Store(root, name).read(table)
    return {tuple(row) for row in rows[["annotator_id", "completion_id", "line_no"]].itertuples(index=False)}


def test_a_round_waits_and_says_for_what_and_writes_nothing(root):
    with pytest.raises(WaitingError, match="waiting: 0 of 2 completions have the 2 verdicts they need"):
        run(root, "annotations", "r1")
    deliver(root, answer(root, "r1-c1", "ann"), answer(root, "r1-c1", "bob"), answer(root, "r1-c2", "ann"))
    with pytest.raises(WaitingError, match="waiting: 1 of 2 completions have the 2 verdicts they need") as caught:
        run(root, "annotations", "r1")
    assert caught.value.exit_code == 75
    assert not Store(root, "r1").has("annotations")
    assert [event["event"] for event in read_ledger(root)] == ["written"]
    assert awaited_rounds(root) == ["r1"]
    assert describe_rounds(root) == [
        "r1 (after base): waiting: 1 of 2 completions have the 2 verdicts they need",
        "r2 (after r1): not begun",
    ]


def test_a_round_that_waits_is_not_over_though_it_has_a_policy_of_another_crowd(root):
    params = (root / "params.yaml").read_text()
    (root / "params.yaml").write_text(params.replace("source: collected", "source: simulated"))
    for name in ("annotations", "ppo_steps"):  # as a simulated round leaves them; only whether they are there matters
        Store(root, "r1").table_path(name).write_bytes(b"")
    assert describe_rounds(root)[0] == "r1 (after base): over; its policy is models/r1"
    (root / "params.yaml").write_text(params)
    waiting = (
        "r1 (after base): waiting: {} of 2 completions have the 2 verdicts they need; models/r1 is an older policy, "
        "from other verdicts"
    )
    assert describe_rounds(root)[0] == waiting.format(0)
    assert awaited_rounds(root) == ["r1"]
    Store(root, "r1").table_path("annotations").unlink()  # as DVC does before it runs the stage
    deliver(root, answer(root, "r1-c1", "ann"), answer(root, "r1-c1", "bob"))
    assert describe_rounds(root)[0] == waiting.format(1)
    deliver(root, answer(root, "r1-c2", "ann"), answer(root, "r1-c2", "bob"))
    assert describe_rounds(root)[0] == "r1 (after base): has its verdicts; `dvc repro` goes on"
    run(root, "annotations", "r1")
    assert describe_rounds(root)[0] == "r1 (after base): over; its policy is models/r1"


def test_an_annotator_who_answers_twice_is_one_verdict_and_a_broken_answer_is_none(root):
    deliver(root, answer(root, "r1-c1", "ann"), answer(root, "r1-c1", "ann", 2, at="11:00"))
    deliver(root, answer(root, "r1-c1", "bob")[:1])  # one of its two lines is missing
    assert progress_of(root, "r1") == (0, 2, 2)


def test_with_all_verdicts_the_round_goes_on_is_closed_and_keeps_its_batches(root):
    batch = deliver_round(root, "r1")
    assert is_ready(root, "r1")
    run(root, "annotations", "r1")
    event = closing(Store(root, "r1"))
    assert [entry["file"] for entry in event["files"]] == [batch.name]
    first = Store(root, "r1").table_path("annotations").read_bytes()
    deliver(root, answer(root, "r1-c1", "cyd", 2))
    run(root, "annotations", "r1")  # run again for whatever reason, it takes what it took
    assert Store(root, "r1").table_path("annotations").read_bytes() == first
    assert len([event for event in read_ledger(root) if event["event"] == "closed"]) == 1
    assert awaited_rounds(root) == []
    items = Store(root, "r1").read("items")
    Store(root, "r1").write("items", items.assign(fault_kind=["", "", "y"]))  # made anew: the round is open again
    assert awaited_rounds(root) == ["r1"]


def test_asking_for_fewer_verdicts_is_news_to_who_watches_the_files(root):
    deliver(root, answer(root, "r1-c1", "ann"), answer(root, "r1-c2", "ann"))
    before = state_of_files(root, "r1")
    values = yaml.safe_load((root / "params.yaml").read_text())
    (root / "params.yaml").write_text(yaml.safe_dump(values, width=200))  # nothing that the round waits for
    assert (state_of_files(root, "r1"), is_ready(root, "r1")) == (before, False)
    values["crowd"]["verdicts_per_completion"] = 1
    (root / "params.yaml").write_text(yaml.safe_dump(values))
    assert is_ready(root, "r1")
    assert state_of_files(root, "r1") != before


def test_new_items_open_the_round_anew(root):
    deliver_round(root, "r1")
    run(root, "annotations", "r1")
    make_items(root, "r1")
    assert closing(Store(root, "r1")) is not None  # the same items again
    rows = [item_row(f"new-{which}", "p/1", CODE, python) for which in ("c1", "c2")]
    Store(root, "r1").write("items", items_frame(rows))
    assert closing(Store(root, "r1")) is None
    with pytest.raises(WaitingError, match="0 of 2"):
        run(root, "annotations", "r1")


def test_late_verdicts_join_the_next_round_and_every_verdict_counts_exactly_once(root):
    deliver_round(root, "r1")
    for stage in ("annotations", "validated", "reliabilities"):
        run(root, stage, "r1")
    late = [answer(root, "r1-pot", "cyd", 2), answer(root, "r1-c1", "cyd", 2)]
    again = answer(root, "r1-c1", "ann", 2, at="12:00")  # has counted in r1, and stands
    deliver(root, *late, again)
    make_items(root, "r2")
    deliver_round(root, "r2")
    for stage in ("annotations", "validated", "reliabilities"):
        run(root, stage, "r2")
    own = {("ann", f"r2-{c}", n) for c in ("c1", "c2", "pot") for n in (1, 2)}
    own |= {("bob", completion, n) for _, completion, n in own}
    cyd = {("cyd", "r1-pot", 1), ("cyd", "r1-pot", 2), ("cyd", "r1-c1", 1), ("cyd", "r1-c1", 2)}
    assert keys(root, "r2") == own | cyd
    assert not keys(root, "r1") & keys(root, "r2")
    quarantine = Store(root, "r2").read("quarantine")
    assert list(quarantine["rule"]) == ["not_counted_before"] * 2
    # nothing is lost: 12 rows of r1, then 6 late ones and 12 of r2
    n_rows = [len(Store(root, name).read("annotations")) for name in ("r1", "r2")]
    assert n_rows == [12, 18]
    assert len(keys(root, "r1")) + len(keys(root, "r2")) + len(quarantine) == sum(n_rows)
    # the late answer on the honeypot is evidence: cyd found its one wrong line
    record = read_record(Store(root), "r2").reliabilities.set_index("annotator_id")
    assert record.loc["cyd", "n_honeypots"] == 1
    assert record.loc["cyd", "sensitivity"] > record.loc["ann", "sensitivity"]
    assert keys(root, "r2", "known_verdicts") == keys(root, "r1") | keys(root, "r2")


def test_a_round_is_closed_by_hand_and_what_comes_later_is_late(root):
    deliver(root, answer(root, "r1-c1", "ann"))
    assert str(close_round(root, "r1")) == "0 of 2 completions have the 2 verdicts they need"
    close_round(root, "r1")
    deliver(root, answer(root, "r1-c1", "bob"))
    run(root, "annotations", "r1")
    assert keys(root, "r1", "annotations") == {("ann", "r1-c1", 1), ("ann", "r1-c1", 2)}
    assert [event["event"] for event in read_ledger(root)] == ["written", "closed", "written"]


def test_a_batch_that_was_changed_is_an_error_not_another_round(root):
    batch = deliver_round(root, "r1")
    run(root, "annotations", "r1")
    batch.write_text(batch.read_text().replace('"ok"', '"wrong"'))
    with pytest.raises(IntegrityError, match="not as it was written"):
        run(root, "annotations", "r1")


def test_files_put_there_by_hand_are_guarded_once_their_round_is_closed(root):
    batch = deliver_round(root, "r1")
    by_hand = root / FOLDER / "mine.jsonl"
    shutil.move(batch, by_hand)
    (root / LEDGER).unlink()
    run(root, "annotations", "r1")
    by_hand.write_text(by_hand.read_text() + json.dumps(answer(root, "r1-c1", "cyd")[0]) + "\n")
    with pytest.raises(IntegrityError, match=r"mine\.jsonl"):
        run(root, "annotations", "r1")


def test_the_state_of_the_files_changes_with_a_batch_and_with_nothing_else(root):
    before = state_of_files(root, "r1")
    assert state_of_files(root, "r1") == before
    deliver(root, answer(root, "r1-c1", "ann"))
    assert state_of_files(root, "r1") != before


def test_an_annotator_who_was_away_is_remembered_with_forgetting(root):
    deliver_round(root, "r1")
    for stage in ("annotations", "validated", "reliabilities"):
        run(root, stage, "r1")
    make_items(root, "r2")
    answers = [answer(root, f"r2-{c}", a) for c in ("c1", "c2") for a in ("cyd", "dee")]
    deliver(root, *answers)
    for stage in ("annotations", "validated", "reliabilities"):
        run(root, stage, "r2")
    table = Store(root, "r2").read("reliabilities")
    assert set(table["annotator_id"]) == {"cyd", "dee"}
    first, second = (read_record(Store(root), name).reliabilities.set_index("annotator_id") for name in ("r1", "r2"))
    assert set(second.index) == {"ann", "bob", "cyd", "dee"}
    prior = 0.5  # Beta(2, 2) of params.yaml; ann missed the wrong line of the honeypot
    assert first.loc["ann", "sensitivity"] < second.loc["ann", "sensitivity"] < prior


def test_a_forgotten_annotator_goes_from_a_closed_round_too(root):
    deliver_round(root, "r1")
    only_ann = deliver(root, answer(root, "r1-c1", "ann", at="12:00"))
    run(root, "annotations", "r1")
    forget_annotator(root, "ann")
    assert not only_ann.exists()
    assert len((root / FORGOTTEN).read_text().splitlines()) == 1
    run(root, "annotations", "r1")
    assert {annotator for annotator, _, _ in keys(root, "r1", "annotations")} == {"bob"}
