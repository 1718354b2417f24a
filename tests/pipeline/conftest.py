"""A copy of the whole project in a temporary folder, on a tiny random policy."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.tiny_policy import build_tiny_policy

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
COPIED = (
    "dvc.yaml",
    "params.yaml",
    ".dvcignore",
    "pyproject.toml",
    "src",
    "dagster_project",
    "data/starter",
    "data/sql",
    "data/benchmarks",
    "data/annotations",
    "data/rounds/base",
)


class Project:
    """The copy, and commands run in it as a user would run them."""

    def __init__(self, root: Path, environment: dict[str, str]) -> None:
        self.root = root
        self.environment = environment

    def run(self, *command, check=True):
        answer = subprocess.run(
            [str(word) for word in command], cwd=self.root, env=self.environment, capture_output=True, text=True
        )
        assert not check or answer.returncode == 0, answer.stdout[-6000:] + answer.stderr[-6000:]
        return answer

    def dvc(self, *words, check=True):
        return self.run(BIN / "dvc", *words, check=check)

    def crlhf(self, *words, check=True):
        return self.run(BIN / "crlhf", *words, check=check)

    def edit_params(self, **sections):
        path = self.root / "params.yaml"
        values = yaml.safe_load(path.read_text())
        for name, changes in sections.items():
            if isinstance(changes, dict):
                values[name] |= changes
            else:
                values[name] = changes
        path.write_text(yaml.safe_dump(values, sort_keys=False))

    def stale(self):
        """Names of the stages that `dvc status` calls changed, sorted."""
        return sorted(json.loads(self.dvc("status", "--json").stdout))

    def downstream(self, stage):
        """The stage and all that reads, directly or not, what it makes, sorted."""
        answer = self.dvc("dag", "--dot")
        edges = re.findall(r'"([^"]+)" -> "([^"]+)"', answer.stdout)
        found = {stage}
        while more := {to for source, to in edges if source in found} - found:
            found |= more
        return sorted(found)

    def hashes(self):
        """The outputs' hashes in dvc.lock, by path."""
        lock = yaml.safe_load((self.root / "dvc.lock").read_text())
        return {out["path"]: out["md5"] for stage in lock["stages"].values() for out in stage["outs"]}


@pytest.fixture(scope="session")
def tiny_policy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny") / "policy"
    build_tiny_policy(folder)
    return folder


@pytest.fixture(scope="session")
def make_project(tmp_path_factory, tiny_policy):
    """A function that makes a fresh copy of the project with params for a tiny policy."""

    def make(name, **environment):
        root = tmp_path_factory.mktemp(name)
        for relative in COPIED:
            source = ROOT / relative
            if source.is_dir():
                shutil.copytree(source, root / relative, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
            else:
                (root / relative).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, root / relative)
        clean = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("DAGSTER", "DVC", "MLFLOW", "CRLHF"))
        }
        settings = {
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "CRLHF_CACHE": str(root / "cache"),
            "DAGSTER_HOME": str(root / ".dagster"),
            "DAGSTER_DISABLE_TELEMETRY": "1",
            "OMP_NUM_THREADS": "1",
        }
        (root / ".dagster").mkdir()
        shutil.copy2(ROOT / "dagster_project" / "dagster.yaml", root / ".dagster")
        project = Project(root, clean | settings | environment)
        shrink(project, tiny_policy)
        project.dvc("init", "--no-scm", "-q")
        project.dvc("config", "core.analytics", "false")
        return project

    return make


def shrink(project, policy):
    """Params that fit a tiny random policy; benchmark files are looked for where the real project looks."""
    shipped = yaml.safe_load((ROOT / "params.yaml").read_text())
    folders = [str((ROOT / folder).resolve()) for folder in shipped["problems"]["benchmark_folders"]]
    annotators = {
        kind: values | {"n": 1 if kind in ("lazy", "random", "adversarial") else 2}
        for kind, values in shipped["crowd"]["annotators"].items()
    }
    project.edit_params(
        problems={"benchmark_folders": folders},
        base_policy={"name": "tiny random policy", "source": "path", "location": str(policy)},
        completions={"n_problems": 3, "n_per_problem": 2, "max_new_tokens": 12, "batch_size": 4},
        honeypots={"n": 6},
        crowd={"verdicts_per_completion": 4, "honeypots_per_annotator": 4, "annotators": annotators},
        ppo={"num_ppo_epochs": 1, "batch_size": 2, "micro_batch_size": 2, "lora_r": 2, "save_every_steps": 1},
        benchmarks={
            "humaneval": shipped["benchmarks"]["humaneval"] | {"limit": 2},
            "mbpp": shipped["benchmarks"]["mbpp"] | {"limit": 2},
            "max_new_tokens": 12,
        },
        report={"n_bootstrap": 200},
    )


@pytest.fixture(scope="session")
def repro(make_project):
    """A project on which `dvc repro` has run once. Tests that change it make their own copy of the state."""
    project = make_project("repro")
    project.dvc("repro")
    return project
