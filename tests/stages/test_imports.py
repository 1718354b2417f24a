"""The verbs import, export and forget in a project of four programs."""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crlhf.annotations.importers import IMPORTERS
from crlhf.annotations.importers.opened import Opened
from crlhf.annotations.importers.raw_table import guarded, unguarded
from crlhf.annotations.pseudonyms import Pseudonyms
from crlhf.annotations.raw_files import read_batches
from crlhf.annotations.rules import split_rows
from crlhf.errors import InputError, IntegrityError, MissingInputError, ParamsError
from crlhf.schema import ANNOTATIONS
from crlhf.stages.annotator_key import KEY_FILE, SETTING, read_key
from crlhf.stages.batches import FOLDER, changed_batches, read_ledger, write_batch
from crlhf.stages.collection import batch_files, close_round
from crlhf.stages.exports import export_to
from crlhf.stages.forgetting import forget_annotator
from crlhf.stages.imports import Options, import_files
from crlhf.stages.runner import execute
from crlhf.store import Store
from tests.annotations.importers.crowd import CRLF, EMOJI, HONEYPOT, PLAIN, canonical, in_order, items
from tests.annotations.importers.crowd import FOLDER as FIXTURES

ROOT = Path(__file__).parents[2]
ALL = ("label-studio.json", "argilla.json", "mturk.csv", "toloka.tsv", "crowd-kit.csv", "raw-table.jsonl")


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.delenv(SETTING, raising=False)
    root = tmp_path / "project"
    root.mkdir()
    shutil.copy(ROOT / "params.yaml", root)
    Store(root, "r1").write("items", items())
    problems = pd.DataFrame(
        [
            {"problem_id": f"starter/{n}", "source": "starter", "split": "train", "language": "python",
             "kind": "description", "prompt": f"Problem {n}", "entry_point": "f", "setup_code": "", "reference": "",
             "tests": []}
            for n in range(1, 5)
        ]
    )  # fmt: skip
    Store(root).write("problems", problems)
    return root


def run(root, *names, **options):
    return import_files(root, [FIXTURES / name for name in names], Options(**options))


def table(root):
    return read_batches(batch_files(root)).annotations


def test_an_import_is_a_batch_in_the_ledger_that_validation_accepts(project):
    lines, is_clean = run(project, "label-studio.json")
    assert is_clean
    assert lines[-1] == "  30 new verdicts -> data/annotations/0001-label-studio.jsonl"
    event = read_ledger(project)[0]
    assert event["inputs"][0]["file"] == "label-studio.json"
    assert event["n_rows"] == 30
    assert changed_batches(project) == []
    split = split_rows(table(project), items())
    assert len(split.good) == 30
    assert split.quarantine.empty
    assert set(table(project)["batch_id"]) == {"0001-label-studio"}


def test_several_files_are_a_batch_each(project):
    lines, is_clean = run(project, *ALL)
    assert is_clean
    assert len(batch_files(project)) == 6
    assert split_rows(table(project), items()).quarantine.empty
    assert sum("30 new verdicts" in line for line in lines) == 6


def test_the_same_file_again_adds_nothing_and_says_so(project):
    run(project, "mturk.csv")
    before = {path: path.read_bytes() for path in (project / FOLDER).iterdir()}
    lines, is_clean = run(project, "mturk.csv")
    assert is_clean
    said = "nothing to add: all of its verdicts are there already; this very file was imported as 0001-mturk.jsonl"
    assert lines[-1].strip() == said
    assert {path: path.read_bytes() for path in (project / FOLDER).iterdir()} == before


def test_the_same_file_twice_in_one_command_is_added_once(project):
    run(project, "mturk.csv", "mturk.csv")
    assert len(table(project)) == 30


def test_an_export_that_holds_the_last_one_adds_what_is_new(project, tmp_path):
    tasks = json.loads((FIXTURES / "label-studio.json").read_text())
    (tmp_path / "monday.json").write_text(json.dumps(tasks[:2]))
    import_files(project, [tmp_path / "monday.json"], Options())
    lines, _ = run(project, "label-studio.json")
    assert lines[-1].startswith("  15 new verdicts, 15 are there already")
    assert len(table(project)) == 30


def test_a_status_that_is_known_later_does_not_double_the_vote(project):
    run(project, "argilla-nested.json")
    lines, _ = run(project, "argilla.json")
    assert "nothing to add" in lines[-1]


def test_a_rejection_after_the_import_is_kept_and_said(project, tmp_path):
    run(project, "mturk.csv")
    text = (FIXTURES / "mturk.csv").read_text().replace('"Approved"', '"Rejected"', 1)
    (tmp_path / "later.csv").write_text(text)
    lines, _ = import_files(project, [tmp_path / "later.csv"], Options())
    assert "  3 verdicts have another status than when they were imported; the earlier rows still count" in lines
    assert (table(project)["status"] == "rejected").sum() == 3


def test_of_two_answers_to_one_program_the_later_counts_and_the_earlier_is_superseded(project, tmp_path):
    tasks = json.loads((FIXTURES / "label-studio.json").read_text())
    again = tasks[0]["annotations"][0] | {"id": 2000, "result": [], "updated_at": "2025-03-16T08:00:00Z"}
    tasks[0]["annotations"].append(again)
    (tmp_path / "a.json").write_text(json.dumps(tasks))
    lines, is_clean = import_files(project, [tmp_path / "a.json"], Options())
    assert is_clean
    assert "  33 new verdicts" in lines[-1]
    split = split_rows(table(project), items())
    assert set(split.set_aside["status"]) == {"superseded"}
    assert split.set_aside["verdict"].tolist() == ["ok", "wrong", "ok"]
    assert len(split.good) == 30
    assert split.good.query("submitted_at.str.startswith('2025-03-16')")["verdict"].tolist() == ["ok"] * 3


def test_two_imports_at_the_same_time_add_the_rows_once(project):
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: run(project, "mturk.csv"), range(2)))
    assert len(table(project)) == 30
    assert changed_batches(project) == []


def test_bad_rows_go_to_quarantine_and_the_good_ones_go_on(project, tmp_path):
    tasks = json.loads((FIXTURES / "label-studio.json").read_text())
    tasks[0]["data"] = {"completion_id": "beef"}
    (tmp_path / "a.json").write_text(json.dumps(tasks))
    lines, is_clean = import_files(project, [tmp_path / "a.json"], Options())
    assert not is_clean
    assert any("a.json: 3 rows in quarantine (completion_known 3)" in line for line in lines)
    quarantine = pd.read_parquet(next((project / "data/quarantine").iterdir()))
    assert quarantine["source_row"].tolist() == [1, 2, 3]
    assert "'beef'" in quarantine["reason"][0]
    assert len(table(project)) == 21
    import_files(project, [tmp_path / "a.json"], Options(quarantine=tmp_path / "bad.parquet"))
    assert len(pd.read_parquet(tmp_path / "bad.parquet")) == 3


def test_the_quarantine_of_a_file_goes_when_its_programs_are_known(project):
    Store(project, "r1").write("items", items()[1:].reset_index(drop=True))
    assert not run(project, "mturk.csv")[1]
    assert len(list((project / "data/quarantine").iterdir())) == 1
    Store(project, "r1").write("items", items())
    assert run(project, "mturk.csv")[1]
    assert list((project / "data/quarantine").iterdir()) == []
    assert len(table(project)) == 30


def test_one_unusable_file_stops_everything_before_anything_is_written(project, tmp_path):
    (tmp_path / "bad.json").write_text("nonsense")
    with pytest.raises(InputError, match=r"bad\.json: no known format"):
        import_files(project, [FIXTURES / "mturk.csv", tmp_path / "bad.json"], Options())
    assert batch_files(project) == ()


def test_a_dry_run_writes_no_batch_and_no_quarantine(project):
    lines, _ = run(project, "mturk.csv", dry_run=True)
    assert lines[-1] == "  30 new verdicts; nothing was written (--dry-run)"
    assert batch_files(project) == ()


def test_gold_is_compared_with_the_projects_and_written_when_asked(project, tmp_path):
    lines, _ = run(project, "label-studio.json", gold=tmp_path / "gold.csv")
    assert not any("warning" in line for line in lines)
    assert (tmp_path / "gold.csv").read_text() == f"task,label\n{HONEYPOT}:1,0\n{HONEYPOT}:2,1\n"
    tasks = json.loads((FIXTURES / "label-studio.json").read_text())
    tasks[3]["annotations"][0]["result"] = []
    tasks[0]["annotations"][0]["ground_truth"] = True
    (tmp_path / "a.json").write_text(json.dumps(tasks))
    lines, _ = import_files(project, [tmp_path / "a.json"], Options())
    assert any(f"{HONEYPOT}: the key in the tool has wrong lines [], the project's [2]" in line for line in lines)
    assert any(f"{PLAIN} has a honeypot's key in the tool, and is no honeypot here" in line for line in lines)


# ---------------------------------------------------------------- the key


def test_the_key_is_made_once_and_only_its_owner_reads_it(project):
    key = read_key(project)
    assert len(key) == 32
    assert stat.S_IMODE((project / KEY_FILE).stat().st_mode) == 0o600
    assert read_key(project) == key


def test_a_key_that_others_read_or_that_is_none_is_refused(project):
    path = project / KEY_FILE
    read_key(project)
    path.chmod(0o644)
    with pytest.raises(InputError, match="chmod 600"):
        read_key(project)
    path.chmod(0o600)
    path.write_text("short")
    with pytest.raises(IntegrityError, match="not a key"):
        read_key(project)


def test_the_setting_says_where_the_key_is(project, tmp_path, monkeypatch):
    monkeypatch.setenv(SETTING, str(tmp_path / "keys" / "k"))
    read_key(project)
    assert (tmp_path / "keys" / "k").exists()
    assert not (project / KEY_FILE).exists()


def test_another_key_than_before_is_refused_unless_accepted(project):
    run(project, "mturk.csv")
    (project / KEY_FILE).unlink()
    with pytest.raises(InputError, match="the key that earlier imports used is missing"):
        run(project, "crowd-kit.csv")
    assert not (project / KEY_FILE).exists()
    read_key(project)
    with pytest.raises(InputError, match="not the key that earlier imports used"):
        run(project, "crowd-kit.csv")
    run(project, "crowd-kit.csv", accept_new_key=True)
    assert len(table(project)) == 60


def test_the_key_is_ignored_by_git_and_dvc():
    root = Path(__file__).parents[2]
    ignored = (root / ".gitignore").read_text().splitlines()
    assert f"/{KEY_FILE}*" in ignored
    assert "/data/quarantine/" in ignored
    assert KEY_FILE in (root / ".dvcignore").read_text()


# ---------------------------------------------------------------- export


def keep(root):
    """The raw table and the validated one, as their stages write them."""
    raw = table(root)
    Store(root, "r1").write("annotations", raw)
    Store(root, "r1").write("validated", split_rows(raw, items()).good)
    return raw


def test_json_lines_come_back_to_the_byte(project, tmp_path):
    run(project, "label-studio.json")
    keep(project)
    export_to(project, "jsonl", None, tmp_path / "out.jsonl")
    batch = batch_files(project)[0]
    assert (tmp_path / "out.jsonl").read_bytes() == batch.read_bytes()
    again = tmp_path / "again"
    shutil.copytree(project / "data/rounds", again / "data/rounds")
    shutil.copy(ROOT / "params.yaml", again)
    shutil.copy(project / KEY_FILE, again / KEY_FILE)
    import_files(again, [tmp_path / "out.jsonl"], Options())
    assert batch_files(again)[0].read_bytes() == batch.read_bytes()
    assert "nothing to add" in import_files(project, [tmp_path / "out.jsonl"], Options())[0][-1]


def test_pseudonyms_that_another_tool_made_are_not_hashed_when_they_come_back(project, tmp_path):
    rows = [json.loads(line) for line in (FIXTURES / "raw-table.jsonl").read_text().splitlines()]
    write_batch(project, rows, "page")
    keep(project)
    for format_name in ("jsonl", "csv"):
        export_to(project, format_name, None, tmp_path / f"o.{format_name}")
        assert "nothing to add" in import_files(project, [tmp_path / f"o.{format_name}"], Options())[0][-1]
    export_to(project, "crowd-kit", None, tmp_path / "labels.csv")
    lines, _ = import_files(project, [tmp_path / "labels.csv"], Options())
    assert lines[-1] == "  nothing to add: all of its verdicts are there already"
    text = (tmp_path / "labels.csv").read_text()
    (tmp_path / "labels.csv").write_text(text.replace(f"{PLAIN}:3,ann,1", f"{PLAIN}:3,ann,0"))
    lines, _ = import_files(project, [tmp_path / "labels.csv"], Options())
    assert lines[-1].startswith("  1 new verdicts, 29 are there already")
    split = split_rows(table(project), items())
    assert set(split.good["annotator_id"]) == {"ann", "bob", "cyd"}
    assert set(split.good["source"]) == {"page"}  # what has no time takes nobody's place
    assert len(split.set_aside) == 1


@pytest.mark.parametrize("table_name", ["annotations", "validated"])
def test_verdicts_of_the_simulated_crowd_do_not_come_back_as_those_of_people(project, tmp_path, table_name):
    rows = read_batches([FIXTURES / "raw-table.jsonl"]).annotations.assign(source="simulated")
    Store(project, "r1").write(table_name, rows)
    export_to(project, "crowd-kit", table_name, tmp_path / "labels.csv")
    lines, _ = import_files(project, [tmp_path / "labels.csv"], Options(dry_run=True))
    assert lines[-1] == "  nothing to add: all of its verdicts are there already"


def test_a_rejected_verdict_does_not_count_after_a_format_without_statuses(project, tmp_path):
    text = (FIXTURES / "mturk.csv").read_text().replace('"Approved"', '"Rejected"')
    (tmp_path / "rejected.csv").write_text(text)
    import_files(project, [tmp_path / "rejected.csv"], Options())
    keep(project)
    export_to(project, "crowd-kit", "annotations", tmp_path / "labels.csv")
    assert "nothing to add" in import_files(project, [tmp_path / "labels.csv"], Options())[0][-1]
    assert len(table(project)) == 30


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)

FORMULAS = st.sampled_from(["=1+1", "'=1", "-x", "@a", "\tx", "+1", "''=", 'a,b"c'])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(words=st.lists(TEXTS | FORMULAS, min_size=3, max_size=3), duration=st.floats(0, 1e9))
def test_any_words_come_back_through_json_lines_exactly_and_through_csv_but_for_line_breaks(
    project, tmp_path, words, duration
):
    raw = canonical()[:0]
    rows = in_order(canonical())
    rows = rows[(rows["annotator_id"] == "ann") & (rows["completion_id"] == PLAIN)].assign(
        error_type=words, duration_s=duration, batch_id="b", started_at="", source="page", source_file="f",
        source_row=[1, 2, 3],
    )  # fmt: skip
    raw = rows[list(ANNOTATIONS.column_names)]
    Store(project, "r1").write("annotations", raw)
    for format_name in ("jsonl", "csv"):
        shutil.rmtree(project / FOLDER, ignore_errors=True)
        export_to(project, format_name, None, tmp_path / f"o.{format_name}")
        import_files(project, [tmp_path / f"o.{format_name}"], Options(keep_ids=True))
        back = table(project)
        expected = words if format_name == "jsonl" else [flat(word) for word in words]
        assert back["error_type"].tolist() == expected
        assert back["duration_s"].tolist() == [duration] * 3
        same = [name for name in ANNOTATIONS.column_names if name not in ("error_type", "source_file", "source_row")]
        pd.testing.assert_frame_equal(back[same], raw[same].reset_index(drop=True), check_dtype=False)


def flat(word):
    return word.replace("\r\n", " ").replace("\r", " ").replace("\n", " ")


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "'=1", "''@x"])
def test_a_formula_is_guarded_and_given_back(text):
    assert guarded(text) == f"'{text}"
    assert unguarded(guarded(text)) == text


@pytest.mark.parametrize("text", ["", "'", "it's", "'quoted'", "a=1"])
def test_other_text_is_left_alone(text):
    assert guarded(text) == text
    assert unguarded(text) == text


def test_no_cell_of_the_csv_export_begins_like_a_formula(project, tmp_path):
    raw = canonical()[:3].assign(
        error_type=["=cmd|' /C calc'!A0", "\rx", "@x"], batch_id="-b", started_at="", source="+s", source_file="f",
        source_row=[1, 2, 3],
    )  # fmt: skip
    Store(project, "r1").write("annotations", raw[list(ANNOTATIONS.column_names)])
    export_to(project, "csv", None, tmp_path)
    lines = (tmp_path / "annotations.csv").read_text().splitlines()
    assert len(lines) == 4
    cells = [cell.strip('"') for line in lines for cell in line.split(",")]
    assert not [cell for cell in cells if cell[:1] in "=+-@\t\r" and cell]


def test_crowd_kit_gets_the_verdicts_that_count_and_the_honeypots_truth(project, tmp_path):
    run(project, "label-studio.json")
    keep(project)
    lines = export_to(project, "crowd-kit", None, tmp_path / "labels.csv")
    labels = pd.read_csv(tmp_path / "labels.csv")
    assert list(labels.columns) == ["task", "worker", "label"]
    wrong = labels[labels["label"] == 1]["task"].value_counts().to_dict()
    assert wrong == {
        f"{PLAIN}:3": 2,
        f"{EMOJI}:3": 2,
        f"{EMOJI}:2": 1,
        f"{CRLF}:3": 2,
        f"{CRLF}:2": 1,
        f"{HONEYPOT}:2": 2,
    }
    assert (tmp_path / "labels-gold.csv").read_text() == f"task,label\n{HONEYPOT}:1,0\n{HONEYPOT}:2,1\n"
    assert lines[0] == "30 verdicts (validated, all rounds)"


def test_simulated_verdicts_are_said_to_be_simulated(project, tmp_path):
    run(project, "label-studio.json")
    raw = keep(project)
    Store(project, "r1").write("validated", raw.assign(source="simulated"))
    assert any("simulated crowd" in line for line in export_to(project, "crowd-kit", None, tmp_path))


def test_label_studio_tasks_do_not_tell_honeypots_apart_and_come_back(project, tmp_path):
    export_to(project, "label-studio", None, tmp_path)
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    assert [list(task) for task in tasks] == [["data"]] * 4
    assert {tuple(task["data"]) for task in tasks} == {("completion_id", "code_sha256", "task", "code", "lines")}
    ids = [task["data"]["completion_id"] for task in tasks]
    assert ids == sorted(ids)
    text = (tmp_path / "tasks.json").read_text().lower()
    assert not [word for word in ("honeypot", "gold", "origin", "fault", "wrong_line") if word in text]
    config = (tmp_path / "labeling-config.xml").read_text()
    assert 'value="$lines"' in config
    # one paragraph a line: mark the second of the last program, as Label Studio would give it back
    assert [line["text"].replace("\u00a0", " ") for line in tasks[3]["data"]["lines"]] == [
        "def last(xs):",
        "    return xs[1]",
        " ",
    ]
    value = {"start": "1", "end": "1", "startOffset": 0, "endOffset": 9, "paragraphlabels": ["WRONG"]}
    annotation = {"id": 1, "completed_by": 10, "created_at": "2025-01-01T10:00:00Z",
                  "result": [{"type": "paragraphlabels", "value": value}]}  # fmt: skip
    (tmp_path / "back.json").write_text(json.dumps([{"id": 4, **tasks[3], "annotations": [annotation]}]))
    import_files(project, [tmp_path / "back.json"], Options())
    assert table(project)[["completion_id", "line_no", "verdict"]].to_numpy().tolist() == [
        [HONEYPOT, 1, "ok"],
        [HONEYPOT, 2, "wrong"],
    ]


def two_rounds(project):
    """The first two programs in round r1, the others in r2."""
    values = yaml.safe_load((project / "params.yaml").read_text())
    values["rounds"] = {"r1": {"prev": "base"}, "r2": {"prev": "r1"}}
    values["policies"] = {"base": {}, "r1": {}, "r2": {}}
    values["crowd"] |= {"source": "collected", "verdicts_per_completion": 1}
    (project / "params.yaml").write_text(yaml.safe_dump(values))
    Store(project, "r1").write("items", items()[:2].reset_index(drop=True))
    Store(project, "r2").write("items", items()[2:].reset_index(drop=True))


def test_programs_of_every_round_are_known_and_exported(project, tmp_path):
    two_rounds(project)
    assert run(project, "label-studio.json")[1]
    good = split_rows(table(project), items()).good
    for name, ids in (("r1", [PLAIN, EMOJI]), ("r2", [CRLF, HONEYPOT])):
        Store(project, name).write("validated", good[good["completion_id"].isin(ids)])
    export_to(project, "crowd-kit", None, tmp_path / "all.csv")
    assert len(pd.read_csv(tmp_path / "all.csv")) == 30
    lines = export_to(project, "crowd-kit", None, tmp_path / "one.csv", "r1")
    assert lines[0] == "15 verdicts (validated, round r1)"
    export_to(project, "label-studio", None, tmp_path)
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    assert [task["data"]["completion_id"] for task in tasks] == [CRLF, HONEYPOT]
    with pytest.raises(ParamsError, match="no round r9; its rounds are r1, r2"):
        export_to(project, "jsonl", None, tmp_path, "r9")


def test_an_unknown_export_lists_them_all(project, tmp_path):
    with pytest.raises(InputError, match="choose one of crowd-kit, label-studio, csv, jsonl"):
        export_to(project, "xml", None, tmp_path)
    with pytest.raises(InputError, match="leave --rows out"):
        export_to(project, "label-studio", "validated", tmp_path)
    with pytest.raises(MissingInputError, match=r"validated\.parquet"):
        export_to(project, "crowd-kit", None, tmp_path)


# ---------------------------------------------------------------- forget


def holds(root, text):
    """Files below the root that hold a text, the key aside."""
    paths = [path for path in root.rglob("*") if path.is_file() and path.name != KEY_FILE]
    return [path.name for path in paths if text.encode() in path.read_bytes()]


def test_a_forgotten_annotator_is_in_no_raw_file_and_the_ledger_holds(project):
    run(project, "label-studio.json", "crowd-kit.csv")
    name = table(project).query("source == 'label_studio' and completion_id == @EMOJI")["annotator_id"].iloc[0]
    n_before = (table(project)["annotator_id"] == name).sum()
    lines = forget_annotator(project, name)
    assert n_before == 11
    assert lines[0] == "data/annotations/0001-label-studio.jsonl: 11 rows removed"
    assert len(table(project)) == 49
    assert holds(project, name) == ["batches.ledger"]  # the list of those who are not imported again
    assert changed_batches(project) == []
    assert any("dvc repro" in line for line in lines)
    assert any("dvc gc --workspace --cloud --force" in line for line in lines)
    assert any("mlflow gc" in line for line in lines)


def test_an_annotator_is_found_by_the_id_in_the_tool(project):
    run(project, "mturk.csv")
    forget_annotator(project, "A3REXAMPLE0BOB")
    assert len(table(project)) == 19
    assert holds(project, "A3REXAMPLE0BOB") == []


def test_an_id_of_two_tools_must_be_told_apart(project, tmp_path):
    run(project, "label-studio.json")
    rows = "".join(f"{PLAIN}:{line},10,0\n" for line in (1, 3, 5))
    (tmp_path / "kit.csv").write_text(f"task,worker,label\n{rows}")
    import_files(project, [tmp_path / "kit.csv"], Options())
    with pytest.raises(
        InputError, match="annotators of crowd_kit, label_studio have the id '10'; say which with --source"
    ):
        forget_annotator(project, "10")
    forget_annotator(project, "10", "crowd_kit")
    assert set(table(project)["source"]) == {"label_studio"}
    assert not (project / FOLDER / "0002-crowd-kit.jsonl").exists()
    assert changed_batches(project) == []


def test_a_closed_round_goes_on_without_a_batch_that_was_forgotten_whole(project, monkeypatch):
    monkeypatch.setenv("CRLHF_TRACKING", "off")
    two_rounds(project)
    run(project, "label-studio.json")
    rows = [row for row in table(project).to_dict("records") if row["completion_id"] == PLAIN][:3]
    alone = [{k: v for k, v in row.items() if "source_" not in k} | {"annotator_id": "solo"} for row in rows]
    gone = write_batch(project, alone, "page")
    close_round(project, "r1")
    forget_annotator(project, "solo")
    assert not gone.exists()
    execute("annotations", project, print, "r1")
    assert "solo" not in set(Store(project, "r1").read("annotations")["annotator_id"])


def test_what_an_earlier_project_knew_of_the_annotator_goes_too(project):
    run(project, "mturk.csv")
    name = table(project)["annotator_id"].iloc[0]
    verdicts = split_rows(table(project), items()).good
    Store(project, "base").write("known_verdicts", verdicts)
    forget_annotator(project, name)
    assert set(Store(project, "base").read("known_verdicts")["annotator_id"]) == set(verdicts["annotator_id"]) - {name}


def test_a_forgotten_annotator_is_not_imported_again(project):
    run(project, "label-studio.json")
    forget_annotator(project, "11")
    lines, _ = run(project, "label-studio.json")
    assert any("11 verdicts of annotators who were forgotten are left out" in line for line in lines)
    assert len(table(project)) == 19


def test_a_forgotten_annotator_leaves_the_quarantine_too(project, tmp_path):
    data = (FIXTURES / "mturk.csv").read_bytes().replace(CRLF.encode(), b"beef")
    code = items().set_index("completion_id").loc[CRLF, "code"]
    (tmp_path / "a.csv").write_bytes(data.replace(code.encode(), b"changed"))
    import_files(project, [tmp_path / "a.csv"], Options())
    path = next((project / "data/quarantine").iterdir())
    before = pd.read_parquet(path)
    lines = forget_annotator(project, "A3REXAMPLE0BOB")
    assert len(before) == 3
    assert len(pd.read_parquet(path)) == 2
    assert f"data/quarantine/{path.name}: 1 rows removed" in lines


def without_time(name, text):
    """A fixture, every answer of which breaks a rule while it is read, and who gave the second."""
    changes = {
        "label-studio.json": (r'"updated_at": "[^"]*"', '"updated_at": "nonsense"', "11"),
        "argilla.json": (r'"start": \d+', '"start": "x"', "bbbbbbbb-0000-4000-8000-000000000002"),
        "mturk.csv": (r'"Approved"', '"Odd"', "A3REXAMPLE0BOB"),
        "toloka.tsv": (r"APPROVED|SUBMITTED", "LOST", "f2a0b2c3d4e5f60718293a4b5c6d7e8f"),
        "crowd-kit.csv": (r",[01]\n", ",7\n", "w2"),
        "raw-table.jsonl": (r'"line_no": \d+', '"line_no": "x"', "bob"),
    }
    pattern, new, who = changes[name]
    return re.sub(pattern, new, text), who


@pytest.mark.parametrize("name", ALL)
def test_who_is_in_the_quarantine_only_is_forgotten_by_the_id_in_the_tool(project, tmp_path, name):
    text, who = without_time(name, (FIXTURES / name).read_bytes().decode())
    (tmp_path / name).write_bytes(text.encode())
    assert not import_files(project, [tmp_path / name], Options())[1]
    path = next((project / "data/quarantine").iterdir())
    alias = Pseudonyms(read_key(project)).of(who, next(one.source for one in IMPORTERS if one.recognises(opened(name))))
    before = pd.read_parquet(path)
    n_theirs = int(before["row"].str.contains(alias).sum())
    assert n_theirs
    assert who not in set(table(project)["annotator_id"])
    lines = forget_annotator(project, who)
    assert f"data/quarantine/{path.name}: {n_theirs} rows removed" in lines
    after = pd.read_parquet(path)
    assert len(after) == len(before) - n_theirs
    assert not after["row"].str.contains(alias).any()
    import_files(project, [tmp_path / name], Options())
    assert len(pd.read_parquet(path)) == len(after)  # who is forgotten does not come back into the quarantine


def opened(name):
    return Opened.of(FIXTURES / name)


def test_a_quarantined_answer_holds_nobody_elses(project, tmp_path):
    records = json.loads((FIXTURES / "argilla.json").read_text())
    records[0]["wrong.responses"][0] = [{"label": "WRONG", "start": "x", "end": 1}]
    (tmp_path / "a.json").write_text(json.dumps(records))
    import_files(project, [tmp_path / "a.json"], Options())
    row = json.loads(pd.read_parquet(next((project / "data/quarantine").iterdir()))["row"][0])
    assert {response["user"] for response in row["responses"]} == {
        Pseudonyms(read_key(project)).of(records[0]["wrong.responses.users"][0], "argilla")
    }


def test_quarantined_ids_of_two_tools_must_be_told_apart(project, tmp_path):
    tasks = json.loads((FIXTURES / "label-studio.json").read_text())
    tasks[0]["annotations"][0] |= {"completed_by": 88, "updated_at": "nonsense"}
    (tmp_path / "a.json").write_text(json.dumps(tasks))
    (tmp_path / "kit.csv").write_text(f"task,worker,label\n{PLAIN}:1,88,7\n")
    import_files(project, [tmp_path / "a.json", tmp_path / "kit.csv"], Options())
    with pytest.raises(InputError, match="annotators of crowd_kit, label_studio have the id '88'"):
        forget_annotator(project, "88")
    forget_annotator(project, "88", "label_studio")
    assert [path.name.split("-")[0] for path in (project / "data/quarantine").iterdir()] == ["kit"]


def test_an_unknown_source_lists_them_all(project):
    run(project, "mturk.csv")
    with pytest.raises(InputError, match="'nosuch' is no known source; choose one of argilla, collected, crowd_kit, "):
        forget_annotator(project, "A3REXAMPLE0BOB", "nosuch")


@pytest.mark.parametrize("another", [False, True])
def test_with_a_lost_key_a_pseudonym_is_forgotten_and_an_id_is_said_to_need_the_key(project, another):
    run(project, "mturk.csv")
    name = Pseudonyms(read_key(project)).of("A3REXAMPLE0BOB", "mturk")
    key = (project / KEY_FILE).rename(project / "elsewhere")
    if another:
        read_key(project)
    said = "not the key that earlier imports used" if another else "the key that earlier imports used is missing"
    with pytest.raises(MissingInputError, match=rf"{said}, .*'A3REXAMPLE0BOB'.*restore the key, or give the pseudonym"):
        forget_annotator(project, "A3REXAMPLE0BOB")
    forget_annotator(project, name)
    assert (project / KEY_FILE).exists() == another
    assert name not in set(table(project)["annotator_id"])
    key.rename(project / KEY_FILE)
    assert "11 verdicts of annotators who were forgotten" in "".join(run(project, "mturk.csv")[0])


def test_a_name_that_the_lost_key_did_not_make_is_forgotten_and_said_not_to_be_remembered(project):
    run(project, "mturk.csv")
    rows = table(project)[lambda found: found["completion_id"] == PLAIN][:3].assign(annotator_id="a_0123456789abcdef")
    write_batch(project, rows.drop(columns=["source_file", "source_row"]).to_dict("records"), "page")
    (project / KEY_FILE).unlink()
    lines = forget_annotator(project, "a_0123456789abcdef")
    assert any("so the ledger cannot remember who this was" in line for line in lines)
    assert not (project / KEY_FILE).exists()
    assert holds(project, "a_0123456789abcdef") == []


def test_without_imports_a_missing_key_is_said_and_none_is_made(project):
    write_batch(project, [json.loads((FIXTURES / "raw-table.jsonl").read_text().splitlines()[0])], "page")
    with pytest.raises(MissingInputError, match=r"there is no key for pseudonyms, so nobody can be found by an id"):
        forget_annotator(project, "88")
    assert not (project / KEY_FILE).exists()


def test_forgetting_where_nothing_was_collected_leaves_nothing_behind(tmp_path):
    answer = crlhf(tmp_path, "forget", "a")
    assert answer.returncode == 4
    assert "no batch and no quarantined row is of the annotator 'a'" in answer.stderr
    assert list(tmp_path.iterdir()) == []


def test_batches_of_every_form_lose_the_annotator_and_keep_the_rest_to_the_byte(project):
    folder = project / FOLDER
    folder.mkdir(parents=True)
    lines = (FIXTURES / "raw-table.jsonl").read_text().splitlines(keepends=True)
    (folder / "a.jsonl").write_text("\ufeff" + "".join(lines) + "\n" + '{"annotator_id": "bob", "cut')
    frame = pd.DataFrame([json.loads(line) for line in lines])
    frame.to_csv(folder / "b.csv", index=False, lineterminator="\r\n")
    frame.to_parquet(folder / "c.parquet")
    before = (folder / "b.csv").read_bytes()
    forget_annotator(project, "bob")
    assert (folder / "a.jsonl").read_text() == "\ufeff" + "".join(line for line in lines if '"bob"' not in line) + "\n"
    kept = [line for line in before.split(b"\r\n") if b",bob," not in line]
    assert (folder / "b.csv").read_bytes() == b"\r\n".join(kept)
    assert set(pd.read_parquet(folder / "c.parquet")["annotator_id"]) == {"ann", "cyd"}
    assert holds(project, "bob") == []


def test_forgetting_that_was_interrupted_is_finished_by_the_same_command(project, monkeypatch):
    run(project, "label-studio.json", "mturk.csv")
    write_batch(project, [{k: v for k, v in row.items() if k not in ("source_file", "source_row")}
                          for row in table(project).to_dict("records")[:30]], "page")  # fmt: skip
    name = table(project)["annotator_id"].iloc[0]
    from crlhf.stages import forgetting

    real, calls = forgetting._replace, []

    def die_at_the_second(*words):
        calls.append(words)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*words)

    monkeypatch.setattr(forgetting, "_replace", die_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        forget_annotator(project, name)
    monkeypatch.undo()
    assert name in set(table(project)["annotator_id"])
    forget_annotator(project, name)
    assert name not in set(table(project)["annotator_id"])
    assert changed_batches(project) == []


def test_an_annotator_who_is_not_there_is_an_error_and_changes_nothing(project):
    run(project, "mturk.csv")
    with pytest.raises(MissingInputError, match="no batch and no quarantined row is of the annotator 'nobody'"):
        forget_annotator(project, "nobody")
    assert len(read_ledger(project)) == 1


# ---------------------------------------------------------------- the command line


def crlhf(root, *words):
    command = [sys.executable, "-c", "from crlhf.cli import main; main()", "--root", str(root), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | {"CRLHF_TRACKING": "off"})


def test_exit_codes_are_those_of_validate(project, tmp_path):
    assert crlhf(project, "import", FIXTURES / "mturk.csv").returncode == 0
    (tmp_path / "bad.csv").write_text(f"task,worker,label\n{PLAIN}:3,w,7\n")
    answer = crlhf(project, "import", tmp_path / "bad.csv")
    assert answer.returncode == 3
    assert "row 1, verdict_known: label is '7', expected 1" in answer.stdout
    for given_, code, word in (
        (tmp_path / "none.csv", 4, "no such file"),
        (tmp_path, 3, "is a folder"),
        (Path(__file__), 3, "no known format"),
    ):
        answer = crlhf(project, "import", given_)
        assert answer.returncode == code
        assert word in answer.stderr
        assert len(answer.stderr.splitlines()) == 1
    assert crlhf(project, "forget", "nobody").returncode == 4
    assert crlhf(project, "export", "--format", "crowd-kit", "--out", tmp_path).returncode == 4


def test_without_items_the_import_says_which_stage_is_missing(tmp_path):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    answer = crlhf(tmp_path, "import", FIXTURES / "mturk.csv")
    assert answer.returncode == 4
    assert "items.parquet" in answer.stderr
