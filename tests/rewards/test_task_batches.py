import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit

from crlhf.rewards import find_batches, smooth, task_batches
from crlhf.rewards.line_chain import chain_posteriors, fit_chain

PRIOR = 0.15


def found(tasks, judges, n_judges=3):
    batches = find_batches(pd.Index(tasks), np.array(judges), np.full(len(tasks), n_judges))
    return [[tasks[place] for place in batches.place[batches.batch == n]] for n in range(batches.n_batches)]


def test_lines_of_a_program_are_a_batch_in_the_order_of_their_numbers():
    tasks = ["c1:10", "c1:9", "c2:1", "c1:11", "c2:2", "c3:1"]
    assert found(tasks, [7] * 6) == [["c1:9", "c1:10", "c1:11"], ["c2:1", "c2:2"]]


def test_numbers_without_a_name_are_a_batch_where_the_same_annotators_judged():
    assert found([5, 3, 4, 8, 9], [1, 2, 1, 2, 2]) == [[4, 5], [3, 8, 9]]
    assert found(["05", "3", "4", "8", "9"], [1, 2, 1, 2, 2]) == [["4", "05"], ["3", "8", "9"]]


def test_one_judge_alone_or_more_tasks_than_a_page_holds_are_no_batch():
    assert found([1, 2, 3], [1, 1, 1], n_judges=1) == []
    assert [len(batch) for batch in found(list(range(100)), [1] * 100)] == [100]
    assert found(list(range(101)), [1] * 101) == []
    assert found([], []) == []


def test_a_name_without_a_number_and_one_with_very_many_digits_are_names_too():
    assert found(["a", "b", "a" + "9" * 30, "a1"], [1] * 4) == [["a", "a1", "a" + "9" * 30]]


def crowd(n_batches, is_wrong, rng, n_verdicts=3):
    """Evidence of annotators with sensitivity and specificity 0.75: each verdict adds or takes log 3."""
    n_ones = rng.binomial(n_verdicts, np.where(is_wrong, 0.75, 0.25))
    size = len(is_wrong) // n_batches
    judges = np.repeat(np.arange(n_batches), size)
    batches = find_batches(pd.Index(np.arange(len(is_wrong))), judges, np.full(len(is_wrong), n_verdicts))
    return batches, (2 * n_ones - n_verdicts) * np.log(3.0)


def clustered(n_batches, size, rng):
    """Half of the batches without any 1, 30 % of 1 in the others: 15 % in all."""
    return (rng.random((n_batches, size)) < np.where(rng.random((n_batches, 1)) < 0.5, 0, 2 * PRIOR)).ravel()


def log_loss(p, truth):
    return -np.log(np.where(truth, p, 1 - p)).mean()


def test_batches_that_hang_together_are_smoothed_by_the_chain_and_that_helps():
    rng = np.random.default_rng(0)
    truth = clustered(200, 10, rng)
    batches, evidence = crowd(200, truth, rng)
    smoothed = smooth(batches, evidence, np.full(2000, -1, np.int8), PRIOR)
    chain = fit_chain(-evidence, batches.batch, 1 - PRIOR)
    np.testing.assert_array_equal(smoothed.probability, 1 - chain_posteriors(chain, -evidence, batches.batch))
    assert (smoothed.is_used, smoothed.n_batches, smoothed.known_gain) == (True, 200, 0.0)
    alone = expit(logit(PRIOR) + evidence)
    # Best of all would be to know each batch's share, 0 or 0.3.
    has_ones = np.repeat(truth.reshape(200, 10).any(1), 10)
    knowing = np.where(has_ones, expit(logit(2 * PRIOR) + evidence), 1e-12)
    gap = log_loss(alone, truth) - log_loss(knowing, truth)
    assert log_loss(alone, truth) - log_loss(smoothed.probability, truth) > 0.25 * gap  # 0.30 to 0.41 over six seeds


@pytest.mark.parametrize("seed", range(8))
def test_independent_tasks_keep_their_own_posteriors_to_the_bit(seed):
    rng = np.random.default_rng(seed)
    batches, evidence = crowd(200, rng.random(2000) < PRIOR, rng)
    smoothed = smooth(batches, evidence, np.full(2000, -1, np.int8), PRIOR)
    assert not smoothed.is_used
    np.testing.assert_array_equal(smoothed.probability, expit(np.log(PRIOR / (1 - PRIOR)) + evidence))


def test_fewer_than_thirty_batches_are_left_alone():
    rng = np.random.default_rng(1)
    batches, evidence = crowd(29, clustered(29, 50, rng), rng)
    assert not smooth(batches, evidence, np.full(29 * 50, -1, np.int8), PRIOR).is_used


def test_known_truths_tell_their_neighbours_and_are_themselves_judged_by_verdicts():
    rng = np.random.default_rng(2)
    truth = clustered(200, 10, rng)
    batches, evidence = crowd(200, truth, rng)
    is_one = np.full(2000, -1, np.int8)
    is_one[::10] = truth[::10]
    smoothed = smooth(batches, evidence, is_one, PRIOR)
    told = np.where(is_one == -1, evidence, np.where(is_one == 1, 40.0, -40.0))
    chain = fit_chain(-told, batches.batch, 1 - PRIOR)
    informed = 1 - chain_posteriors(chain, -told, batches.batch)
    plain = 1 - chain_posteriors(chain, -evidence, batches.batch)
    assert smoothed.is_used
    np.testing.assert_array_equal(smoothed.probability, np.where(is_one == -1, informed, plain))


def test_a_chain_that_known_truths_speak_against_is_not_used():
    rng = np.random.default_rng(3)
    truth = clustered(200, 10, rng)
    batches, evidence = crowd(200, truth, rng)
    is_one = np.full(2000, -1, np.int8)
    is_one[::10] = rng.permutation(truth)[::10]  # a key that has nothing to do with the batches
    smoothed = smooth(batches, evidence, is_one, PRIOR)
    assert smoothed.gain > task_batches.WORTH
    assert smoothed.known_gain < 0
    assert not smoothed.is_used


def test_batches_of_known_truth_alone_teach_the_chain_nothing():
    rng = np.random.default_rng(4)
    truth = clustered(300, 10, rng)
    batches, evidence = crowd(300, truth, rng)
    is_one = np.full(3000, -1, np.int8)
    is_one[2000:] = truth[2000:]
    chain = fit_chain(-evidence[:2000], batches.batch[:2000], 1 - PRIOR)
    smoothed = smooth(batches, evidence, is_one, PRIOR)
    assert smoothed.is_used
    np.testing.assert_array_equal(smoothed.probability, 1 - chain_posteriors(chain, -evidence, batches.batch))


def test_the_size_of_a_block_changes_nothing_but_rounding(monkeypatch):
    rng = np.random.default_rng(5)
    batches, evidence = crowd(200, clustered(200, 10, rng), rng)
    whole = smooth(batches, evidence, np.full(2000, -1, np.int8), PRIOR)
    monkeypatch.setattr(task_batches, "_BLOCK", 7)
    parts = smooth(batches, evidence, np.full(2000, -1, np.int8), PRIOR)
    assert whole.is_used
    np.testing.assert_allclose(whole.probability, parts.probability, rtol=1e-10)
