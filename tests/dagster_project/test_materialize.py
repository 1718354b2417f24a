"""Dagster runs the stages through DVC: every ending of a stage is an event that says what happened."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest

pytestmark = pytest.mark.pipeline

MATERIALIZE = ["-m", "dagster", "asset", "materialize", "-m", "dagster_project.definitions", "--select"]


def _latest_run_id(project) -> str:
    return project.instance.get_run_records(limit=1)[0].dagster_run.run_id


def _evaluations(project, name: str):
    key = dg.AssetCheckKey(dg.AssetKey("evens"), name)
    records = project.instance.event_log_storage.get_asset_check_execution_history(key, limit=10)
    return [record.event.dagster_event.asset_check_evaluation_data for record in records]


def test_materializing_all_runs_each_stage_once_and_a_second_time_skips_them(new_project):
    project = new_project
    project.python(*MATERIALIZE, "*")
    assert project.dvc("status").strip() == "Data and pipelines are up to date."
    assert project.stale_in_dagster() == set()
    assert project.n_materializations() == 5
    assert [evaluation.passed for evaluation in _evaluations(project, "evens_are_few")] == [True]
    first = {name: project.materialization(name) for name in ("numbers", "evens", "scores@tuned")}
    assert {event.metadata["outcome"].value for event in first.values()} == {"executed"}
    assert first["evens"].metadata["figure pixel"].md_str.startswith("![pixel](data:image/png;base64,iVBOR")
    assert first["numbers"].metadata["dagster/row_count"].value == 5
    assert project.python("-m", "dagster_project.sync").stdout == "Dagster: nothing new\n"

    assert [entry["run"] for entry in project.annotated().values()] == [_latest_run_id(project)] * 5

    assert project.materialize(*first).success
    assert {project.annotated()[name]["run"] for name in first} == {_latest_run_id(project)}
    for name, event in first.items():
        again = project.materialization(name)
        assert again.metadata["outcome"].value == "skipped"
        assert {**again.metadata, "outcome": event.metadata["outcome"]} == event.metadata
        assert again.tags["dagster/data_version"] == event.tags["dagster/data_version"]
    assert len(_evaluations(project, "evens_are_few")) == 2


def test_a_failing_stage_speaks_in_the_event_log_and_stops_what_follows(project):
    project.edit("params.yaml", 'message: ""', 'message: "line 3 of the table is cut"')
    result = project.materialize("scaled", "scores@base")
    assert not result.success
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    data = failure.step_failure_data
    assert data.user_failure_data.description == "scaled: scaled: line 3 of the table is cut"
    assert "line 3 of the table is cut" in data.user_failure_data.metadata["stderr"].value
    assert "failed to reproduce" not in data.user_failure_data.metadata["stderr"].value
    assert not result.get_asset_materialization_events()
    assert project.stale_in_dvc() == {"scaled", "scores@base", "scores@tuned"}  # DVC removed the outputs of scaled


def test_a_stage_that_waits_for_people_is_skipped_with_all_that_follows_and_goes_on_later(new_project):
    project = new_project
    (project.root / "waiting").touch()
    result = project.materialize()
    assert result.success
    made = {"/".join(event.asset_key.path) for event in result.get_asset_materialization_events()}
    assert made == {"numbers", "scaled"}
    skipped = {event.step_key for event in result.all_events if event.is_step_skipped}
    assert skipped == {"scores__base", "scores__tuned"}
    observation = project.instance.fetch_observations(dg.AssetKey("evens"), limit=1).records[0].asset_observation
    assert observation.metadata["waiting"].value == "evens: evens: waiting: 1 of 2 people have come"
    assert project.stale_in_dvc() == {"evens", "scores@base", "scores@tuned"}
    assert not (project.root / "data/tables/evens.json").exists()
    (project.root / "waiting").unlink()
    assert project.materialize().success
    assert project.stale_in_dvc() == set()
    assert project.stale_in_dagster() == set()


def test_a_check_that_fails_is_shown_and_the_stage_still_counts(project):
    project.edit("params.yaml", "max_even: 99", "max_even: 2")  # there are 3
    assert project.materialize("evens").success
    ((few,), (even,)) = (_evaluations(project, name) for name in ("evens_are_few", "evens_are_even"))
    assert (few.passed, few.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert few.metadata["rows that broke it"].value == 3
    assert (even.passed, even.severity) == (True, dg.AssetCheckSeverity.ERROR)


def test_a_stage_whose_inputs_are_missing_says_which(new_project):
    result = new_project.materialize("evens")
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert "data/tables/evens.txt" in failure.step_failure_data.user_failure_data.description


def _start_sleeping_stage(project, command: list[str]) -> tuple[subprocess.Popen[bytes], list[int]]:
    """Start a command that runs the stage `scaled`; wait until its process and its helper are there."""
    project.edit("params.yaml", "sleep_s: 0", "sleep_s: 60")
    process = subprocess.Popen(command, cwd=project.root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    pids_file = project.root / "pids.txt"
    deadline = time.monotonic() + 60
    while not (pids_file.exists() and len(pids_file.read_text().split()) == 2):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process, [int(pid) for pid in pids_file.read_text().split()]


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _wait_until(condition, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


@pytest.mark.skipif(sys.platform != "linux", reason="prctl and /proc are Linux's")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_ending_dagster_ends_the_stage_and_all_below_it_and_the_next_run_works(project, number):
    process, pids = _start_sleeping_stage(project, [sys.executable, *MATERIALIZE, "scaled"])
    process.send_signal(number)
    process.wait(timeout=30)
    assert _wait_until(lambda: not any(_lives(pid) for pid in pids), within_s=10)
    project.edit("params.yaml", "sleep_s: 60", "sleep_s: 0")
    assert project.materialize("scaled").success
    assert project.stale_in_dvc() == set()


@pytest.mark.skipif(sys.platform != "linux", reason="prctl and /proc are Linux's")
def test_a_stage_that_another_dvc_is_running_is_waited_for(project, monkeypatch):
    from dagster_project.settings import find_dvc, stage_environment

    project.edit("params.yaml", "sleep_s: 0", "sleep_s: 6")
    command = [str(find_dvc()), "repro", "--single-item", "scaled"]
    other = subprocess.Popen(
        command, cwd=project.root, env=stage_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    assert _wait_until((project.root / "pids.txt").exists, within_s=30)
    result = project.materialize("scaled")
    assert other.wait(timeout=30) == 0
    assert result.success
    assert project.materialization("scaled").metadata["outcome"].value == "skipped"
