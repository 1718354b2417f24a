"""DVC and Dagster agree about what is stale, whichever of them ran the stages."""

from __future__ import annotations

import dagster as dg
import pytest

from dagster_project.sensors import build_sensor
from dagster_project.sync import sync

pytestmark = pytest.mark.pipeline

STAGES = {"numbers", "evens", "scaled", "scores@base", "scores@tuned"}


def _sync(project):
    return sync(project.instance, project.root, pytest.fail)


def test_after_dvc_repro_and_sync_all_is_fresh_and_the_second_sync_says_nothing(project):
    assert project.stale_in_dagster() == STAGES
    project.python("-m", "dagster_project.sync")
    assert project.stale_in_dagster() == set()
    evens = project.materialization("evens")
    assert evens.metadata["n_evens"] == dg.MetadataValue.int(3)  # 2, 4 and 6
    assert evens.metadata["outcome"] == dg.MetadataValue.text("ran outside Dagster")
    key = dg.AssetCheckKey(dg.AssetKey("evens"), "evens_are_few")
    (record,) = project.instance.event_log_storage.get_asset_check_execution_history(key, limit=10)
    evaluation = record.event.dagster_event.asset_check_evaluation_data
    latest = project.instance.fetch_materializations(dg.AssetKey("evens"), limit=1).records[0]
    assert evaluation.passed
    assert evaluation.severity == dg.AssetCheckSeverity.WARN
    assert evaluation.target_materialization_data.storage_id == latest.storage_id
    assert project.python("-m", "dagster_project.sync").stdout == "Dagster: nothing new\n"
    assert project.n_materializations() == len(STAGES)


def test_an_edit_makes_the_same_stages_stale_on_both_sides(project):
    _sync(project)
    edits = [
        ("params.yaml", "tuned: 1", "tuned: 2", {"scores@tuned"}),
        ("params.yaml", "factor: 2.0e-5", "factor: 2.5e-5", {"scores@tuned", "scaled"}),
        ("data/extra.txt", "6", "8", {"scores@tuned", "scaled", "numbers"}),
        ("data/extra.txt", "8", "6", {"scores@tuned", "scaled"}),
        ("code/stage.py", "import time", "import time  # edited", {"scores@tuned", "scaled", "numbers", "evens"}),
    ]
    for file, old, new, stale in edits:
        project.edit(file, old, new)
        assert project.stale_in_dvc() == stale, (file, new)
        assert project.stale_in_dagster() == stale, (file, new)


def test_a_partial_run_leaves_the_same_stages_stale_on_both_sides(project):
    _sync(project)
    project.edit("data/raw/b.txt", "4", "8")  # an even number: both outputs of `numbers` change
    project.dvc("repro", "--single-item", "numbers")
    assert _sync(project).ran == ("numbers",)
    assert project.stale_in_dvc() == project.stale_in_dagster() == {"evens", "scaled"}


@pytest.mark.parametrize("who_runs", ["dvc", "dagster"])
def test_an_unchanged_output_keeps_its_readers_fresh_whatever_the_other_output_does(project, who_runs):
    _sync(project)
    project.edit("data/raw/a.txt", "3", "5")  # an odd number: numbers.parquet changes, evens.txt does not
    if who_runs == "dvc":
        project.dvc("repro", "--single-item", "numbers")
    else:
        assert project.materialize("numbers").success
    assert project.stale_in_dvc() == {"scaled"}
    synced = _sync(project)
    assert synced.confirmed == ("evens",)
    assert synced.ran == (("numbers",) if who_runs == "dvc" else ())
    assert project.stale_in_dagster() == {"scaled"}


def test_the_sensor_reports_work_once_and_names_what_needs_a_reload(project):
    sensor = project.definitions().resolve_sensor_def("dvc_lock")
    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING
    cursor = None
    said = []
    for _ in range(2):
        context = dg.build_sensor_context(instance=project.instance, cursor=cursor)
        tick = sensor.evaluate_tick(context)
        cursor = tick.cursor
        said.append(tick.skip_message)
    assert said == [
        "ran outside Dagster: numbers, evens, scaled, scores@base, scores@tuned; raw data: data/extra.txt, data/raw",
        "nothing new",
    ]
    assert project.stale_in_dagster() == set()
    project.edit("params.yaml", "tuned: 1", "tuned: 2")
    tick = sensor.evaluate_tick(dg.build_sensor_context(instance=project.instance, cursor=cursor))
    assert tick.skip_message.endswith("changed for scores@tuned")


def test_the_sensor_waits_while_a_run_is_going_on(project):
    from dagster._core.test_utils import create_run_for_test

    from dagster_project.graph import load_graph

    run = create_run_for_test(project.instance, status=dg.DagsterRunStatus.STARTED)
    sensor = build_sensor(load_graph(project.root), project.root)
    tick = sensor.evaluate_tick(dg.build_sensor_context(instance=project.instance, cursor="before"))
    assert tick.skip_message == f"waiting for run {run.run_id} to end"
    assert tick.cursor == "before"
    assert project.n_materializations() == 0


def test_the_tracker_gets_the_outputs_of_all_that_is_up_to_date_once_something_changed(project):
    _sync(project)
    assert set(project.annotated()) == STAGES
    assert project.annotated()["scaled"] == {
        "stage": "scaled",
        "outs": ["metrics/scaled.json", "models/scaled"],
        "run": None,
    }
    (project.root / "annotated.jsonl").unlink()
    _sync(project)
    assert project.annotated() == {}
    project.edit("data/raw/a.txt", "3", "5")  # `scaled` reads the output that changes, `evens` the other
    project.dvc("repro", "--single-item", "numbers")
    _sync(project)
    assert set(project.annotated()) == {"numbers", "evens"}  # `scores` reads unchanged files, but of a stale stage


def test_a_tracker_that_is_away_is_a_warning_and_dagster_is_told_all_the_same(project):
    (project.root / "tracker_is_away").touch()
    done = project.python("-m", "dagster_project.sync")
    assert done.stderr.count("evens: its MLflow run could not be annotated: the tracker is away") == 1
    assert project.stale_in_dagster() == set()
