"""MLflow: one parent a pipeline state, one child a stage, nothing logged twice."""

import shutil
from pathlib import Path

import pytest
import yaml

from crlhf import tracking
from crlhf.errors import WaitingError
from crlhf.params import load_params
from crlhf.schema import Check, Summary
from crlhf.stages.batches import append_event
from crlhf.store import write_json

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("CRLHF_TRACKING", raising=False)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / "data" / "starter").mkdir(parents=True)
    (tmp_path / "data" / "starter" / "problems.jsonl").write_text("{}\n")
    return tmp_path


def params_of(project, old="", new=""):
    path = project / "params.yaml"
    path.write_text(path.read_text().replace(old, new))
    return load_params(path)


def runs(project, stage):
    from mlflow import MlflowClient

    client = MlflowClient(tracking.tracking_uri(project))
    experiment = client.get_experiment_by_name("crlhf").experiment_id
    return client, client.search_runs(
        [experiment], f"tags.`crlhf.stage` = '{stage}'", order_by=["attributes.start_time ASC"]
    )


SUMMARY = Summary({"n": 3.0}, {"policy": "tiny"}, (Check("c", False, "warning", "d", 1),), is_simulated=True)


def test_a_stage_is_a_child_with_its_params_metrics_and_tags(project):
    params = params_of(project)
    with tracking.stage_run("ppo", project, params, print) as run:
        run.log_step(1, {"score": 0.5, "bad": float("nan")})
        run.log_summary(SUMMARY, 2.5)
    _, (child,) = runs(project, "ppo")
    assert child.info.status == "FINISHED"
    assert child.data.metrics == {"score": 0.5, "n": 3.0, "wall/seconds": 2.5}
    assert child.data.params["ppo.kl_coef"] == "0.05"
    assert "rewards.kind" not in child.data.params
    assert child.data.tags["crlhf.crowd"] == "simulated"
    assert child.data.tags["crlhf.check.c"] == "warning"
    assert tracking.run_ids(project, params, run.state) == {
        "pipeline": child.data.tags["mlflow.parentRunId"],
        "ppo": child.info.run_id,
    }


def test_stages_of_one_state_meet_in_one_parent_and_another_state_gets_its_own(project):
    def parent_of(params, stage):
        with tracking.stage_run(stage, project, params, print) as run:
            pass
        client, _ = runs(project, stage)
        return client.get_run(run.run_id).data.tags["mlflow.parentRunId"]

    first = params_of(project)
    assert parent_of(first, "problems") == parent_of(first, "rewards")
    other = params_of(project, "kl_coef: 0.05", "kl_coef: 0.1")
    changed_parent = parent_of(other, "problems")
    assert changed_parent != parent_of(first, "problems")
    (project / "data" / "starter" / "problems.jsonl").write_text("{} \n")
    assert parent_of(other, "problems") != changed_parent


def test_a_killed_run_of_the_same_inputs_is_reopened_and_its_steps_are_not_logged_again(project, monkeypatch):
    params = params_of(project)
    monkeypatch.setattr(tracking, "git_tags", lambda root: {"git.commit": "old"})
    with pytest.raises(KeyboardInterrupt), tracking.stage_run("ppo@r1", project, params, print) as run:
        run.resume("inputs")
        run.log_step(1, {"score": 0.1})
        run.log_step(2, {"score": 0.2})
        raise KeyboardInterrupt
    monkeypatch.setattr(tracking, "git_tags", lambda root: {"git.commit": "new"})
    with tracking.stage_run("ppo@r1", project, params, print) as again:
        again.resume("inputs")
        again.log_step(2, {"score": 0.2})
        again.log_step(3, {"score": 0.3})
    client, (child,) = runs(project, "ppo@r1")
    assert again.run_id == run.run_id
    assert child.info.status == "FINISHED"
    assert child.data.tags["git.commit"] == "new"
    history = client.get_metric_history(child.info.run_id, "score")
    assert [(point.step, point.value) for point in history] == [(1, 0.1), (2, 0.2), (3, 0.3)]


def fail(stage, project, params, inputs=None):
    """A run of a stage that logs one step and fails."""
    with pytest.raises(ZeroDivisionError), tracking.stage_run(stage, project, params, print) as run:
        if inputs:
            run.resume(inputs)
        run.log_step(1, {"score": 0.1})
        raise ZeroDivisionError
    return run


@pytest.mark.parametrize("inputs", [None, "other inputs"])
def test_a_failed_run_of_other_inputs_is_left_alone(project, inputs):
    params = params_of(project)
    fail("ppo@r1", project, params, inputs)
    with tracking.stage_run("ppo@r1", project, params, print) as run:
        run.resume("inputs")
        for step in (1, 2):
            run.log_step(step, {"score": 0.9})
    client, found = runs(project, "ppo@r1")
    assert [child.info.status for child in found] == ["FAILED", "FINISHED"]
    assert [point.value for point in client.get_metric_history(run.run_id, "score")] == [0.9, 0.9]


def test_a_run_that_was_killed_without_a_word_is_closed_by_the_one_that_replaces_it(project):
    params = params_of(project)
    old = tracking._open("rewards@r1", project, params, print)
    with tracking.stage_run("rewards@r1", project, params, print):
        pass
    client, _ = runs(project, "rewards@r1")
    assert client.get_run(old.run_id).info.status == "KILLED"
    assert client.get_run(old.run_id).data.tags["crlhf.superseded"] == "true"


def test_a_run_that_waits_for_people_is_the_one_that_goes_on(project):
    params = params_of(project)
    with pytest.raises(WaitingError), tracking.stage_run("annotations@r1", project, params, print):
        raise WaitingError("12 of 40")
    with tracking.stage_run("annotations@r1", project, params, print):
        pass
    _, found = runs(project, "annotations@r1")
    assert [child.info.status for child in found] == ["FINISHED"]


def test_a_failed_attempt_does_not_take_the_place_of_the_run_that_finished(project):
    params = params_of(project)
    with tracking.stage_run("ppo@r1", project, params, print) as good:
        good.log_summary(SUMMARY, 1.0)
    fail("ppo@r1", project, params)
    tracking.annotate("ppo@r1", project, dvc_outputs={"models/r1": "abc"})
    _, found = runs(project, "ppo@r1")
    assert [child.info.status for child in found] == ["FINISHED", "FAILED"]
    assert [child.data.tags.get("dvc.models/r1") for child in found] == ["abc", None]
    assert [child.data.tags.get("crlhf.superseded") for child in found] == [None, None]
    assert tracking.run_ids(project, params, good.state)["ppo@r1"] == good.run_id


def test_the_state_covers_all_raw_data_that_dvc_yaml_reads():
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    deps = {dep for stage in stages.values() for dep in stage.get("do", stage)["deps"]}
    by_hand = {dep for dep in deps if dep.startswith("data/") and (ROOT / dep).exists() and "${" not in dep}
    made = {"data/tables", "data/rounds"}
    assert {dep for dep in by_hand if not dep.startswith(tuple(made))} <= set(tracking.RAW)


@pytest.mark.parametrize("name", tracking.RAW)
def test_an_edit_of_any_raw_data_changes_the_state(project, name):
    path = project / name if Path(name).suffix else project / name / "one.sql"
    path.parent.mkdir(parents=True, exist_ok=True)
    states = set()
    for content in ("1", "2"):
        path.write_text(content)
        states.add(tracking.pipeline_state(project, params_of(project)))
    assert len(states) == 2


def test_a_round_that_closes_and_a_batch_that_comes_while_a_stage_runs_leave_it_one_run(project):
    params = params_of(project, "source: simulated", "source: collected")
    assert params.crowd.source == "collected"
    with tracking.stage_run("annotations@r1", project, params, print):
        append_event(project, {"event": "closed", "round": "r1", "items_sha256": "x", "files": []})
        (project / "data" / "annotations" / "0002-page.jsonl").write_text("{}")
    tracking.annotate("annotations@r1", project, dvc_outputs={"a": "abc"})
    _, (child,) = runs(project, "annotations@r1")
    assert child.data.tags["dvc.a"] == "abc"
    assert "crlhf.reused" not in child.data.tags


def test_params_that_are_edited_while_a_stage_runs_leave_it_one_run(project):
    with tracking.stage_run("rewards@r1", project, params_of(project), print) as run:
        params_of(project, "kl_coef: 0.05", "kl_coef: 0.1")
    tracking.annotate("rewards@r1", project, dvc_outputs={"a": "abc"}, state=run.state)
    _, (child,) = runs(project, "rewards@r1")
    assert child.data.tags["dvc.a"] == "abc"


@pytest.mark.parametrize(
    ("stage", "source", "crowd"),
    [
        ("ppo@r1", "simulated", "simulated"),
        ("humaneval@r1", "simulated", "simulated"),
        ("report", "simulated", "simulated"),
        ("problems", "simulated", "none or human"),
        ("humaneval@base", "simulated", "none or human"),
        ("ppo@r1", "collected", "none or human"),
    ],
)
def test_a_run_says_from_its_start_that_its_crowd_is_simulated(project, stage, source, crowd):
    params = params_of(project, "source: simulated", f"source: {source}")
    fail(stage, project, params)
    _, (child,) = runs(project, stage)
    assert child.data.tags["crlhf.crowd"] == crowd


def test_a_stage_that_learns_of_a_simulated_crowd_says_so_at_once(project):
    params = params_of(project, "source: simulated", "source: collected")
    with pytest.raises(KeyboardInterrupt), tracking.stage_run("ppo@r1", project, params, print) as run:
        run.mark_simulated()
        raise KeyboardInterrupt
    _, (child,) = runs(project, "ppo@r1")
    assert child.data.tags["crlhf.crowd"] == "simulated"


@pytest.mark.parametrize(("is_simulated", "crowd"), [(True, "simulated"), (False, "none or human")])
def test_a_registered_policy_says_whose_verdicts_taught_it(project, is_simulated, crowd):
    (project / "weights").mkdir()
    (project / "weights" / "manifest.json").write_text("{}")
    with tracking.stage_run("ppo@r1", project, params_of(project), print) as run:
        run.register_policy(project / "weights", "r1", is_simulated=is_simulated)
    client, _ = runs(project, "ppo@r1")
    version = client.get_model_version_by_alias(tracking.REGISTERED_POLICY, "r1")
    assert version.tags["crlhf.crowd"] == crowd


def test_a_stage_run_again_in_one_state_supersedes_the_old_run(project):
    params = params_of(project)
    for _ in range(2):
        with tracking.stage_run("rewards", project, params, print):
            pass
    _, found = runs(project, "rewards")
    assert [run.data.tags.get("crlhf.superseded") for run in found] == ["true", None]


def test_annotate_adds_hashes_and_makes_a_run_for_a_skipped_stage(project):
    params_of(project)
    write_json(
        project / "metrics" / "stages" / "rewards.json",
        {"metrics": {"n": 4.0}, "is_simulated": True},
    )
    for _ in range(2):
        tracking.annotate("rewards", project, dvc_outputs={"data/x.parquet": "abc"}, dagster_run_id="d-1")
    _, (child,) = runs(project, "rewards")
    assert child.data.metrics == {"n": 4.0}
    assert child.data.tags["crlhf.reused"] == "true"
    assert child.data.tags["dvc.data/x.parquet"] == "abc"
    assert child.data.tags["dagster.run_id"] == "d-1"


def test_a_tracker_that_cannot_be_reached_does_not_fail_the_stage(project, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////dev/null/mlflow.db")
    said = []
    with tracking.stage_run("rewards", project, params_of(project), said.append) as run:
        run.log_summary(SUMMARY, 1.0)
    assert run.run_id is None
    assert len(said) == 1
    assert said[0].startswith("MLflow: this run is not tracked: ")


def test_tracking_can_be_switched_off(project, monkeypatch):
    monkeypatch.setenv("CRLHF_TRACKING", "off")
    with tracking.stage_run("rewards", project, params_of(project), print) as run:
        run.log_step(1, {"score": 1.0})
    assert not (project / "mlflow.db").exists()
