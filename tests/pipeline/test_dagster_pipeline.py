"""The whole pipeline through Dagster's command line, on a tiny random policy, and Dagster and DVC on what is stale."""

import json

import pytest
import yaml

from tests.pipeline.conftest import BIN

pytestmark = pytest.mark.pipeline

STALE = """
import json, sys
import dagster as dg
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.loader import LoadingContextForTest
from dagster_project.definitions import defs
from dagster_project.home import dagster_instance
from pathlib import Path
with dagster_instance(Path.cwd()) as instance:
    graph = defs.get_repository_def().asset_graph
    resolver = CachingStaleStatusResolver(instance, graph, LoadingContextForTest(instance))
    keys = sorted(graph.materializable_asset_keys)
    print(json.dumps({"@".join(key.path): resolver.get_status(key).value for key in keys}))
"""


def stale_in_dagster(project):
    answer = project.run(BIN / "python", "-c", STALE)
    statuses = json.loads(answer.stdout.splitlines()[-1])
    return sorted(name for name, status in statuses.items() if status != "FRESH")


@pytest.fixture(scope="module")
def materialized(make_project):
    project = make_project("dagster")
    answer = project.run(BIN / "dagster", "asset", "materialize", "--select", "*", "-m", "dagster_project.definitions")
    assert "RUN_SUCCESS" in answer.stderr + answer.stdout
    return project


def test_materializing_everything_leaves_dvc_clean_and_gives_a_report(materialized):
    assert "up to date" in materialized.dvc("status").stdout
    assert (materialized.root / "reports" / "report.html").exists()
    assert stale_in_dagster(materialized) == []


def test_materializing_gives_the_same_tables_as_dvc_repro(materialized, repro):
    ours = {path: md5 for path, md5 in materialized.hashes().items() if path.startswith("data/")}
    theirs = repro.hashes()
    assert ours == {path: theirs[path] for path in ours}
    assert len(ours) > 10


def test_mlflow_knows_the_dagster_run_and_dvcs_hashes(materialized):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{materialized.root / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("crlhf").experiment_id
    (run,) = client.search_runs([experiment], "tags.`crlhf.stage` = 'rewards@r1'")
    assert run.data.tags["dagster.run_id"]
    assert run.data.tags["dvc.data/rounds/r1/scores.parquet"] == materialized.hashes()["data/rounds/r1/scores.parquet"]


def test_after_dvc_repro_and_sync_dagster_is_fresh_and_edits_make_the_same_stages_stale(repro):
    repro.run(BIN / "python", "-m", "dagster_project.sync")
    assert stale_in_dagster(repro) == []
    params, readme = repro.root / "params.yaml", repro.root / "data/rounds/base/crowd/README.md"
    kept = params.read_text(), readme.read_text()
    try:
        values = yaml.safe_load(kept[0])
        values["rewards"]["truncation_penalty"] = 0.5
        params.write_text(yaml.safe_dump(values, sort_keys=False))
        assert stale_in_dagster(repro) == repro.stale() == ["rewards@r1"]
        params.write_text(kept[0])
        readme.write_text(kept[1] + "one more line\n")
        repro.run(BIN / "python", "-m", "dagster_project.sync")
        readers = ["annotations@r1", "reliabilities@r1", "report", "scores", "validated@r1"]  # two read all rounds
        assert repro.stale() == readers
        assert stale_in_dagster(repro) == readers
    finally:
        params.write_text(kept[0])
        readme.write_text(kept[1])
        repro.run(BIN / "python", "-m", "dagster_project.sync")
