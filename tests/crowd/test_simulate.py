"""The simulated crowd: amounts by plan, verdicts by the drawn reliabilities, times that could be."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from crlhf.crowd.simulate import SimulatedCrowd, simulate_annotations
from crlhf.lines import sha256_text
from crlhf.params import CrowdParams
from crlhf.schema import ANNOTATIONS, ITEMS
from crlhf.store import to_arrow

KINDS = {
    "expert": {"n": 3, "sensitivity": (18, 2), "specificity": (49, 1)},
    "average": {"n": 4, "sensitivity": (8, 4), "specificity": (30, 2)},
    "lazy": {"n": 2, "sensitivity": (1, 99), "specificity": (199, 1)},
    "random": {"n": 2, "sensitivity": (50, 50), "specificity": (50, 50)},
    "adversarial": {"n": 1, "sensitivity": (4, 16), "specificity": (4, 16)},
}


def params(k: int = 5, honeypots_each: int = 6, annotators: dict = KINDS) -> CrowdParams:
    return CrowdParams.model_validate(
        {
            "source": "simulated",
            "verdicts_per_completion": k,
            "honeypots_per_annotator": honeypots_each,
            "annotators": annotators,
        }
    )


def shown(n_completions: int, n_honeypots: int, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Items with every third number missing among their lines, and truth with a quarter of the lines wrong."""
    rng = np.random.default_rng(seed)
    rows, truths = [], []
    for number in range(n_completions + n_honeypots):
        completion_id = sha256_text(str(number))[:16]
        line_nos = [no for no in range(1, int(rng.integers(4, 20))) if no % 3]
        rows.append(
            {
                "completion_id": completion_id,
                "problem_id": f"starter/{number % 7}",
                "code": "x",
                "code_sha256": sha256_text(f"code {number}"),
                "line_nos": line_nos,
                "is_honeypot": number >= n_completions,
                "wrong_line_nos": None,
                "origin": "policy",
                "fault_kind": "",
            }
        )
        truths += [(completion_id, no, bool(rng.random() < 0.25), "honeypot") for no in line_nos]
    items = pd.DataFrame(rows, columns=list(ITEMS.column_names)).astype({"is_honeypot": bool})
    items = items.sort_values("completion_id", ignore_index=True)
    return items, pd.DataFrame(truths, columns=["completion_id", "line_no", "is_wrong", "method"])


@pytest.fixture(name="crowd", scope="module")
def simulated() -> tuple[SimulatedCrowd, pd.DataFrame, pd.DataFrame]:
    items, truths = shown(400, 20)
    return simulate_annotations(items, truths, params(), 11), items, truths


def test_every_completion_has_k_annotators_and_every_annotator_the_honeypots(crowd) -> None:
    annotations = crowd[0].annotations
    answers = annotations.drop_duplicates(["annotator_id", "completion_id"])
    assert set(answers[~answers["is_honeypot"]].groupby("completion_id").size()) == {5}
    assert set(answers[answers["is_honeypot"]].groupby("annotator_id").size()) == {6}
    # 12 annotators x 6 honeypots over 20 honeypots: each is shown 3 or 4 times
    assert set(answers[answers["is_honeypot"]].groupby("completion_id").size()) == {3, 4}


def test_there_is_one_row_for_each_judgeable_line_of_each_answer(crowd) -> None:
    simulated, items, _ = crowd
    expected = items.set_index("completion_id")["line_nos"]
    for (_, completion_id), rows in simulated.annotations.groupby(["annotator_id", "completion_id"]):
        assert list(rows["line_no"]) == expected[completion_id]
    sha = items.set_index("completion_id")["code_sha256"]
    assert (simulated.annotations["completion_id"].map(sha) == simulated.annotations["code_sha256"]).all()


def test_verdicts_follow_the_drawn_sensitivities_and_specificities(crowd) -> None:
    simulated, _, truths = crowd
    rows = simulated.annotations.merge(truths, on=["completion_id", "line_no"])
    rows["is_marked"] = rows["verdict"] == "wrong"
    for annotator in simulated.annotators.itertuples():
        for is_wrong, p in ((True, annotator.sensitivity), (False, 1 - annotator.specificity)):
            own = rows[(rows["annotator_id"] == annotator.annotator_id) & (rows["is_wrong"] == is_wrong)]["is_marked"]
            # within 4 standard deviations of a binomial share, and a verdict's worth for shares near 0
            assert abs(own.mean() - p) < 4 * np.sqrt(p * (1 - p) / len(own)) + 1 / len(own)


def test_a_crowd_without_error_marks_exactly_the_wrong_lines() -> None:
    items, truths = shown(30, 4)
    perfect = {"expert": {"n": 6, "sensitivity": (1e9, 1e-6), "specificity": (1e9, 1e-6)}}
    simulated = simulate_annotations(items, truths, params(annotators=perfect), 2)
    rows = simulated.annotations.merge(truths, on=["completion_id", "line_no"])
    assert len(rows) == len(simulated.annotations)
    assert ((rows["verdict"] == "wrong") == rows["is_wrong"]).all()


def test_pseudonyms_do_not_tell_the_kind(crowd) -> None:
    annotators = crowd[0].annotators
    assert annotators["annotator_id"].str.fullmatch("a-[0-9a-f]{10}").all()
    assert sorted(annotators["kind"]) == sorted(
        ["expert"] * 3 + ["average"] * 4 + ["lazy"] * 2 + ["random"] * 2 + ["adversarial"]
    )
    assert list(annotators["annotator_id"]) == sorted(annotators["annotator_id"])
    assert list(annotators["kind"]) != sorted(annotators["kind"])


def test_an_annotator_does_one_thing_at_a_time_and_durations_are_the_differences(crowd) -> None:
    answers = crowd[0].annotations.drop_duplicates(["annotator_id", "completion_id"])
    start, end = pd.to_datetime(answers["started_at"]), pd.to_datetime(answers["submitted_at"])
    assert np.allclose((end - start).dt.total_seconds(), answers["duration_s"], atol=1e-9)
    assert start.dt.tz is not None
    for _, own in answers.assign(start=start, end=end).sort_values("start").groupby("annotator_id"):
        assert (own["start"].iloc[1:].to_numpy() > own["end"].iloc[:-1].to_numpy()).all()


def test_lazy_and_random_annotators_are_faster_than_the_others(crowd) -> None:
    answers = crowd[0].annotations.drop_duplicates(["annotator_id", "completion_id"])
    mean = answers.merge(crowd[0].annotators, on="annotator_id").groupby(["kind", "annotator_id"])["duration_s"].mean()
    careless = max(mean["lazy"].max(), mean["random"].max())
    assert careless < min(mean[kind].min() for kind in ("expert", "average", "adversarial"))


def test_honeypots_are_mixed_into_an_annotators_work(crowd) -> None:
    answers = crowd[0].annotations.drop_duplicates(["annotator_id", "completion_id"])
    places = np.concatenate(
        [np.flatnonzero(own) / len(own) for _, own in answers.groupby("annotator_id")["is_honeypot"]]
    )
    # 72 uniform places have mean 1/2 with standard deviation sqrt(1/12/72) = 0.034; were they all first or last,
    # the mean would be near 0.03 or 0.97
    assert abs(places.mean() - 0.5) < 4 * 0.034


def test_rows_stand_in_the_order_of_submission_and_are_counted(crowd) -> None:
    annotations = crowd[0].annotations
    assert annotations["submitted_at"].is_monotonic_increasing
    assert list(annotations["source_row"]) == list(range(1, len(annotations) + 1))
    assert set(annotations["source"]) == {"simulated"}
    to_arrow(ANNOTATIONS, annotations)


def test_the_same_seed_gives_the_same_table_and_another_seed_other_verdicts() -> None:
    items, truths = shown(30, 4)
    first, second, other = (simulate_annotations(items, truths, params(), seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first.annotations, second.annotations)
    pd.testing.assert_frame_equal(first.annotators, second.annotators)
    assert set(first.annotators["annotator_id"]).isdisjoint(other.annotators["annotator_id"])


@pytest.mark.parametrize(("n_completions", "n_honeypots"), [(10, 0), (0, 3), (0, 0)])
def test_without_honeypots_or_completions_the_rest_is_annotated(n_completions: int, n_honeypots: int) -> None:
    items, truths = shown(n_completions, n_honeypots)
    annotations = simulate_annotations(items, truths, params(), 1).annotations
    answers = annotations.drop_duplicates(["annotator_id", "completion_id"])
    assert len(answers) == n_completions * 5 + n_honeypots * 12  # all three honeypots to each of the 12
    to_arrow(ANNOTATIONS, annotations)


def test_a_line_without_truth_is_refused() -> None:
    items, truths = shown(3, 0)
    with pytest.raises(ValueError, match="has no truth"):
        simulate_annotations(items, truths.iloc[1:], params(), 1)
