"""Stage `ppo` as a user runs it: in two processes, all weights, line by line; ended by SIGTERM and taken up again."""

import json
import re
import shutil
import signal
import subprocess
import time

import pytest

from crlhf.stages.runner import execute
from crlhf.store import Store
from crlhf.tracking import StageRun
from tests.pipeline.conftest import BIN, Project

pytestmark = pytest.mark.pipeline


@pytest.fixture
def project(repro, tmp_path):
    shutil.copytree(repro.root, tmp_path / "project", symlinks=True, ignore=shutil.ignore_patterns("mlflow.db"))
    return Project(tmp_path / "project", dict(repro.environment))


def test_rewards_of_other_programs_are_refused_though_the_ids_are_the_same(project):
    store = Store(project.root, "r1")
    before = store.read("completions").set_index("completion_id")["code_sha256"]
    policy = (project.root / "models/r1/manifest.json").read_bytes()
    project.edit_params(completions={"temperature": 1.5})
    project.crlhf("completions", "--round", "r1")
    after = store.read("completions").set_index("completion_id")["code_sha256"]
    assert set(after.index) == set(before.index)
    assert (after != before[after.index]).any()

    tuned = project.crlhf("ppo", "--round", "r1", check=False)
    judged = project.crlhf("rewards", "--round", "r1", check=False)
    assert (tuned.returncode, judged.returncode) == (5, 5)
    assert re.search(r"scores\.parquet: \d+ of its programs are not those of .*completions\.parquet", tuned.stderr)
    assert "run `dvc repro rewards@r1`" in tuned.stderr
    assert "run `dvc repro honeypots@r1`" in judged.stderr
    assert (project.root / "models/r1/manifest.json").read_bytes() == policy

    project.crlhf("honeypots", "--round", "r1")  # what is shown is new, the verdicts are not
    judged = project.crlhf("rewards", "--round", "r1", check=False)
    assert judged.returncode == 5
    assert "run `dvc repro validated@r1`" in judged.stderr


def test_a_kill_after_training_costs_no_step_and_the_end_leaves_no_work_behind(project, monkeypatch):
    for name in ("CRLHF_CACHE", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, project.environment[name])
    monkeypatch.setenv("CRLHF_TRACKING", "off")
    project.edit_params(ppo={"kl_coef": 0.07})
    partial, steps = project.root / ".crlhf/partial", []
    for name in ("ppo@r1-0123456789abcdef", "ppo@r2-0123456789abcdef"):  # given up under other params; another round's
        (partial / name).mkdir(parents=True)
    monkeypatch.setattr(StageRun, "log_step", lambda self, step, curves: steps.append(step))
    with monkeypatch.context() as patched:
        patched.setattr(StageRun, "register_policy", lambda *about, **more: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            execute("ppo", project.root, lambda text: None, "r1")
    assert steps == [1, 2, 3]
    execute("ppo", project.root, lambda text: None, "r1")
    assert len(steps) == len(set(steps))
    assert [path.name for path in partial.glob("ppo@*")] == ["ppo@r2-0123456789abcdef"]


def test_two_processes_train_all_weights_line_by_line_and_one_of_them_reports(project):
    # The tiny policy is random, and its completions drift; the bounds are not what is tested here.
    project.edit_params(ppo={"fine_tuning": "full", "reward_placement": "line_ends", "max_kl": 1e3})
    project.environment["CRLHF_LAUNCH"] = "torchrun --standalone --nproc_per_node 2"
    project.crlhf("ppo", "--round", "r1")
    manifest = json.loads((project.root / "models/r1/manifest.json").read_text())
    assert manifest["weights"] == "policy"
    assert json.loads((project.root / "metrics/rounds/r1/ppo.json").read_text())["metrics"]["n_steps"] == 3
    project.crlhf("humaneval", "--policy", "r1")
    assert (project.root / "data/tables/humaneval/r1.parquet").is_file()


def test_sigterm_is_exit_code_143_and_the_next_run_goes_on_in_the_same_mlflow_run(project):
    from mlflow import MlflowClient

    # 300 steps, each with a checkpoint: long enough to be stopped in the middle on any machine
    project.edit_params(ppo={"num_ppo_epochs": 100, "max_kl": 1e3})
    child = subprocess.Popen([BIN / "crlhf", "ppo", "--round", "r1"], cwd=project.root, env=project.environment)
    deadline = time.monotonic() + 300
    while not list(project.root.glob(".crlhf/partial/ppo@r1-*/checkpoints/checkpoint-?")):
        assert time.monotonic() < deadline
        assert child.poll() is None
        time.sleep(0.05)
    child.send_signal(signal.SIGTERM)
    assert child.wait(120) == 143
    client = MlflowClient(f"sqlite:///{project.root / 'mlflow.db'}")

    def runs():
        ids = [experiment.experiment_id for experiment in client.search_experiments()]
        return client.search_runs(ids, "tags.`crlhf.stage` = 'ppo@r1'")

    assert [run.info.status for run in runs()] == ["KILLED"]
    answer = project.crlhf("ppo", "--round", "r1")
    assert "PPO: going on after step " in answer.stderr
    (run,) = runs()
    assert run.info.status == "FINISHED"
    assert client.get_model_version_by_alias("crlhf-policy", "r1").run_id == run.info.run_id
    steps = [point.step for point in client.get_metric_history(run.info.run_id, "score")]
    assert steps == list(range(1, 301))  # six completions in steps of two, a hundred epochs; none twice
