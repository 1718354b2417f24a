"""Three rounds through DVC on a policy that solves about half of a toy family: its true pass rate rises."""

import json
import re

import pytest
import yaml

from crlhf.stages import PER_POLICY, summary_path
from tests.fitted_policy import build_fitted_policy
from tests.pipeline.toy_rounds import ROUND_STAGES, rounds, run_rounds, toy_params, toy_starter

pytestmark = pytest.mark.pipeline


@pytest.fixture(scope="module")
def fitted_policy(tmp_path_factory):
    return build_fitted_policy(tmp_path_factory.mktemp("fitted") / "policy")


@pytest.fixture(scope="module")
def three_rounds(make_project, fitted_policy):
    """A project on which `dvc repro` has run three rounds once."""
    project = make_project("rounds", CRLHF_TRACKING="off", OMP_NUM_THREADS="1")  # one is fastest for so small a policy
    path = project.root / "params.yaml"
    values = toy_params(yaml.safe_load(path.read_text()), fitted_policy, seed=1)
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    toy_starter(project.root)
    project.dvc("repro")
    return project


def metrics(project, stage, name):
    return json.loads((project.root / summary_path(stage, name)).read_text())["metrics"]


def test_adding_a_round_re_runs_nothing_old_and_the_true_pass_rate_has_risen(three_rounds):
    project = three_rounds
    assert project.stale() == []
    project.edit_params(**rounds(4))
    new = {f"{stage}@r4" for stage in (*ROUND_STAGES, *PER_POLICY)}
    assert set(project.stale()) == new | {"scores", "report"}
    plan = project.dvc("repro", "--dry", "completions@r4").stdout
    assert re.findall(r"Running stage '(.+)'", plan) == ["completions@r4"]
    project.dvc("repro", "honeypots@r4")  # what the policy of the third round writes, and whether it passes
    rates = [metrics(project, "honeypots", f"r{no}")["pass_rate"] for no in range(1, 5)]
    assert 0.3 <= rates[0] <= 0.6
    assert rates[-1] > rates[0] + 0.15
    assert rates[2] > rates[0]


def test_shuffled_rewards_give_no_rise(fitted_policy, tmp_path, monkeypatch):
    monkeypatch.setenv("CRLHF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CRLHF_TRACKING", "off")
    rates = run_rounds(tmp_path / "shuffled", fitted_policy, seed=1, is_shuffled=True)
    assert 0.3 <= rates[0] <= 0.6
    assert rates[-1] <= rates[0] + 0.1  # of 128 programs each; with the crowd's own rewards it rises by 0.15 or more


def test_each_round_starts_from_the_policy_and_the_crowd_of_the_one_before(three_rounds):
    project = three_rounds
    manifests = [json.loads((project.root / f"models/r{no}/manifest.json").read_text()) for no in (1, 2, 3)]
    base = json.loads((project.root / "models/base/manifest.json").read_text())
    assert [one["prev"] for one in manifests] == [base["policy_id"], *(one["policy_id"] for one in manifests[:2])]
    assert {one["base"]["policy_id"] for one in manifests} == {base["policy_id"]}
    carried = [metrics(project, "reliabilities", f"r{no}")["n_carried_over"] for no in (1, 2, 3)]
    assert carried == [0, 7, 7]  # the crowd is the same seven people in every round


def test_scores_and_report_tell_of_every_round(three_rounds):
    records = json.loads((three_rounds.root / "metrics/scores.json").read_text())
    assert [r["policy"] for r in records if r["benchmark"] == "humaneval"] == ["base", "r1", "r2", "r3"]
    html = (three_rounds.root / "reports/report.html").read_text()
    assert "The crowd of this run was simulated" in html


def test_a_rounds_policy_is_tried_by_its_name_and_its_answers_are_judged(three_rounds):
    asked = ("--problem", "starter/1", "--n", 4, "--temperature", 1, "--max-new-tokens", 56, "--check")
    tuned, base = (three_rounds.crlhf("generate", "--policy", name, *asked) for name in ("r3", "base"))
    verdicts = re.findall(r"^# \d of 4: \d+ tokens, \w+; (pass|fail|error|timeout), ", tuned.stdout, re.MULTILINE)
    assert len(verdicts) == 4
    assert f"{verdicts.count('pass')} of 4 pass all tests" in tuned.stderr
    assert tuned.stdout != base.stdout
