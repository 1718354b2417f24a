"""What a stage wrote is what Dagster shows, and only what its last run wrote."""

from __future__ import annotations

import fcntl
import hashlib
import json
import threading
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from dagster_project import summaries
from dagster_project.previews import inline_figure, preview_table
from dagster_project.summaries import NOT_REPORTED, describe_stage, locked_outs, read_summary
from dagster_project.versions import data_version

CHECK = {"name": "rows", "passed": False, "severity": "warning", "description": "at least one row", "n_unexpected": 7}


def _write_summary(root: Path, **changes: object) -> dict[str, str | None]:
    summary = {"stage": "ppo@r1", "metrics": {"kl": 0.25, "n": 3}, "facts": {"policy": "tiny"}, "checks": [CHECK]}
    text = json.dumps({**summary, "is_simulated": True, "figures": [], **changes})
    (root / "s.json").write_text(text)
    return {"s.json": hashlib.md5(text.encode()).hexdigest()}


def _describe(root: Path, outs: dict[str, str | None], declared: list[str]):
    return describe_stage(root, "ppo@r1", outs=outs, metric_outs=["s.json"], declared_checks=declared, how="skipped")


def test_numbers_facts_and_checks_of_the_summary_are_reported(tmp_path):
    outs = _write_summary(tmp_path)
    report = _describe(tmp_path, outs, ["rows"])
    assert report.data_version == data_version(outs)
    assert report.metadata["kl"] == {"raw_value": 0.25, "type": "float"}
    assert report.metadata["n"] == {"raw_value": 3, "type": "int"}
    assert report.metadata["policy"] == {"raw_value": "tiny", "type": "text"}
    assert report.metadata["outcome"]["raw_value"] == "skipped"
    assert "simulated" in report.metadata["crowd"]["raw_value"]
    (check,) = report.checks
    assert (check.name, check.passed, check.severity) == ("rows", False, "WARN")
    assert check.metadata["rows that broke it"]["raw_value"] == 7


def test_a_declared_check_that_the_stage_does_not_report_fails(tmp_path):
    report = _describe(tmp_path, _write_summary(tmp_path), ["rows", "forgotten"])
    assert [(check.name, check.passed, check.severity) for check in report.checks] == [
        ("rows", False, "WARN"),
        ("forgotten", False, "ERROR"),
    ]
    assert report.checks[1].metadata["result"]["raw_value"] == NOT_REPORTED


def test_a_reported_check_that_is_not_declared_is_named(tmp_path):
    report = _describe(tmp_path, _write_summary(tmp_path), [])
    assert report.checks == ()
    assert report.metadata["undeclared checks"]["raw_value"] == "rows"


def test_a_summary_of_another_stage_or_of_another_run_does_not_count(tmp_path):
    outs = _write_summary(tmp_path)
    assert read_summary(tmp_path, "ppo@r1", outs)["stage"] == "ppo@r1"
    assert read_summary(tmp_path, "ppo@r2", outs) == {}
    _write_summary(tmp_path, metrics={"kl": 0.5})
    assert read_summary(tmp_path, "ppo@r1", outs) == {}
    (tmp_path / "s.json").write_text("[1]")
    assert read_summary(tmp_path, "ppo@r1", {"s.json": hashlib.md5(b"[1]").hexdigest()}) == {}


def test_lock_hashes_stay_text_whatever_they_look_like(tmp_path):
    (tmp_path / "dvc.lock").write_text(
        "stages:\n  a@b:\n    cmd: x\n    outs:\n    - path: t\n      md5: 00000000000000000000000000000012\n"
    )
    assert locked_outs(tmp_path, "a@b") == {"t": "00000000000000000000000000000012"}
    assert locked_outs(tmp_path, "a") == {}


def test_a_table_preview_is_short_and_cannot_break_the_page(tmp_path):
    cells = ["<img onerror=x>|`a`\nb", "y" * 100, None, "d", "e", "f"]
    pq.write_table(pa.table({"n": [1 / 3] * 6, "text": cells}), tmp_path / "t.parquet")
    preview = preview_table(tmp_path / "t.parquet")
    assert preview.n_rows == 6
    assert preview.columns == (("n", "double"), ("text", "string"))
    assert preview.markdown.splitlines() == [
        "| n | text |",
        "| --- | --- |",
        "| 0.3333 | &lt;img onerror=x&gt;&#124;&#96;a&#96; ⏎ b |",
        f"| 0.3333 | {'y' * 47}… |",
        "| 0.3333 |  |",
        "| 0.3333 | d |",
        "| 0.3333 | e |",
        "",
        "first 5 of 6 rows",
    ]


def test_an_empty_table_shows_its_columns(tmp_path):
    pq.write_table(pa.table({"n": pa.array([], pa.int64())}), tmp_path / "t.parquet")
    assert preview_table(tmp_path / "t.parquet").markdown == "| n |\n| --- |"


def test_a_figure_carries_its_bytes_and_a_missing_one_is_named(tmp_path):
    (tmp_path / "f.png").write_bytes(b"abc")
    assert inline_figure(tmp_path / "f.png") == "![f](data:image/png;base64,YWJj)"
    assert inline_figure(tmp_path / "gone.png") == "gone.png is not there"


LOCK = """schema: '2.0'
stages:
  first:
    outs:
    - path: a
      md5: '1'
  ppo@r1:
    outs:
    - path: b
      md5: '2'
"""


def _write_slowly(root: Path, half: str, *, is_locked: bool) -> threading.Thread:
    """A DVC that has written `half` of dvc.lock, and writes the rest a moment later."""
    (root / ".dvc" / "tmp").mkdir(parents=True)
    (root / "dvc.lock").write_text(half)
    lock = (root / ".dvc" / "tmp" / "lock").open("w")
    if is_locked:
        fcntl.flock(lock, fcntl.LOCK_EX)

    def write() -> None:
        time.sleep(0.3)
        (root / "dvc.lock").write_text(LOCK)
        lock.close()

    writer = threading.Thread(target=write)
    writer.start()
    return writer


@pytest.mark.parametrize(
    ("half", "is_locked"),
    [
        ("", True),  # just emptied
        (LOCK[: LOCK.index("  ppo")], True),  # good YAML, and the stage is not there
        ("", False),
        (LOCK[:-3], False),  # a text without its end
    ],
)
def test_a_lock_file_that_dvc_is_writing_is_read_whole(tmp_path, half, is_locked):
    writer = _write_slowly(tmp_path, half, is_locked=is_locked)
    assert locked_outs(tmp_path, "ppo@r1") == {"b": "2"}
    writer.join()


def test_a_dvc_that_keeps_its_lock_does_not_stop_the_reader(tmp_path, monkeypatch):
    monkeypatch.setattr(summaries, "WRITE_S", 0.1)
    (tmp_path / ".dvc" / "tmp").mkdir(parents=True)
    (tmp_path / "dvc.lock").write_text(LOCK)
    with (tmp_path / ".dvc" / "tmp" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert locked_outs(tmp_path, "first") == {"a": "1"}
    (tmp_path / "dvc.lock").write_text("a: '")
    with pytest.raises(yaml.YAMLError):
        locked_outs(tmp_path, "first")
