"""A pipeline of tiny stages in a temporary folder, seen from both sides: DVC's and Dagster's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.loader import LoadingContextForTest

from dagster_project.settings import find_dvc, stage_environment

REPO = Path(__file__).resolve().parents[2]
TEMPLATE = Path(__file__).with_name("project")
OVERLAY = Path(__file__).with_name("overlay")


class Project:
    """One temporary copy of the fixture pipeline with its own Dagster instance."""

    def __init__(self, root: Path, instance: dg.DagsterInstance) -> None:
        self.root = root
        self.instance = instance

    def dvc(self, *arguments: str, check: bool = True) -> str:
        """Run DVC here and return what it printed."""
        return _run_dvc(self.root, *arguments, check=check)

    def edit(self, file: str, old: str, new: str) -> None:
        """Replace a text in a file that must hold it."""
        path = self.root / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def definitions(self) -> dg.Definitions:
        """The definitions as a reload of the code location would make them."""
        from dagster_project.definitions import build_definitions

        return build_definitions(self.root)

    def materialize(self, *names: str) -> dg.ExecuteInProcessResult:
        """Materialize stages (all where none is named) in this process; the launcher is a process of its own."""
        keys = [dg.AssetKey(name.split("@")) for name in names] or None
        job = self.definitions().resolve_job_def("everything")
        return job.execute_in_process(instance=self.instance, raise_on_error=False, asset_selection=keys)

    def python(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run this Python here."""
        command = [sys.executable, *arguments]
        done = subprocess.run(command, cwd=self.root, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def stale_in_dvc(self) -> set[str]:
        """The stages that `dvc status` lists."""
        return set(json.loads(self.dvc("status", "--json")))

    def stale_in_dagster(self) -> set[str]:
        """The stages that Dagster does not call fresh, with the raw files observed as the sensor would."""
        from dagster_project.graph import read_graph
        from dagster_project.sync import observe_raw

        graph = read_graph(self.root)
        observe_raw(self.instance, graph, graph.raw_paths)
        assets = self.definitions().resolve_asset_graph()
        resolver = CachingStaleStatusResolver(self.instance, assets, LoadingContextForTest(self.instance))
        keys = sorted(assets.materializable_asset_keys)
        return {"@".join(key.path) for key in keys if resolver.get_status(key).value != "FRESH"}

    def materialization(self, name: str) -> dg.AssetMaterialization:
        """The latest materialization that Dagster knows of a stage."""
        event = self.instance.get_latest_materialization_event(dg.AssetKey(name.split("@")))
        assert event is not None
        assert event.asset_materialization is not None
        return event.asset_materialization

    def annotated(self) -> dict[str, dict[str, object]]:
        """What the tracker was told last of each stage."""
        path = self.root / "annotated.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return {entry["stage"]: entry for entry in map(json.loads, lines)}

    def n_materializations(self) -> int:
        """How many materializations Dagster has recorded of all stages together."""
        keys = self.definitions().resolve_asset_graph().materializable_asset_keys
        return sum(len(self.instance.fetch_materializations(key, limit=100).records) for key in keys)


def _run_dvc(root: Path, *arguments: str, check: bool = True) -> str:
    """Run DVC in `root` and return what it printed."""
    command = [str(find_dvc()), *arguments]
    done = subprocess.run(command, cwd=root, env=stage_environment(), capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session", name="run_dvc")
def _run_dvc_fixture() -> Callable[..., str]:
    """Run DVC in any folder."""
    return _run_dvc


@pytest.fixture(scope="session")
def new_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fixture pipeline before its first run, made once; without git."""
    root = tmp_path_factory.mktemp("new") / "project"
    shutil.copytree(TEMPLATE, root)
    # Named dvc.yaml in the repository it would be a part of the project's own pipeline: DVC looks into every folder.
    (root / "pipeline.yaml").rename(root / "dvc.yaml")
    _run_dvc(root, "init", "--no-scm", "--quiet")
    return root


@pytest.fixture(scope="session")
def finished_root(tmp_path_factory: pytest.TempPathFactory, new_root: Path) -> Path:
    """The fixture pipeline after a plain `dvc repro`, made once."""
    root = tmp_path_factory.mktemp("finished") / "project"
    shutil.copytree(new_root, root)
    _run_dvc(root, "repro", "--quiet")
    return root


@pytest.fixture
def project(tmp_path: Path, finished_root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """A copy of the finished pipeline, of which Dagster knows nothing yet."""
    yield from _open(tmp_path, finished_root, monkeypatch)


@pytest.fixture
def new_project(tmp_path: Path, new_root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """A copy of the pipeline that has never run."""
    yield from _open(tmp_path, new_root, monkeypatch)


def _fake_tracking() -> ModuleType:
    """The overlay's tracker for this process, in which the real package is loaded already."""
    spec = spec_from_file_location("crlhf.tracking", OVERLAY / "crlhf" / "tracking.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _open(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    root = tmp_path / "project"
    shutil.copytree(source, root)
    monkeypatch.setenv("CRLHF_ROOT", str(root))
    monkeypatch.setenv("CRLHF_STOP_GRACE_S", "5")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(root), str(OVERLAY), str(REPO), str(REPO / "src")]))
    monkeypatch.setenv("DAGSTER_HOME", str(root / ".dagster"))
    monkeypatch.syspath_prepend(root)
    monkeypatch.setitem(sys.modules, "crlhf.tracking", _fake_tracking())
    from dagster_project.home import ensure_home

    ensure_home(root)
    with dg.DagsterInstance.get() as instance:
        yield Project(root, instance)
