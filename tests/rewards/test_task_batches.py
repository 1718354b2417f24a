import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit

from crlhf.rewards import find_batches, smooth, task_batches
from crlhf.rewards.line_chain import fit_chain, wrong_posteriors

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


def crowd(n_batches, truth, rng, n_verdicts=3):
    """Batches, and evidence of annotators with sensitivity and specificity 0.75: each verdict adds or takes log 3."""
    n_ones = rng.binomial(n_verdicts, np.where(truth, 0.75, 0.25))
    judges = np.repeat(np.arange(n_batches), len(truth) // n_batches)
    batches = find_batches(pd.Index(np.arange(len(truth))), judges, np.full(len(truth), n_verdicts))
    return batches, (2 * n_ones - n_verdicts) * np.log(3.0)


def clustered(n_batches, size, rng):
    """Half of the batches without any 1, 30 % of 1 in the others: 15 % in all."""
    return (rng.random((n_batches, size)) < np.where(rng.random((n_batches, 1)) < 0.5, 0, 2 * PRIOR)).ravel()


def known_in(truth, is_known):
    """The key: truth where it is known, -1 elsewhere."""
    return np.where(is_known, truth, -1).astype(np.int8)


def log_loss(p, truth):
    return -np.log(np.where(truth, p, 1 - p)).mean()


ALONE = expit(np.log(PRIOR / (1 - PRIOR)) + np.log(3.0) * np.array([-3, -1, 1, 3]))


def is_untouched(smoothed):
    """Whether every probability is one of the four that three verdicts alone can give."""
    return bool(np.isin(smoothed.probability.round(12), ALONE.round(12)).all())


@pytest.mark.parametrize("seed", range(4))
def test_batches_that_hang_together_are_smoothed_by_the_chain_and_that_helps(seed):
    rng = np.random.default_rng(seed)
    truth = clustered(400, 10, rng)
    batches, evidence = crowd(400, truth, rng)
    is_honeypot = np.arange(4000) >= 3000  # whole batches of gold
    smoothed = smooth(batches, evidence, known_in(truth, is_honeypot), PRIOR)
    chain = fit_chain(-evidence[:3000], batches.batch[:3000], 1 - PRIOR)  # gold alone teaches nothing
    np.testing.assert_allclose(smoothed.probability, wrong_posteriors(chain, -evidence, batches.batch), rtol=1e-9)
    assert smoothed.is_used
    alone = expit(logit(PRIOR) + evidence)
    # Best of all would be to know each batch's share, 0 or 0.3.
    has_ones = np.repeat(truth.reshape(400, 10).any(1), 10)
    knowing = np.where(has_ones, expit(logit(2 * PRIOR) + evidence), 1e-12)
    gap = log_loss(alone, truth) - log_loss(knowing, truth)
    assert log_loss(alone, truth) - log_loss(smoothed.probability, truth) > 0.25 * gap


@pytest.mark.parametrize("seed", range(8))
def test_independent_tasks_keep_their_own_posteriors(seed):
    rng = np.random.default_rng(seed)
    truth = rng.random(2000) < PRIOR
    batches, evidence = crowd(200, truth, rng)
    smoothed = smooth(batches, evidence, known_in(truth, rng.random(2000) < 0.1), PRIOR)
    assert not smoothed.is_used
    assert is_untouched(smoothed)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("share_known", [0.02, 0.1, 0.5])
def test_annotators_who_give_a_whole_page_one_answer_are_no_structure_of_the_truth(seed, share_known):
    rng = np.random.default_rng(seed)
    truth = rng.random(2000) < 0.3
    says_one = rng.random((2000, 3)) < np.where(truth, 0.75, 0.25)[:, None]
    lazy = np.repeat(rng.random((200, 3)) < 0.3, 10, axis=0)  # 30 % of the pages of an annotator
    one_answer = np.repeat(rng.random((200, 3)) < 0.5, 10, axis=0)
    says_one = np.where(lazy, one_answer, says_one)
    batches, _ = crowd(200, truth, rng)
    evidence = (2 * says_one.sum(1) - 3) * np.log(3.0)
    smoothed = smooth(batches, evidence, known_in(truth, rng.random(2000) < share_known), 0.3)
    assert smoothed.gain > task_batches.WORTH  # the labels hang together all right
    assert not smoothed.is_used


def test_without_known_truths_or_with_fewer_than_thirty_batches_nothing_is_smoothed():
    rng = np.random.default_rng(1)
    truth = clustered(400, 10, rng)
    batches, evidence = crowd(400, truth, rng)
    nothing = smooth(batches, evidence, known_in(truth, np.zeros(4000, bool)), PRIOR)
    assert (nothing.is_used, is_untouched(nothing)) == (False, True)
    few, evidence = crowd(32, truth[:3200], rng)
    known = np.arange(3200) >= 2900  # three batches of gold, 29 others
    assert not smooth(few, evidence, known_in(truth[:3200], known), PRIOR).is_used


def test_a_known_task_is_judged_by_its_verdicts_and_by_neighbours_who_are_not_known():
    rng = np.random.default_rng(2)
    truth = clustered(400, 10, rng)
    batches, evidence = crowd(400, truth, rng)
    known = np.arange(4000) % 2 == 0
    smoothed = smooth(batches, evidence, known_in(truth, known), PRIOR)
    assert smoothed.is_used
    chain = fit_chain(-np.where(known, 0.0, evidence), batches.batch, 1 - PRIOR)
    for task in (0, 1234, 3998):
        one = slice(task // 10 * 10, task // 10 * 10 + 10)
        seen = np.where(known[one] & (np.arange(4000)[one] != task), 0.0, evidence[one])
        expected = wrong_posteriors(chain, -seen, np.zeros(10, np.int64))[task % 10]
        assert smoothed.probability[task] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_gold_that_is_all_ones_in_some_batches_does_not_make_their_neighbours_ones(seed):
    rng = np.random.default_rng(seed)
    truth = rng.random(2000) < 0.1
    known = np.zeros((200, 10), bool)
    known[::2, :5] = True
    truth = truth | known.ravel()
    batches, evidence = crowd(200, truth, rng)
    assert not smooth(batches, evidence, known_in(truth, known.ravel()), 0.1).is_used


def test_a_chain_that_known_truths_speak_against_is_not_used():
    rng = np.random.default_rng(3)
    truth = clustered(200, 10, rng)
    batches, evidence = crowd(200, truth, rng)
    known = np.arange(2000) % 10 == 0
    smoothed = smooth(batches, evidence, known_in(rng.permutation(truth), known), PRIOR)
    assert smoothed.gain > task_batches.WORTH
    assert smoothed.known_gain < 0
    assert not smoothed.is_used


@pytest.mark.parametrize("seed", range(3))
def test_many_batches_of_independent_tasks_gain_no_more_than_few(seed):
    rng = np.random.default_rng(seed)
    truth = rng.random(60_000) < PRIOR
    batches, evidence = crowd(12_000, truth, rng)
    smoothed = smooth(batches, evidence, known_in(truth, rng.random(60_000) < 0.1), PRIOR)
    assert abs(smoothed.gain) < task_batches.WORTH
    assert not smoothed.is_used


def test_probabilities_stay_between_0_and_1_where_annotators_are_nearly_certain():
    rng = np.random.default_rng(4)
    truth = clustered(400, 10, rng)
    batches, _ = crowd(400, truth, rng)
    evidence = np.where(truth, 50.0, -50.0) + 10 * rng.normal(size=4000)  # P(wrong) of about 1e-22
    smoothed = smooth(batches, evidence, known_in(truth, np.arange(4000) >= 2000), PRIOR)
    assert smoothed.gain > task_batches.WORTH
    chain = fit_chain(-evidence[:2000], batches.batch[:2000], 1 - PRIOR)
    wrong = wrong_posteriors(chain, -evidence, batches.batch)
    assert wrong.min() > 0
    assert wrong.max() <= 1


def test_the_size_of_a_block_changes_nothing_but_rounding(monkeypatch):
    rng = np.random.default_rng(5)
    truth = clustered(400, 10, rng)
    batches, evidence = crowd(400, truth, rng)
    key = known_in(truth, np.arange(4000) >= 3000)
    whole = smooth(batches, evidence, key, PRIOR)
    monkeypatch.setattr(task_batches, "_BLOCK", 7)
    parts = smooth(batches, evidence, key, PRIOR)
    assert whole.is_used
    np.testing.assert_allclose(whole.probability, parts.probability, rtol=1e-10)
