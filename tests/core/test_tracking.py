"""MLflow: one parent a pipeline state, one child a stage, nothing logged twice."""

import shutil
from pathlib import Path

import pytest

from crlhf import tracking
from crlhf.params import load_params
from crlhf.schema import Check, Summary
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
    assert tracking.run_ids(project, params) == {
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


def test_a_killed_run_is_reopened_and_its_steps_are_not_logged_again(project):
    params = params_of(project)
    with pytest.raises(KeyboardInterrupt), tracking.stage_run("ppo", project, params, print) as run:
        run.log_step(1, {"score": 0.1})
        run.log_step(2, {"score": 0.2})
        raise KeyboardInterrupt
    with tracking.stage_run("ppo", project, params, print) as again:
        again.log_step(2, {"score": 0.2})
        again.log_step(3, {"score": 0.3})
    client, (child,) = runs(project, "ppo")
    assert again.run_id == run.run_id
    assert child.info.status == "FINISHED"
    history = client.get_metric_history(child.info.run_id, "score")
    assert [(point.step, point.value) for point in history] == [(1, 0.1), (2, 0.2), (3, 0.3)]


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
