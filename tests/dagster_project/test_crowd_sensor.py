"""The sensor goes on with a round when its verdicts are there, once, and as far as the next round's people."""

from __future__ import annotations

import json

import dagster as dg
import pytest

from crlhf.errors import InputError
from dagster_project import crowd_sensor
from dagster_project.crowd_sensor import build_crowd_sensors, rest_of_round
from dagster_project.graph import Graph, Stage


def _stage(name: str, *upstream: str) -> Stage:
    meta = {"may_wait": True} if name.startswith("annotations") else {}
    return Stage(name, "x", "", meta, (), {}, (), upstream)


STAGES = (
    _stage("base"),
    _stage("completions@r1", "base"),
    _stage("annotations@r1", "completions@r1"),
    _stage("ppo@r1", "annotations@r1", "completions@r1"),
    _stage("mbpp@r1", "ppo@r1"),
    _stage("completions@r2", "ppo@r1"),
    _stage("annotations@r2", "completions@r2"),
    _stage("ppo@r2", "annotations@r2", "completions@r2"),
    _stage("mbpp@r2", "ppo@r2"),
    _stage("completions@r3", "ppo@r2"),
    _stage("annotations@r3", "completions@r3"),
    _stage("report", "mbpp@r1", "mbpp@r2"),
)
GRAPH = Graph({stage.name: stage for stage in STAGES}, {}, {})


def test_the_rest_of_a_round_ends_where_the_next_one_waits():
    assert rest_of_round(GRAPH, "r1") == ["annotations@r1", "ppo@r1", "mbpp@r1", "completions@r2", "report"]
    assert rest_of_round(GRAPH, "r2") == ["annotations@r2", "ppo@r2", "mbpp@r2", "completions@r3", "report"]


def test_a_pipeline_in_which_nothing_waits_has_no_such_sensor(tmp_path):
    assert build_crowd_sensors(Graph({"base": STAGES[0]}, {}, {}), tmp_path) == []


@pytest.fixture
def tick(tmp_path, monkeypatch):
    """A function that evaluates the sensor with its own cursor, on what the test says of the rounds."""
    (sensor,) = build_crowd_sensors(GRAPH, tmp_path)
    world = {"awaited": ["r1"], "state": "s1", "ready": False, "asked": 0, "cursor": None}

    def is_ready(root, name):
        world["asked"] += 1
        return world["ready"]

    monkeypatch.setattr(crowd_sensor, "awaited_rounds", lambda root: world["awaited"])
    monkeypatch.setattr(crowd_sensor, "state_of_files", lambda root, name: world["state"])
    monkeypatch.setattr(crowd_sensor, "is_ready", is_ready)
    monkeypatch.setattr(crowd_sensor, "progress_of", lambda root, name: "1 of 2")
    job = dg.define_asset_job("everything")
    with dg.DagsterInstance.ephemeral() as instance:

        def evaluate(**changes):
            world.update(changes)

            @dg.asset
            def nothing() -> None: ...

            definitions = dg.Definitions(assets=[nothing], jobs=[job], sensors=[sensor])
            context = dg.build_sensor_context(
                instance=instance, cursor=world["cursor"], repository_def=definitions.get_repository_def()
            )
            result = sensor(context)
            world["cursor"] = result.cursor
            return result

        evaluate.world, evaluate.instance = world, instance
        yield evaluate


def test_files_are_read_only_when_they_changed_and_a_ready_round_is_launched_once(tick):
    assert tick().skip_reason.skip_message == "round r1: waiting: 1 of 2"
    assert tick().skip_reason.skip_message == "round r1: no new batch"
    assert tick.world["asked"] == 1
    (request,) = tick(state="s2", ready=True).run_requests
    assert request.run_key == "r1-s2"
    assert {"@".join(key.path) for key in request.asset_selection} == set(rest_of_round(GRAPH, "r1"))
    assert not tick().run_requests
    assert json.loads(tick.world["cursor"]) == {"r1": "s2"}
    assert tick(awaited=[]).skip_reason.skip_message == "no round waits for verdicts"


def test_a_round_that_cannot_be_asked_about_holds_up_no_other_and_is_asked_again(tick, monkeypatch):
    def is_ready(root, name):
        if name == "r2" and not tick.world["ready"]:
            raise InputError("0007-x.csv: unusable")
        return True

    monkeypatch.setattr(crowd_sensor, "is_ready", is_ready)
    (request,) = tick(awaited=["r1", "r2"]).run_requests
    assert request.run_key == "r1-s1"
    assert json.loads(tick.world["cursor"]) == {"r1": "s1"}
    said = tick(awaited=["r2"]).skip_reason.skip_message
    assert said == "round r2: 0007-x.csv: unusable"
    assert [one.run_key for one in tick(ready=True).run_requests] == ["r2-s1"]


def test_nothing_is_launched_or_forgotten_while_a_run_is_going_on(tick):
    from dagster._core.test_utils import create_run_for_test

    create_run_for_test(tick.instance, status=dg.DagsterRunStatus.STARTED)
    result = tick(ready=True)
    assert result.skip_reason.skip_message == "a run is going on"
    assert not result.run_requests
    assert result.cursor is None


def test_a_round_that_the_definitions_do_not_know_yet_asks_for_a_reload(tick):
    assert tick(awaited=["r9"], ready=True).skip_reason.skip_message == "round r9: press Reload definitions"
