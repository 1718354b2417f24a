from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crlhf.params import RewardsParams
from crlhf.rewards.scores import LeftOut, add_ranking, fraction_correct, left_out, poisson_binomial, scores
from crlhf.schema import SCORES
from crlhf.store import to_arrow

PARAMS = RewardsParams(prior_correct=0.5, kind="aligned_score", truncation_penalty=0.25, min_annotators=1)


def posteriors(rows):
    frame = pd.DataFrame(rows, columns=["completion_id", "posterior", "n_ok", "n_wrong"])
    return frame.assign(line_no=frame.groupby("completion_id").cumcount() + 1)


def completions(rows):
    return pd.DataFrame(rows, columns=["completion_id", "problem_id", "finish_reason"]).assign(code_sha256="0f")


def test_score_and_its_uncertainty_by_hand():
    found = scores(posteriors([("c", 0.9, 2, 0), ("c", 0.4, 1, 1)]), completions([("c", "p", "eos")]), PARAMS).iloc[0]
    assert found["aligned_score"] == pytest.approx(0.65)
    assert found["p_all_correct"] == pytest.approx(0.36)
    assert found["n_correct_sd"] == pytest.approx((0.09 + 0.24) ** 0.5)
    # P(0 correct) = .1 * .6 = .06 >= .025 so low is 0; P(<= 1) = .64 < .975 so high is 2 of 2.
    assert (found["aligned_score_low"], found["aligned_score_high"]) == (0.0, 1.0)
    assert (found["n_lines"], found["n_annotators"]) == (2, 2)
    assert found["reward"] == found["aligned_score"]


def test_a_cut_program_pays_the_penalty_and_may_fall_below_zero():
    found = scores(posteriors([("c", 0.1, 1, 0)]), completions([("c", "p", "length")]), PARAMS).iloc[0]
    assert found["is_truncated"]
    assert found["reward"] == pytest.approx(-0.15)
    assert found["aligned_score"] == pytest.approx(0.1)


def test_the_reward_can_be_the_probability_that_all_lines_are_correct():
    params = PARAMS.model_copy(update={"kind": "p_all_correct"})
    found = scores(posteriors([("c", 0.9, 1, 0), ("c", 0.5, 1, 0)]), completions([("c", "p", "stop")]), params)
    assert found["reward"].item() == pytest.approx(0.45)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_poisson_binomial_equals_the_sum_over_all_outcomes(q):
    expected = np.zeros(len(q) + 1)
    for outcome in product((0, 1), repeat=len(q)):
        expected[sum(outcome)] += np.prod([p if right else 1 - p for p, right in zip(q, outcome, strict=True)])
    np.testing.assert_allclose(poisson_binomial(np.array(q)), expected, atol=1e-12)


def test_the_interval_is_the_binomial_one_when_lines_are_alike():
    from scipy.stats import binom

    fraction = fraction_correct(poisson_binomial(np.full(20, 0.7)))
    assert fraction.low == binom.ppf(0.025, 20, 0.7) / 20
    assert fraction.high == binom.ppf(0.975, 20, 0.7) / 20


def test_the_interval_covers_the_fraction_of_correct_lines():
    # Truth drawn from the posteriors themselves: a discrete central interval covers at least 95 %.
    rng = np.random.default_rng(5)
    q = rng.beta(2, 1, 30)
    fraction = fraction_correct(poisson_binomial(q))
    drawn = (rng.random((20000, 30)) < q).mean(axis=1)
    assert 0.95 <= np.mean((drawn >= fraction.low) & (drawn <= fraction.high)) <= 0.985


def test_certain_lines_have_no_uncertainty():
    assert fraction_correct(poisson_binomial(np.array([1.0, 1.0, 0.0]))) == (2 / 3, 2 / 3, 0.0)


def test_ties_share_the_best_rank_and_are_named():
    frame = pd.DataFrame({"problem_id": ["p"] * 4 + ["q"], "reward": [0.2, 0.9, 0.9 + 1e-13, 0.5, 0.9]})
    ranked = add_ranking(frame)
    assert ranked["rank"].tolist() == [4, 1, 1, 3, 1]
    assert ranked["is_tied"].tolist() == [False, True, True, False, False]


def test_completions_without_enough_annotators_are_left_out_and_counted():
    table = posteriors([("two", 0.9, 1, 1), ("one", 0.9, 1, 0), ("dropped", 0.5, 0, 0)])
    known = completions([("two", "p", "eos"), ("one", "p", "eos"), ("dropped", "p", "eos"), ("unjudged", "p", "eos")])
    params = PARAMS.model_copy(update={"min_annotators": 2})
    assert scores(table, known, params)["completion_id"].tolist() == ["two"]
    assert left_out(table, known, params) == LeftOut(no_verdict=2, too_few_annotators=1)


def test_no_posteriors_give_an_empty_table():
    found = scores(posteriors([]), completions([("c", "p", "eos")]), PARAMS)
    assert to_arrow(SCORES, found).num_rows == 0


def test_the_result_is_under_the_schema():
    found = scores(posteriors([("c", 0.9, 1, 0)]), completions([("c", "p", "eos")]), PARAMS)
    assert to_arrow(SCORES, found).num_rows == 1
