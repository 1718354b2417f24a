from itertools import pairwise, product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit

from crlhf.params import RewardsParams
from crlhf.rewards import chained, fit_to_posteriors, scores
from crlhf.rewards.line_chain import (
    CLEAN,
    OK,
    WRONG,
    Chain,
    chain_posteriors,
    fit_chain,
    fit_independent,
    independent,
    log_likelihood,
    n_correct_distribution,
)
from crlhf.rewards.scores import poisson_binomial

CHAIN = Chain(np.array([0.5, 0.3, 0.2]), np.array([[1.0, 0, 0], [0, 0.9, 0.1], [0, 0.35, 0.65]]))
evidences = st.lists(st.floats(-6, 6), min_size=1, max_size=6).map(np.array)


def by_enumeration(chain, evidence):
    """P(line correct), P(k lines correct) and log P(verdicts), from all 3**L sequences of states."""
    n = len(evidence)
    correct, count, total = np.zeros(n), np.zeros(n + 1), 0.0
    for states in product((CLEAN, OK, WRONG), repeat=n):
        is_ok = np.array([state != WRONG for state in states])
        weight = chain.start[states[0]] * np.exp(evidence[is_ok].sum())
        for one, other in pairwise(states):
            weight *= chain.transition[one, other]
        correct += weight * is_ok
        count[is_ok.sum()] += weight
        total += weight
    return correct / total, count / total, np.log(total)


@given(evidences)
def test_posteriors_and_counts_equal_the_sum_over_all_sequences(evidence):
    correct, count, log_total = by_enumeration(CHAIN, evidence)
    np.testing.assert_allclose(chain_posteriors(CHAIN, evidence, np.zeros(len(evidence), int)), correct, atol=1e-12)
    np.testing.assert_allclose(n_correct_distribution(CHAIN, evidence), count, atol=1e-12)
    # The likelihood is scaled by P(verdicts | the likelier truth) of each line: by e**x where x is above 0.
    scaled = log_likelihood(CHAIN, evidence, np.zeros(len(evidence), int)) + np.maximum(evidence, 0).sum()
    assert scaled == pytest.approx(log_total, abs=1e-9)


@given(evidences)
def test_independent_lines_are_the_papers_formula(evidence):
    q = chain_posteriors(independent(0.8), evidence, np.zeros(len(evidence), int))
    np.testing.assert_allclose(q, expit(logit(0.8) + evidence))
    np.testing.assert_allclose(n_correct_distribution(independent(0.8), evidence), poisson_binomial(q), atol=1e-12)


def test_the_share_of_independent_lines_is_where_the_likelihood_has_its_maximum():
    rng = np.random.default_rng(3)
    evidence, lines = rng.normal(1.5, 2, 5000), np.arange(5000)
    share = fit_independent(evidence, 0.5).start[OK]
    at = {q: log_likelihood(independent(q), evidence, lines) for q in (share - 0.02, share, share + 0.02)}
    assert max(at, key=at.get) == share
    assert fit_independent(np.empty(0), 0.7).start[OK] == 0.7


def test_completions_do_not_touch_each_other():
    rng = np.random.default_rng(0)
    evidence, completion = rng.normal(1, 2, 12), np.repeat([0, 1, 2], [5, 1, 6])
    alone = [chain_posteriors(CHAIN, part, np.zeros(len(part), int)) for part in np.split(evidence, [5, 6])]
    np.testing.assert_allclose(chain_posteriors(CHAIN, evidence, completion), np.concatenate(alone))


def draw(chain, n_completions, n_lines, rng):
    """States of the lines of completions drawn from the chain, (n_completions, n_lines)."""
    states = np.empty((n_completions, n_lines), int)
    states[:, 0] = rng.choice(3, n_completions, p=chain.start)
    for line in range(1, n_lines):
        below = np.cumsum(chain.transition[states[:, line - 1]], 1)
        states[:, line] = (rng.random((n_completions, 1)) > below).sum(1)
    return states


def test_the_chain_is_recovered_and_its_posteriors_are_nearly_as_good_as_those_of_the_true_one():
    rng = np.random.default_rng(1)
    states = draw(CHAIN, 3000, 12, rng)
    is_ok = (states != WRONG).ravel()
    # Three annotators with sensitivity and specificity 0.8: each verdict adds or takes log 4.
    says_ok = rng.binomial(3, np.where(is_ok, 0.8, 0.2))
    evidence, completion = (2 * says_ok - 3) * np.log(4), np.repeat(np.arange(3000), 12)
    found = fit_chain(evidence, completion, prior_correct=0.8)
    np.testing.assert_allclose(found.start, CHAIN.start, atol=0.05)
    np.testing.assert_allclose(found.transition, CHAIN.transition, atol=0.05)

    def log_loss(chain):
        q = chain_posteriors(chain, evidence, completion)
        return -np.log(np.where(is_ok, q, 1 - q)).mean()

    assert log_loss(found) < 1.005 * log_loss(CHAIN)
    assert log_loss(found) < 0.8 * log_loss(independent(is_ok.mean()))


def test_lines_that_do_not_hang_together_are_found_to_be_independent():
    rng = np.random.default_rng(2)
    is_ok = rng.random(20_000) < 0.7
    evidence = np.where(rng.random(20_000) < 0.9, 1, -1) * np.where(is_ok, 1, -1) * np.log(9)
    completion = np.repeat(np.arange(2000), 10)
    q = chain_posteriors(fit_chain(evidence, completion, 0.7), evidence, completion)
    assert np.abs(q - expit(logit(0.7) + evidence)).mean() < 0.01


def test_without_a_line_the_chain_is_the_prior():
    found = fit_chain(np.zeros(0), np.zeros(0, int), 0.8)
    np.testing.assert_allclose(found.start, [0.5, 0.4, 0.1])
    assert chain_posteriors(found, np.zeros(0), np.zeros(0, int)).shape == (0,)


def test_evidence_without_bounds_stays_a_probability():
    q = chain_posteriors(CHAIN, np.array([1e4, -1e4, 0.0]), np.zeros(3, int))
    assert q[0] == pytest.approx(1)
    assert q[1] == pytest.approx(0)
    assert q[2] == pytest.approx(0.35)  # after a wrong line, without evidence and without a line that follows


def test_a_table_is_smoothed_and_scored_with_its_chain():
    posteriors = pd.DataFrame(
        {
            "completion_id": ["a", "a", "b"],
            "line_no": [1, 2, 1],
            "evidence": [-2.0, 0.0, 3.0],
            "posterior": 0.5,
            "log_odds": 0.0,
            "n_ok": 1,
            "n_wrong": 1,
        }
    )
    found = chained(posteriors, CHAIN)
    correct, count, _ = by_enumeration(CHAIN, np.array([-2.0, 0.0]))
    np.testing.assert_allclose(found["posterior"][:2], correct)
    np.testing.assert_allclose(found["log_odds"][:2], logit(correct))
    completions = pd.DataFrame({"completion_id": ["a", "b"], "problem_id": "p", "finish_reason": "stop"})
    completions["code_sha256"] = "0f"
    params = RewardsParams(prior_correct=0.5, kind="aligned_score", truncation_penalty=0.0, min_annotators=1)
    row = scores(found, completions, params, CHAIN).set_index("completion_id").loc["a"]
    assert row["p_all_correct"] == pytest.approx(count[2])
    assert row["aligned_score"] == pytest.approx(correct.mean())
    variance = count @ np.arange(3) ** 2 - (count @ np.arange(3)) ** 2
    assert row["n_correct_sd"] == pytest.approx(np.sqrt(variance))
    assert fit_to_posteriors(posteriors, 0.8).start.sum() == pytest.approx(1)
