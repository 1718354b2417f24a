"""A round of people through DVC: it waits, goes on with its verdicts; late ones make nothing stale, forgetting does."""

import json

import pytest
import yaml

from crlhf.crowd.simulate import simulate_annotations
from crlhf.params import load_params
from crlhf.schema import ANNOTATIONS
from crlhf.stages.batches import write_batch
from crlhf.store import Store
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
