"""The command line: help, errors in one sentence, exit codes."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from crlhf.errors import path_error

ROOT = Path(__file__).parents[2]


def crlhf(*words, folder, **environment):
    command = [sys.executable, "-c", "from crlhf.cli import main; main()", *words]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env=os.environ | {"CRLHF_TRACKING": "off"} | environment
    )


def test_the_page_of_tables_is_what_the_schema_says(tmp_path):
    answer = crlhf("schema", folder=tmp_path)
    assert answer.returncode == 0
    assert answer.stdout == (ROOT / "docs" / "tables.md").read_text()


def test_outside_a_project_a_stage_is_one_sentence_and_exit_code_2(tmp_path):
    answer = crlhf("rewards", folder=tmp_path)
    assert answer.returncode == 2
    assert answer.stderr.startswith("crlhf: ")
    assert "no such file; run crlhf in the folder that holds params.yaml" in answer.stderr
    assert len(answer.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("stage", "missing"),
    [("completions", "models/base/manifest.json"), ("rewards", "reliability_model.json"), ("scores", "problems")],
)
def test_a_stage_without_its_inputs_is_one_sentence_and_exit_code_4(tmp_path, stage, missing):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    answer = crlhf(stage, folder=tmp_path)
    assert answer.returncode == 4
    assert missing in answer.stderr
    assert "Traceback" not in answer.stderr


NOWHERE = "/proc/nowhere"  # nothing can be made there, not even by root


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("aggregate", "--labels", "folder", "--out", "out"), 3, "folder: is a folder"),
        (("aggregate", "--labels", "labels.csv", "--gold", "folder", "--out", "out"), 3, "folder: is a folder"),
        (("aggregate", "--labels", "labels.csv", "--out", "labels.csv"), 3, "labels.csv: is there already, and is not"),
        (("aggregate", "--labels", "labels.csv", "--out", NOWHERE), 3, f"{NOWHERE}: may not be"),
        (("aggregate", "--labels", "labels.csv", "--out", "labels.csv/out"), 3, "labels.csv/out: not a folder"),
        (("compare", "results.jsonl", "."), 3, ".: is a folder"),
        (("compare", "results.jsonl", "labels.csv/x"), 3, "labels.csv/x: not a folder"),
        (("score", "--benchmark", "humaneval", "--samples", "results.jsonl", "--out", "."), 3, ".: is a folder"),
        (
            ("score", "--benchmark", "humaneval", "--samples", "results.jsonl", "--out", NOWHERE),
            3,
            f"{NOWHERE}: may not",
        ),
        (
            ("score", "--benchmark", "humaneval", "--samples", "results.jsonl", "--out", "a" * 300),
            3,
            "a: a name that is",
        ),
        (
            ("evaluate", "--policy", "p", "--protocol", "humaneval/bigcode-v1", "--out", NOWHERE),
            3,
            f"{NOWHERE}: may not",
        ),
        (("paper-table", "results.jsonl", "M:tuned=folder", "--out", "out"), 3, "folder: is a folder"),
    ],
)
def test_a_path_of_the_wrong_kind_is_one_sentence_that_names_it(tmp_path, words, code, says):
    (tmp_path / "folder").mkdir()
    (tmp_path / "labels.csv").write_text("task,worker,label\na,b,1\na,c,0\n")
    row = {"task_id": "HumanEval/0", "passed": True, "protocol": "humaneval/x", "protocol_sha256": "0"}
    (tmp_path / "results.jsonl").write_text(json.dumps(row | {"completion": ""}) + "\n")
    answer = crlhf(*words, folder=tmp_path)
    assert (answer.returncode, len(answer.stderr.splitlines())) == (code, 1), answer.stderr
    assert answer.stderr.startswith("crlhf: ")
    assert says in answer.stderr


@pytest.mark.parametrize(
    "error",
    [OSError(errno.EBADF, "no file"), OSError(errno.EIO, "disk", "a"), OSError("?"), OSError(errno.EACCES, "?")],
)
def test_an_error_of_the_system_that_is_no_mistake_with_a_path_keeps_its_traceback(error):
    assert path_error(error) is None


def test_an_unknown_command_shows_usage(tmp_path):
    answer = crlhf("train", folder=tmp_path)
    assert answer.returncode == 2
    assert "No such command 'train'" in answer.stderr


def test_where_before_any_run_says_what_to_do(tmp_path):
    answer = crlhf("where", folder=tmp_path)
    assert answer.returncode == 4
    assert "run `make demo`" in answer.stderr


def test_isolation_names_the_level_and_what_was_tried(tmp_path):
    from crlhf.evaluation import sandbox

    answer = crlhf("isolation", folder=tmp_path)
    assert answer.returncode == 0
    level, *_ = answer.stdout.splitlines()
    assert level == sandbox.isolation_level()
    assert [line.split()[-1] for line in answer.stdout.splitlines() if "in its own folder" in line] == ["done"]
    assert all(f"without {layer}" in answer.stdout for layer in {"landlock", "seccomp"} - set(level.split("+")))


def test_isolation_that_is_required_and_unknown_is_one_sentence(tmp_path):
    answer = crlhf("isolation", "--require", "vault", folder=tmp_path)
    assert answer.returncode != 0
    assert answer.stderr.startswith("crlhf: isolation 'require:vault' is not known")
