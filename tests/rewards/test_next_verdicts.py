from itertools import product

import numpy as np
import pandas as pd
import pytest

from crlhf.rewards.next_verdicts import expected_variance, value_of_verdicts

CROWD = pd.DataFrame({"sensitivity": [0.8, 0.6, 0.0], "specificity": [1.0, 0.8, 0.0], "is_kept": [True, True, False]})


def posteriors(rows):
    return pd.DataFrame(rows, columns=["completion_id", "posterior", "n_ok", "n_wrong"])


def test_no_verdict_leaves_the_variance_as_it_is():
    assert expected_variance(np.array([0.5, 0.9]), 0.7, 0.9, 0) == pytest.approx(0.25 + 0.09)


def test_one_verdict_by_hand():
    # q = 0.5, sens 0.7, spec 0.9: ok with .5 * .9 + .5 * .3 = .6, then q' = .75; wrong with .4, then q' = .125.
    expected = 0.6 * 0.75 * 0.25 + 0.4 * 0.125 * 0.875
    assert expected_variance(np.array([0.5]), 0.7, 0.9, 1) == pytest.approx(expected)


def test_three_verdicts_equal_the_sum_over_all_sequences():
    q, sens, spec = 0.8, 0.7, 0.9
    expected = 0.0
    for marks in product((0, 1), repeat=3):
        ok = q * np.prod([1 - spec if m else spec for m in marks])
        wrong = (1 - q) * np.prod([sens if m else 1 - sens for m in marks])
        expected += (ok + wrong) * (ok / (ok + wrong)) * (wrong / (ok + wrong))
    assert expected_variance(np.array([q]), sens, spec, 3) == pytest.approx(expected)


def test_useless_annotators_are_worth_nothing():
    assert expected_variance(np.array([0.3]), 0.4, 0.6, 5) == pytest.approx(0.21)


def test_the_completion_that_gains_most_comes_first():
    found = value_of_verdicts(posteriors([("sure", 0.999, 2, 0), ("open", 0.5, 1, 1)]), CROWD, target_sd=0.1)
    # The typical annotator: sens 0.7, spec 0.9 (the dropped one does not count).
    assert found["completion_id"].tolist() == ["open", "sure"]
    assert found["gain"].iloc[0] == pytest.approx(0.25 - 0.15625)
    assert found["n_more"].iloc[1] == 0
    sds = [np.sqrt(expected_variance(np.array([0.5]), 0.7, 0.9, k)) for k in range(11)]
    assert found["n_more"].iloc[0] == next(k for k, sd in enumerate(sds) if sd <= 0.1)


def test_a_target_out_of_reach_is_null():
    found = value_of_verdicts(posteriors([("open", 0.5, 1, 1)]), CROWD, target_sd=1e-6, max_more=3)
    assert found["n_more"].isna().all()


def test_no_posteriors_give_an_empty_table():
    assert len(value_of_verdicts(posteriors([]), CROWD)) == 0
