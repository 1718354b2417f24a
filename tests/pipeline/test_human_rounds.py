"""A round of people through DVC: it waits, goes on with its verdicts; late ones make nothing stale, forgetting does."""

import json

import pytest
import yaml

from crlhf.crowd.simulate import simulate_annotations
from crlhf.params import load_params
from crlhf.schema import ANNOTATIONS
from crlhf.stages.batches import write_batch
from crlhf.store import Store
from dagster_project.crowd_sensor import rest_of_round
from dagster_project.graph import read_graph
from tests.pipeline.toy_rounds import rounds

pytestmark = pytest.mark.pipeline


@pytest.fixture(scope="module")
def project(make_project):
    project = make_project("people", CRLHF_TRACKING="off")
    project.edit_params(crowd={"source": "collected"}, **rounds(2))
    return project


def people(project, name):
    """What a crowd would answer, as the page would write it; drawn, since there are no people in a test."""
    store, params = Store(project.root, name), load_params(project.root / "params.yaml")
    crowd = simulate_annotations(store.read("items"), store.read("line_truths"), params.crowd, 7)
    columns = [c for c in ANNOTATIONS.column_names if c not in ("batch_id", "source", "source_file", "source_row")]
    return crowd.annotations[columns].to_dict("records")


def test_a_round_waits_goes_on_and_stays_as_it_is_until_somebody_is_forgotten(project):
    answer = project.dvc("repro", "rewards@r1", check=False)
    assert answer.returncode != 0
    assert "waiting: 0 of " in answer.stderr
    assert "annotations@r1" in project.stale()
    lock = yaml.safe_load((project.root / "dvc.lock").read_text())["stages"]
    assert "honeypots@r1" in lock
    assert "annotations@r1" not in lock
    assert not (project.root / "data/rounds/r1/annotations.parquet").exists()

    rows = people(project, "r1")
    one = rows[0]["annotator_id"]
    write_batch(project.root, [row for row in rows if row["annotator_id"] != one], "page")
    answer = project.crlhf("annotations", "--round", "r1", check=False)
    assert answer.returncode == 75
    assert "completions have the 4 verdicts they need" in answer.stderr

    write_batch(project.root, [row for row in rows if row["annotator_id"] == one], "page")
    project.dvc("repro", "rewards@r1")
    assert "r1 (after base): has its verdicts" in project.crlhf("rounds").stdout
    facts = json.loads((project.root / "metrics/rounds/r1/annotations.json").read_text())
    assert (facts["facts"]["files"], facts["metrics"]["n_rows"]) == ("2", len(rows))

    write_batch(project.root, [row | {"annotator_id": "late"} for row in rows if row["annotator_id"] == one], "page")
    done = [f"{stage}@r1" for stage in ("annotations", "validated", "reliabilities", "rewards")]
    assert not set(done) & set(project.stale())
    assert "Running stage" not in project.dvc("repro", "rewards@r1").stdout

    project.crlhf("forget", one)
    assert "annotations@r1" in project.stale()
    project.dvc("repro", "validated@r1")
    counted = set(Store(project.root, "r1").read("validated")["annotator_id"])
    assert counted == {row["annotator_id"] for row in rows} - {one}


@pytest.mark.slow
def test_a_round_that_goes_on_from_a_policy_that_is_no_more_is_left_out_of_scores_and_report(make_project):
    project = make_project("reopened", CRLHF_TRACKING="off")
    project.edit_params(**rounds(2))
    project.dvc("repro")
    assert told_policies(project) == {"base", "r1", "r2"}
    assert "is left out" not in (project.root / "reports/report.md").read_text()

    # The first round opens again: other programs, and people who have not judged them yet.
    project.edit_params(crowd={"source": "collected"}, completions={"temperature": 1.1})
    assert "waiting: 0 of " in project.dvc("repro", check=False).stderr
    answer = project.dvc("repro", "--single-item", "scores", "report", check=False)
    assert answer.returncode != 0
    assert "no round is over (r1: data/rounds/r1/annotations.parquet is not there yet; r2: round r1, " in answer.stderr

    write_batch(project.root, people(project, "r1"), "page")
    said = [project.dvc("repro", "--single-item", stage) for stage in rest_of_round(read_graph(project.root), "r1")]
    why = "its policy was not trained from the present policy of r1"
    assert sum(f"WARNING: round r2 is left out: {why}" in one.stdout + one.stderr for one in said) == 2
    assert told_policies(project) == {"base", "r1"}
    summaries = [
        json.loads((project.root / f"metrics/stages/{name}.json").read_text()) for name in ("scores", "report")
    ]
    assert [one["facts"]["rounds_left_out"] for one in summaries] == [f"r2: {why}"] * 2
    assert not any(one["is_simulated"] for one in summaries)
    report = (project.root / "reports/report.md").read_text()
    assert f"Round r2 is left out: {why}." in report
    assert "round r2" not in report
    assert "The crowd of this run was simulated" not in report


def told_policies(project):
    return {one["policy"] for one in json.loads((project.root / "metrics/scores.json").read_text())}
