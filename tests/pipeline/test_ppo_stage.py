"""Stage `ppo` as a user runs it: in two processes, all weights, line by line; ended by SIGTERM and taken up again."""

import json
import shutil
import signal
import subprocess
import time

import pytest
from safetensors.torch import load_file

from tests.pipeline.conftest import BIN, Project

pytestmark = pytest.mark.pipeline


@pytest.fixture
def project(repro, tmp_path):
    shutil.copytree(repro.root, tmp_path / "project", symlinks=True, ignore=shutil.ignore_patterns("mlflow*"))
    copied = Project(tmp_path / "project", dict(repro.environment))
    shutil.rmtree(copied.root / "models/r1")
    return copied


def test_two_processes_train_all_weights_line_by_line_and_one_of_them_reports(project):
    # The tiny policy is random, and its completions drift; the bounds are not what is tested here.
    project.edit_params(ppo={"fine_tuning": "full", "reward_placement": "line_ends", "max_kl": 1e3})
    project.environment["CRLHF_LAUNCH"] = "torchrun --standalone --nproc_per_node 2"
    project.crlhf("ppo")
    manifest = json.loads((project.root / "models/r1/manifest.json").read_text())
    assert manifest["weights"] == "policy"
    assert json.loads((project.root / "metrics/rounds/r1/ppo.json").read_text())["metrics"]["n_steps"] == 3
    project.crlhf("humaneval", "--policy", "r1")
    assert (project.root / "data/tables/humaneval/r1.parquet").is_file()


def test_sigterm_is_exit_code_143_and_the_next_run_goes_on_in_the_same_mlflow_run(project):
    from mlflow import MlflowClient

    project.edit_params(ppo={"num_ppo_epochs": 30, "save_every_steps": 1000, "max_kl": 1e3})
    child = subprocess.Popen(
        [BIN / "crlhf", "ppo"], cwd=project.root, env=project.environment, stderr=subprocess.PIPE, text=True
    )
    client = MlflowClient(f"sqlite:///{project.root / 'mlflow.db'}")

    def runs():
        ids = [experiment.experiment_id for experiment in client.search_experiments()]
        return client.search_runs(ids, "tags.`crlhf.stage` = 'ppo@r1'")

    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (
        (project.root / "mlflow.db").is_file() and [run for run in runs() if "score" in run.data.metrics]
    ):
        time.sleep(0.1)
    child.send_signal(signal.SIGTERM)
    assert child.wait(60) == 143
    assert [run.info.status for run in runs()] == ["KILLED"]
    answer = project.crlhf("ppo")
    assert "PPO: going on after step " in answer.stderr
    (run,) = runs()
    assert run.info.status == "FINISHED"
    steps = [point.step for point in client.get_metric_history(run.info.run_id, "score")]
    assert steps == list(range(1, 91))  # six completions in steps of two, thirty epochs; none twice
    assert load_file(project.root / "models/r1/adapter/adapter_model.safetensors")
