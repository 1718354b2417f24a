"""DVC and the project are found, or the error says what to do."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dagster_project.settings import SettingsError, find_dvc, find_dvc_python, find_root, stage_environment


def _executable(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_console_script_names_its_python(tmp_path):
    python = _executable(tmp_path / "env/bin/python3.11", "")
    assert find_dvc_python(_executable(tmp_path / "bin/dvc", f"#!{python}\nimport dvc\n")) == python


def test_a_shell_wrapper_leads_to_the_environment_beside_it(tmp_path):
    python = _executable(tmp_path / ".venv/dvc-env/bin/python", "")
    _executable(tmp_path / ".venv/bin/python", "")
    assert find_dvc_python(_executable(tmp_path / ".venv/bin/dvc", "#!/bin/sh\nexec dvc-env/bin/dvc\n")) == python


def test_dvc_beside_python_comes_before_path_and_the_variable_before_both(tmp_path, monkeypatch):
    beside = _executable(tmp_path / "bin/dvc", "")
    other = _executable(tmp_path / "other/dvc", "")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin/python"))
    monkeypatch.delenv("CRLHF_DVC", raising=False)
    assert find_dvc() == beside
    monkeypatch.setenv("CRLHF_DVC", str(other))
    assert find_dvc() == other
    monkeypatch.setenv("CRLHF_DVC", str(tmp_path / "nowhere"))
    with pytest.raises(SettingsError, match="CRLHF_DVC names"):
        find_dvc()


def test_a_machine_without_dvc_is_told_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin/python"))
    monkeypatch.delenv("CRLHF_DVC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SettingsError, match="make setup"):
        find_dvc()


def test_the_root_is_the_variable_then_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "dvc.yaml").write_text("stages: {}\n")
    monkeypatch.delenv("CRLHF_ROOT", raising=False)
    monkeypatch.chdir(tmp_path / "a")
    assert find_root() == (tmp_path / "a").resolve()
    monkeypatch.setenv("CRLHF_ROOT", str(tmp_path))
    with pytest.raises(SettingsError, match=r"no dvc\.yaml in"):
        find_root()


def test_stages_see_nothing_of_pipes(monkeypatch):
    monkeypatch.setenv("DAGSTER_PIPES_CONTEXT", "x")
    monkeypatch.setenv("DAGSTER_PIPES_MESSAGES", "x")
    monkeypatch.setenv("SOMETHING_ELSE", "kept")
    environment = stage_environment()
    assert not [name for name in environment if name.startswith("DAGSTER_PIPES")]
    assert environment["SOMETHING_ELSE"] == "kept"
    assert environment["PATH"].split(":")[0] == str(Path(sys.executable).parent)
