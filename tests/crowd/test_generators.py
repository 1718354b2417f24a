"""Crowds for benchmarks: each has the property it is named for, by the amount it was asked for."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from crlhf.crowd.generators import KINDS, GeneratedCrowd, generate


def joined(crowd: GeneratedCrowd) -> pd.DataFrame:
    labels = crowd.labels.join(crowd.lines[["line_no", "is_wrong", "is_honeypot"]], on="line")
    return labels.join(crowd.annotators, on="annotator")


def assert_binomial(successes: pd.Series, p: float) -> None:
    """The share of successes lies within 4 standard deviations of `p`."""
    assert abs(successes.mean() - p) < 4 * np.sqrt(p * (1 - p) / len(successes))


@pytest.mark.parametrize("kind", KINDS)
def test_labels_are_whole_answers_of_five_annotators_a_completion(kind: str) -> None:
    crowd = generate(kind, 6000, 30, 1)
    assert 6000 <= len(crowd.labels) < 6000 + 5 * 40  # one completion more at most
    per_line = crowd.labels.groupby("line")["annotator"]
    assert set(per_line.nunique()) == set(per_line.size()) == {5}
    assert len(per_line) == len(crowd.lines)
    answers = crowd.labels.groupby(["completion", "annotator"])["line"].size().reset_index()
    assert (answers["line"] == answers["completion"].map(crowd.lines["completion"].value_counts())).all()


def test_completions_are_as_specified() -> None:
    lines = generate("two_coin", 600_000, 200, 3).lines
    lengths = lines.groupby("completion").size()
    assert lengths.between(3, 40).all()
    assert (
        abs(lengths.mean() - 12) < 0.15
    )  # 10000 completions: standard error sqrt(12) / 100 = 0.035, clipping adds 0.005
    assert 0.15 <= lines["is_wrong"].mean() <= 0.16
    has_error = lines.groupby("completion")["is_wrong"].any()
    assert_binomial(has_error, 0.5)
    assert lines.groupby("completion")["is_honeypot"].nunique().max() == 1
    assert lines.groupby("completion")["is_honeypot"].first().mean() == pytest.approx(0.1, abs=1e-4)


@pytest.mark.parametrize("kind", ["one_coin", "two_coin", "lazy"])
def test_labels_follow_the_true_sensitivity_and_specificity(kind: str) -> None:
    rows = joined(generate(kind, 60_000, 20, 5))
    for _, own in rows.groupby("annotator"):
        assert_binomial(own[own["is_wrong"]]["is_marked"], own["sensitivity"].iloc[0])
        assert_binomial(~own[~own["is_wrong"]]["is_marked"], own["specificity"].iloc[0])


def test_one_coin_annotators_have_the_same_reliability_on_right_and_wrong_lines() -> None:
    annotators = generate("one_coin", 1000, 2000, 1).annotators
    assert (annotators["sensitivity"] == annotators["specificity"]).all()
    assert (annotators["sensitivity"] == 0.5).mean() == 0.15
    assert (annotators["sensitivity"] == 0.2).mean() == 0.05
    # 1200 of Beta(16, 3) have mean 16/19 and standard deviation 0.0815, so the mean's is 0.0024
    assert annotators["sensitivity"][:1200].mean() == pytest.approx(16 / 19, abs=0.01)


def test_two_coin_annotators_are_drawn_from_their_beta_distributions() -> None:
    annotators = generate("two_coin", 1000, 2000, 1).annotators
    # Beta(8, 4): mean 2/3, sd 0.131; Beta(30, 2): mean 15/16, sd 0.042; 1600 draws divide them by 40
    assert annotators["sensitivity"][:1600].mean() == pytest.approx(2 / 3, abs=0.0131)
    assert annotators["specificity"][:1600].mean() == pytest.approx(15 / 16, abs=0.0042)


@pytest.mark.parametrize("share", [0.3, 0.6])
def test_a_share_of_the_lazy_crowd_marks_next_to_nothing(share: float) -> None:
    crowd = generate("lazy", 60_000, 200, 2, lazy_share=share)
    rows = joined(crowd)
    assert (crowd.annotators["kind"] == "lazy").mean() == share
    assert_binomial(rows[rows["kind"] == "lazy"]["is_marked"], 0.005)


def test_the_adversarial_crowd_has_twice_as_many_adversaries() -> None:
    crowd = generate("adversarial", 10_000, 30, 4)
    rows = joined(crowd)
    assert len(crowd.lines) == 2000
    assert crowd.lines["is_honeypot"].sum() == 40
    assert_binomial(~crowd.lines["is_wrong"], 0.85)
    assert crowd.annotators["kind"].value_counts().to_dict() == {"adversarial": 20, "good": 10}
    is_right = rows["is_marked"] == rows["is_wrong"]
    assert_binomial(is_right[rows["kind"] == "good"], 0.85)
    assert_binomial(is_right[rows["kind"] == "adversarial"], 0.3)


def test_difficulty_lowers_sensitivity_alike_for_all_and_leaves_specificity() -> None:
    rows = joined(generate("difficulty", 100_000, 20, 5, difficulty_sd=2.0))
    usual = rows[rows["kind"] == "usual"]
    assert usual[usual["is_wrong"]]["is_marked"].mean() < usual["sensitivity"].mean() - 0.1
    assert_binomial(~usual[~usual["is_wrong"]]["is_marked"], usual[~usual["is_wrong"]]["specificity"].mean())
    easy = joined(generate("difficulty", 100_000, 20, 5, difficulty_sd=0.0))
    wrong = easy[easy["is_wrong"]]
    assert_binomial(wrong["is_marked"], wrong["sensitivity"].mean())


@pytest.mark.parametrize(("correlation", "share"), [(1.0, 1.0), (0.0, None)])
def test_verdicts_within_a_run_hang_together(correlation: float, share: float | None) -> None:
    rows = joined(generate("correlated_misses", 60_000, 20, 5, run_correlation=correlation))
    rows = rows.sort_values(["completion", "annotator", "line"])
    next_row = rows.shift(-1)
    in_run = rows["is_wrong"] & (next_row["is_wrong"] == True)  # noqa: E712
    same_answer = (rows["completion"] == next_row["completion"]) & (rows["annotator"] == next_row["annotator"])
    pairs = rows[in_run & same_answer].assign(following=next_row["is_marked"][in_run & same_answer].astype(bool))
    agreement = pairs["is_marked"] == pairs["following"]
    if share is not None:
        assert agreement.mean() == share
    else:  # independent draws agree with probability s^2 + (1 - s)^2; pairs of a run overlap, hence the wide band
        expected = (pairs["sensitivity"] ** 2 + (1 - pairs["sensitivity"]) ** 2).mean()
        assert abs(agreement.mean() - expected) < 0.02


def test_members_of_a_clique_never_disagree_and_meet() -> None:
    crowd = generate("clique", 60_000, 40, 5)
    own = crowd.labels[crowd.labels["annotator"] < 5].groupby("line")["is_marked"]
    assert own.nunique().max() == 1
    assert (own.size() > 1).sum() > 500
    assert crowd.annotators["sensitivity"][:5].nunique() == 1
    others = crowd.labels[crowd.labels["annotator"] >= 5].groupby("line")["is_marked"]
    assert others.nunique().max() == 2


def test_easy_honeypots_are_easier_by_the_given_logits() -> None:
    rows = joined(generate("easy_honeypots", 100_000, 20, 5, easy_by=1.5))
    wrong = rows[rows["is_wrong"]]
    odds = wrong["sensitivity"] / (1 - wrong["sensitivity"])
    expected = np.where(wrong["is_honeypot"], odds * np.e**1.5 / (1 + odds * np.e**1.5), wrong["sensitivity"])
    for is_honeypot in (True, False):
        chosen = (wrong["is_honeypot"] == is_honeypot).to_numpy()
        assert_binomial(wrong["is_marked"][chosen], expected[chosen].mean())


def test_fatigue_takes_the_given_share_of_the_distance_to_a_coin_flip() -> None:
    rows = joined(generate("fatigue", 200_000, 20, 5, fatigue=1.0))
    rows["answer"] = rows.groupby("annotator")["completion"].rank("dense")
    rows["progress"] = (rows["answer"] - 1) / (rows.groupby("annotator")["answer"].transform("max") - 1)
    is_right = rows["is_marked"] == rows["is_wrong"]
    p = np.where(rows["is_wrong"], rows["sensitivity"], rows["specificity"])
    for low, high in ((0.0, 0.1), (0.45, 0.55), (0.9, 1.0)):
        part = rows["progress"].between(low, high).to_numpy()
        expected = 0.5 + (p[part] - 0.5) * (1 - rows["progress"][part])
        assert_binomial(is_right[part], expected.mean())


def test_the_same_seed_gives_the_same_crowd() -> None:
    first, second, other = (generate("two_coin", 3000, 20, seed) for seed in (1, 1, 2))
    for mine, theirs in zip(first, second, strict=True):
        pd.testing.assert_frame_equal(mine, theirs)
    assert not first.annotators["sensitivity"].equals(other.annotators["sensitivity"])


def test_an_unknown_crowd_and_an_unknown_option_are_refused() -> None:
    with pytest.raises(ValueError, match="no crowd is called 'kind'"):
        generate("kind", 100, 10, 1)
    with pytest.raises(TypeError, match="lazyness"):
        generate("lazy", 100, 10, 1, lazyness=0.5)
