"""The command line: help, errors in one sentence, exit codes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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
