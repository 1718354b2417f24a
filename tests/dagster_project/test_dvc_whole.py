"""DVC works whole beside Dagster: its experiments too, which need the antlr version that Dagster cannot live with."""

import shutil
import subprocess

import pytest
import yaml

pytestmark = pytest.mark.pipeline


def test_an_experiment_with_a_changed_parameter_runs(new_root, run_dvc, tmp_path):
    root = tmp_path / "project"
    shutil.copytree(new_root, root, ignore=shutil.ignore_patterns(".dvc"))

    def git(*words):
        identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
        subprocess.run(["git", *identity, *words], cwd=root, check=True, capture_output=True)

    git("init", "--quiet")
    run_dvc(root, "init", "--quiet")
    git("add", "--all")
    git("commit", "--quiet", "--message", "a pipeline")
    seed = yaml.safe_load((root / "params.yaml").read_text())["seed"]
    run_dvc(root, "exp", "run", "--set-param", f"seed={seed + 1}", "--name", "other-seed", "numbers")
    lock = yaml.safe_load((root / "dvc.lock").read_text())
    assert lock["stages"]["numbers"]["params"]["params.yaml"]["seed"] == seed + 1
    assert "other-seed" in run_dvc(root, "exp", "list", "--name-only")
