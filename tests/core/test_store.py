"""Atomic writes, schema checks and the journal."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from crlhf.errors import DiskFullError, IntegrityError, MissingInputError
from crlhf.schema import LINE_TRUTHS, TABLES
from crlhf.store import TABLE_PATHS, Journal, Store, atomic_write, read_json, table_schema, write_json, write_table

ROOT = Path(__file__).parents[2]


def truths(**changes):
    columns = {
        "completion_id": ["a", "a"],
        "line_no": [1, 2],
        "is_wrong": [True, False],
        "method": ["syntax", "syntax"],
    }
    return pd.DataFrame(columns | changes)


def test_a_table_comes_back_as_it_was_written(tmp_path):
    store = Store(tmp_path, "r1")
    store.write("line_truths", truths())
    pd.testing.assert_frame_equal(store.read("line_truths"), truths())


def test_equal_tables_have_equal_bytes_whatever_the_index_and_column_order(tmp_path):
    write_table(tmp_path / "a", LINE_TRUTHS, truths())
    write_table(
        tmp_path / "b", LINE_TRUTHS, truths()[["method", "is_wrong", "line_no", "completion_id"]].set_index([[7, 9]])
    )
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("frame", "word"),
    [
        (truths(method=["syntax", None]), "method: 1 nulls"),
        (truths(line_no=[1, 1]), "1 rows repeat a key"),
        (truths(line_no=["1", "x"]), "column line_no"),
        (truths(extra=[0, 0]), "not declared \\['extra'\\]"),
        (truths().drop(columns="method"), "missing \\['method'\\]"),
    ],
)
def test_a_frame_that_breaks_its_schema_is_refused_by_name(tmp_path, frame, word):
    with pytest.raises(IntegrityError, match=word):
        write_table(tmp_path / "t", LINE_TRUTHS, frame)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_table_says_which_file_and_what_to_do(tmp_path):
    with pytest.raises(MissingInputError, match=r"problems\.parquet: no such file; run the stage"):
        Store(tmp_path, "r1").read("problems")


def test_a_cut_table_is_an_integrity_error(tmp_path):
    store = Store(tmp_path, "r1")
    path = store.write("line_truths", truths())
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(IntegrityError, match="not a whole Parquet file"):
        store.read("line_truths")


def test_a_table_of_another_schema_is_an_integrity_error(tmp_path):
    store = Store(tmp_path, "r1")
    path = store.table_path("line_truths")
    path.parent.mkdir(parents=True)
    pd.DataFrame({"x": [1]}).to_parquet(path)
    with pytest.raises(IntegrityError, match="not those of the table line_truths"):
        store.read("line_truths")


def test_a_failed_write_leaves_the_old_file_and_no_temporary_one(tmp_path):
    target = tmp_path / "t.json"
    write_json(target, {"old": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(target, {"new": float("nan")})
    with pytest.raises(RuntimeError), atomic_write(target) as file:
        file.write(b"half")
        raise RuntimeError
    assert read_json(target) == {"old": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["t.json"]


def test_a_full_disk_is_a_clear_error_and_keeps_the_old_file(tmp_path, monkeypatch):
    target = tmp_path / "t.json"
    write_json(target, {"old": 1})

    def no_room(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_room)
    with pytest.raises(DiskFullError, match="no space left on the disk"):
        write_json(target, {"new": 1})
    assert json.loads(target.read_text()) == {"old": 1}


def test_a_journal_keeps_finished_pieces_and_drops_a_cut_line(tmp_path):
    path = tmp_path / "j.jsonl"
    journal = Journal(path, "key")
    journal.append("a", [1, 2])
    journal.append("b", {"x": "\u2028"})
    with path.open("a") as file:
        file.write('{"name": "c", "val')
    reopened = Journal(path, "key")
    assert reopened.entries == {"a": [1, 2], "b": {"x": "\u2028"}}
    reopened.append("c", 3)
    assert Journal(path, "key").entries == {"a": [1, 2], "b": {"x": "\u2028"}, "c": 3}


def test_a_journal_of_other_inputs_starts_anew(tmp_path):
    Journal(tmp_path / "j", "old").append("a", 1)
    assert Journal(tmp_path / "j", "new").entries == {}


def test_a_journal_survives_kill_9_between_appends(tmp_path):
    path = tmp_path / "j.jsonl"
    program = (
        "import os, sys, pathlib\nfrom crlhf.store import Journal\n"
        f"journal = Journal(pathlib.Path({str(path)!r}), 'k')\n"
        "for n in range(1000):\n    journal.append(str(n), n)\n    print(n, flush=True)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    for line in child.stdout:
        if line == "20\n":
            child.send_signal(signal.SIGKILL)
            break
    child.wait()
    entries = Journal(path, "k").entries
    assert len(entries) >= 21
    assert list(entries) == [str(n) for n in range(len(entries))]


def test_dvc_yaml_and_the_store_name_the_same_tables():
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    named = set()
    for stage in stages.values():
        outs = stage.get("do", stage)["outs"]
        named |= {out.replace("${key}", "{round}") for out in outs if isinstance(out, str) and out.endswith(".parquet")}
    assert named == set(TABLE_PATHS.values())


def test_every_stored_table_has_a_declared_schema_with_its_key_in_it():
    for name in TABLE_PATHS:
        table = table_schema(name)
        assert table in TABLES
        assert set(table.key) <= set(table.column_names)
