"""The whole pipeline through DVC, on a tiny random policy."""

import json
import os
import signal
import subprocess
import time

import pandas as pd
import pytest

from crlhf.stages import STAGES, instance_name, rounds_of
from crlhf.store import Store
from tests.pipeline.conftest import BIN

pytestmark = pytest.mark.pipeline

INSTANCES = [instance_name(stage, one) for stage in STAGES for one in rounds_of(stage, ["r1"])]


def test_the_report_and_the_scores_are_there(repro):
    html = (repro.root / "reports" / "report.html").read_text()
    assert "tiny random policy" in html
    assert "The crowd of this run was simulated" in html
    records = json.loads((repro.root / "metrics" / "scores.json").read_text())
    keys = {"benchmark", "policy", "protocol", "k", "value", "low", "high", "n_problems", "n_samples", "outcomes"}
    assert all(set(record) == keys for record in records)
    assert all(sum(r["outcomes"].values()) == r["n_problems"] * r["n_samples"] for r in records)
    humaneval = [record for record in records if record["benchmark"] == "humaneval"]
    assert [(r["policy"], r["n_problems"], r["n_samples"]) for r in humaneval] == [("base", 2, 1), ("r1", 2, 1)]
    # a random policy solves nothing: every value is exactly 0
    assert all(record["value"] == 0 for record in records)


def test_everything_is_fresh_after_a_run_and_nothing_is_recomputed(repro):
    assert repro.stale() == []
    before = (repro.root / "data/rounds/r1/scores.parquet").stat().st_mtime_ns
    answer = repro.dvc("repro")
    assert "Running stage" not in answer.stdout
    assert (repro.root / "data/rounds/r1/scores.parquet").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("section", "changes", "stale"),
    [
        ("ppo", {"kl_coef": 0.07}, ["ppo@r1"]),
        ("rewards", {"truncation_penalty": 0.3}, ["rewards@r1"]),
        ("report", {"n_bootstrap": 300}, ["report", "scores"]),
        ("crowd", {"honeypots_per_annotator": 3}, ["annotations@r1"]),
    ],
)
def test_a_parameter_makes_the_stages_that_read_it_stale_and_no_other(repro, section, changes, stale):
    text = (repro.root / "params.yaml").read_text()
    try:
        repro.edit_params(**{section: changes})
        assert repro.stale() == stale
    finally:
        (repro.root / "params.yaml").write_text(text)


def test_what_follows_ppo_is_the_tuned_scores_and_the_report(repro):
    assert repro.downstream("ppo@r1") == ["humaneval@r1", "mbpp@r1", "ppo@r1", "report", "scores", "sql@r1"]


def test_a_second_run_from_scratch_gives_the_same_bytes(repro, make_project):
    again = make_project("again", CRLHF_TRACKING="off", OMP_NUM_THREADS="1")
    again.dvc("repro", "scores")
    first, second = repro.hashes(), again.hashes()
    tables = [path for path in second if path.startswith(("data/", "metrics/", "models/"))]
    assert {path: second[path] for path in tables} == {path: first[path] for path in tables}
    assert "metrics/scores.json" in tables
    assert "data/rounds/r1/scores.parquet" in tables


def test_mlflow_has_one_parent_and_a_child_for_each_stage(repro):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{repro.root / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("crlhf").experiment_id
    runs = client.search_runs([experiment], "tags.`crlhf.stage` != ''")
    assert sorted(run.data.tags["crlhf.stage"] for run in runs) == sorted(INSTANCES)
    assert len({run.data.tags["mlflow.parentRunId"] for run in runs}) == 1
    assert {run.info.status for run in runs} == {"FINISHED"}
    tags = {run.data.tags["crlhf.stage"]: run.data.tags["crlhf.crowd"] for run in runs}
    assert tags["ppo@r1"] == tags["humaneval@r1"] == tags["annotations@r1"] == "simulated"
    assert tags["problems"] == tags["humaneval@base"] == "none or human"
    assert client.get_model_version_by_alias("crlhf-policy", "r1").tags["crlhf.crowd"] == "simulated"
    curves = next(run for run in runs if run.data.tags["crlhf.stage"] == "ppo@r1").data.metrics
    assert {"score", "kl_k3", "value_loss", "entropy"} <= set(curves)


def test_honeypots_rest_on_no_crowd_and_say_that_their_truth_is_simulated(repro):
    summary = json.loads((repro.root / "metrics/rounds/r1/honeypots.json").read_text())
    assert summary["is_simulated"] is False
    assert summary["facts"]["truth"].startswith("simulated: ")


def test_collected_annotations_with_bad_rows_go_on_and_nothing_is_lost(make_project, repro):
    project = make_project("collected", CRLHF_TRACKING="off")
    for name in ("problems", "completions", "items", "line_truths"):
        project_table = Store(repro.root, "r1").read(name)
        Store(project.root, "r1").write(name, project_table)
    raw = Store(repro.root, "r1").read("annotations").assign(source="page").drop(columns=["source_file", "source_row"])
    lines = raw.to_json(orient="records", lines=True).splitlines()
    good = len(lines)
    bad = [
        json.dumps(json.loads(lines[0]) | {"line_no": 9999, "annotator_id": "x-out-of-range"}),
        json.dumps(json.loads(lines[0]) | {"completion_id": "0" * 16, "annotator_id": "x-unknown"}),
        lines[0],  # a duplicate
        lines[1][: len(lines[1]) // 2],  # cut in the middle
    ]
    (project.root / "data/annotations/batch-1.jsonl").write_text("\n".join(lines + bad))
    project.edit_params(crowd={"source": "collected"})
    project.crlhf("annotations")
    answer = project.crlhf("validated")
    quarantine = Store(project.root, "r1").read("quarantine")
    validated = Store(project.root, "r1").read("validated")
    assert set(quarantine["source_row"]) == set(range(good + 1, good + 5))
    assert set(quarantine["source_file"]) == {"batch-1.jsonl"}
    assert len(validated) == good
    for row in range(good + 1, good + 5):
        assert f"row {row}" in answer.stderr
    assert project.crlhf("validate", "data/annotations/batch-1.jsonl", check=False).returncode == 3


@pytest.mark.parametrize(
    ("content", "word"),
    [("annotator_id,verdict\na,wrong\n", "columns"), ("", "batch-1.csv"), ("\x00\x01", "batch-1.csv")],
)
def test_an_unusable_file_is_one_sentence_and_not_exit_code_0(make_project, repro, content, word):
    project = make_project("unusable", CRLHF_TRACKING="off")
    for name in ("items", "line_truths"):
        Store(project.root, "r1").write(name, Store(repro.root, "r1").read(name))
    (project.root / "data/annotations/batch-1.csv").write_text(content)
    project.edit_params(crowd={"source": "collected"})
    answer = project.crlhf("annotations", check=False)
    assert answer.returncode == 3
    assert "batch-1.csv" in answer.stderr
    assert word in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(repro, make_project):
    project = make_project("killed", CRLHF_TRACKING="off")
    child = subprocess.Popen(
        [str(BIN / "dvc"), "repro", "rewards"],
        cwd=project.root,
        env=project.environment,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not (project.root / ".crlhf/partial/completions.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    project.dvc("repro", "rewards")
    tables = {path: md5 for path, md5 in project.hashes().items() if path.startswith("data/rounds/")}
    first = repro.hashes()
    assert "data/rounds/r1/scores.parquet" in tables
    assert tables == {path: first[path] for path in tables}


def test_a_stage_of_rewards_reads_only_what_people_said(repro):
    truths = Store(repro.root, "r1").read("line_truths")
    scores = Store(repro.root, "r1").read("scores")
    posteriors = Store(repro.root, "r1").read("line_posteriors")
    assert set(scores["completion_id"]) <= set(truths["completion_id"])
    # s = mean of q over the completion's judgeable lines
    mean = posteriors.groupby("completion_id")["posterior"].mean()
    pd.testing.assert_series_equal(
        scores.set_index("completion_id")["aligned_score"].sort_index(), mean.sort_index(), check_names=False
    )
