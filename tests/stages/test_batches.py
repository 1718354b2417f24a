import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from crlhf.annotations.raw_files import read_batches
from crlhf.errors import InputError, IntegrityError
from crlhf.stages import batches
from crlhf.stages.batches import FOLDER, LEDGER, changed_batches, read_ledger, write_batch


def row(line_no=1, **changes):
    cells = {
        "problem_id": "p/1",
        "completion_id": "c1",
        "code_sha256": "00" * 32,
        "annotator_id": "a_1",
        "line_no": line_no,
        "verdict": "ok",
        "is_honeypot": False,
        "status": "submitted",
        "submitted_at": "2025-01-01T10:01:00+00:00",
        "duration_s": 12.5,
    }
    return cells | changes


def test_batches_are_numbered_and_read_back_as_they_were_given(tmp_path):
    first = write_batch(tmp_path, [row(1), row(2, verdict="wrong", error_type="größer = ≥")], "page")
    second = write_batch(tmp_path, [row(3, batch_id="pilot")], "label_studio", name="monday")
    assert [first.name, second.name] == ["0001-page.jsonl", "0002-monday.jsonl"]
    read = read_batches([first, second])
    assert len(read.quarantine) == 0
    assert list(read.annotations["line_no"]) == [1, 2, 3]
    assert list(read.annotations["batch_id"]) == ["0001-page", "0001-page", "pilot"]
    assert list(read.annotations["source"]) == ["page", "page", "label_studio"]
    assert read.annotations["error_type"][1] == "größer = ≥"


def test_the_position_of_a_row_is_left_to_the_reader(tmp_path):
    path = write_batch(tmp_path, [row(source_file="export.json", source_row=17)], "page")
    assert "source_" not in path.read_text()


def test_a_number_is_not_used_again_when_its_batch_is_gone(tmp_path):
    write_batch(tmp_path, [row()], "page")
    write_batch(tmp_path, [row()], "page").unlink()
    assert write_batch(tmp_path, [row()], "page").name == "0003-page.jsonl"


def test_a_batch_put_there_by_hand_keeps_its_number(tmp_path):
    folder = tmp_path / FOLDER
    folder.mkdir(parents=True)
    (folder / "0041-mine.csv").write_text("x")
    assert write_batch(tmp_path, [row()], "page").name == "0042-page.jsonl"
    assert (folder / "0041-mine.csv").read_text() == "x"


def test_an_existing_file_is_never_written_over(tmp_path, monkeypatch):
    path = write_batch(tmp_path, [row()], "page")
    before = path.read_bytes()
    monkeypatch.setattr(batches, "_next_number", lambda folder, events: 1)
    with pytest.raises(IntegrityError, match="never written over"):
        write_batch(tmp_path, [row(2)], "page")
    assert path.read_bytes() == before
    assert len(read_ledger(tmp_path)) == 1


def test_writers_at_the_same_time_get_different_numbers(tmp_path):
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(lambda n: write_batch(tmp_path, [row(n)], "page"), range(1, 9)))
    assert sorted(path.name[:4] for path in paths) == [f"{n:04d}" for n in range(1, 9)]
    assert len(read_ledger(tmp_path)) == 8
    assert changed_batches(tmp_path) == []


def test_a_writer_that_dies_leaves_the_folder_as_it_was(tmp_path, monkeypatch):
    write_batch(tmp_path, [row()], "page")
    before = sorted(path.name for path in (tmp_path / FOLDER).iterdir())

    def die(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", die)
    with pytest.raises(KeyboardInterrupt):
        write_batch(tmp_path, [row(2)], "page")
    assert sorted(path.name for path in (tmp_path / FOLDER).iterdir()) == before


def test_every_event_holds_the_hash_of_the_line_before_it_and_of_its_file(tmp_path):
    first = write_batch(tmp_path, [row()], "page", facts={"inputs": ["ab"]})
    write_batch(tmp_path, [row(2)], "page")
    lines = (tmp_path / LEDGER).read_bytes().splitlines(keepends=True)
    events = [json.loads(line) for line in lines]
    assert events[0]["sha256"] == hashlib.sha256(first.read_bytes()).hexdigest()
    assert events[0]["inputs"] == ["ab"]
    assert events[0]["n_rows"] == 1
    assert [event["previous"] for event in events] == ["0" * 64, hashlib.sha256(lines[0]).hexdigest()]


def test_a_changed_ledger_is_refused(tmp_path):
    for n in (1, 2):
        write_batch(tmp_path, [row(n)], "page")
    ledger = tmp_path / LEDGER
    ledger.write_text(ledger.read_text().replace('"n_rows": 1', '"n_rows": 7', 1))
    with pytest.raises(IntegrityError, match=r"batches\.ledger: line 2 does not follow"):
        write_batch(tmp_path, [row(3)], "page")
    ledger.write_text("once upon a time\n")
    with pytest.raises(IntegrityError, match=r"batches\.ledger: line 1 is not an event"):
        read_ledger(tmp_path)


def test_a_changed_and_a_removed_batch_are_found_out(tmp_path):
    first, second, _ = (write_batch(tmp_path, [row(n)], "page") for n in (1, 2, 3))
    first.write_text(first.read_text().replace('"ok"', '"wrong"'))
    second.unlink()
    assert [sentence.split(": ", 1)[0] for sentence in changed_batches(tmp_path)] == [
        "data/annotations/0001-page.jsonl",
        "data/annotations/0002-page.jsonl",
    ]


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        (row(worker="w"), r"columns not known \['worker'\]"),
        ({key: value for key, value in row().items() if key != "line_no"}, r"without a value \['line_no'\]"),
        (row(duration_s=float("nan")), "cannot be written as JSON"),
    ],
)
def test_a_row_that_breaks_the_contract_writes_nothing(tmp_path, bad, sentence):
    with pytest.raises(IntegrityError, match=f"row 2 of a new batch.*{sentence}"):
        write_batch(tmp_path, [row(), bad], "page")
    assert not list((tmp_path / FOLDER).iterdir())


def test_an_empty_batch_and_a_name_that_is_a_path_are_refused(tmp_path):
    with pytest.raises(InputError, match="at least one row"):
        write_batch(tmp_path, [], "page")
    with pytest.raises(InputError, match="the name of a batch"):
        write_batch(tmp_path, [row()], "page", name="../up")
