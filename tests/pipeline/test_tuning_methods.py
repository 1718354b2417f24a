"""Stage `ppo` with each baseline, as a user runs it, and the tuned policy as MLflow hands it out."""

import json
import shutil

import pytest

from tests.pipeline.conftest import BIN, Project

pytestmark = pytest.mark.pipeline


@pytest.fixture
def project(repro, tmp_path):
    shutil.copytree(repro.root, tmp_path / "project", symlinks=True, ignore=shutil.ignore_patterns("mlflow.db"))
    return Project(tmp_path / "project", dict(repro.environment))


@pytest.mark.parametrize("method", ["sft", "dpo", "grpo", "rloo", "reward_model"])
def test_a_baseline_takes_the_place_of_ppo_and_says_so(project, method):
    before = (project.root / "models/r1/adapter/adapter_model.safetensors").read_bytes()
    project.edit_params(tuning={"method": method}, ppo={"max_kl": 1e3, "max_length_drift": 1e3})
    project.crlhf("ppo", "--round", "r1")
    manifest = json.loads((project.root / "models/r1/manifest.json").read_text())
    assert manifest["method"] == method
    assert manifest["is_simulated"]
    assert "on a simulated crowd" in manifest["name"]
    summary = json.loads((project.root / "metrics/rounds/r1/ppo.json").read_text())
    assert summary["metrics"]["n_steps"] >= 1
    assert summary["facts"]["method"] in manifest["name"]
    assert (project.root / "models/r1/adapter/adapter_model.safetensors").read_bytes() != before
    assert not list((project.root / ".crlhf/partial").glob("ppo@r1-*"))


def test_mlflow_hands_out_the_tuned_policy(project):
    project.crlhf("ppo", "--round", "r1")
    program = (
        "import mlflow, pandas as pd; mlflow.set_tracking_uri('sqlite:///mlflow.db'); "
        "policy = mlflow.pyfunc.load_model('models:/crlhf-policy@r1'); "
        "texts = policy.predict(['def f(x):', 'a = '], params=None); print('ANSWER', len(texts)); "
        "again = policy.predict(pd.DataFrame({'prompt': ['def f(x):', 'a = ']})); print('SAME', texts == again)"
    )
    answer = project.run(BIN / "python", "-c", program)
    assert "ANSWER 2" in answer.stdout
    assert "SAME True" in answer.stdout
