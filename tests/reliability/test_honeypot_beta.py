import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from crlhf.params import ReliabilityParams
from crlhf.reliability.honeypot_beta import BetaCounts, prior_belief, update, update_all
from crlhf.reliability.labels import Answers

PARAMS = ReliabilityParams(
    estimator="honeypot_beta",
    coins=2,
    prior_accuracy=(4, 2),
    prior_sensitivity=(2, 2),
    prior_specificity=(4, 1),
    line_correlation=0.2,
    min_honeypots=1,
)


def test_one_answer_updates_the_counts_by_hand():
    # 2 wrong lines, 1 caught; 4 correct lines, 3 passed; rho = 0.2.
    # Sensitivity: effect 1 + 1 * 0.2 = 1.2, so Beta(2 + 1/1.2, 2 + 1/1.2).
    # Specificity: effect 1 + 3 * 0.2 = 1.6, so Beta(4 + 3/1.6, 1 + 1/1.6).
    # Accuracy: 4 of 6 right, effect 1 + 5 * 0.2 = 2, so Beta(4 + 2, 2 + 1).
    belief = update(prior_belief(PARAMS), n_wrong=2, n_caught=1, n_ok=4, n_passed=3, line_correlation=0.2)
    assert (belief.accuracy.hits, belief.accuracy.misses) == pytest.approx((6, 3))
    assert (belief.sensitivity.hits, belief.sensitivity.misses) == pytest.approx((2 + 1 / 1.2, 2 + 1 / 1.2))
    assert (belief.specificity.hits, belief.specificity.misses) == pytest.approx((4 + 3 / 1.6, 1 + 1 / 1.6))
    assert belief.accuracy.mean == pytest.approx(6 / 9)


def test_uncorrelated_lines_are_counted_one_by_one():
    belief = update(prior_belief(PARAMS), n_wrong=2, n_caught=2, n_ok=8, n_passed=5, line_correlation=0.0)
    assert (belief.specificity.hits, belief.specificity.misses) == (9, 4)
    assert (belief.sensitivity.hits, belief.sensitivity.misses) == (4, 2)


def test_fully_correlated_lines_count_as_one():
    belief = update(prior_belief(PARAMS), n_wrong=0, n_caught=0, n_ok=8, n_passed=8, line_correlation=1.0)
    assert (belief.specificity.hits, belief.specificity.misses) == (5, 1)


def test_an_answer_without_lines_changes_nothing():
    prior = prior_belief(PARAMS)
    assert update(prior, n_wrong=0, n_caught=0, n_ok=0, n_passed=0, line_correlation=0.2) == prior


answers_strategy = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 4), st.integers(0, 9), st.floats(0, 1), st.floats(0, 1)),
    max_size=12,
)


@given(answers_strategy, st.floats(0, 1))
def test_the_batch_equals_one_answer_at_a_time(drawn, line_correlation):
    rows = [(who, w, round(w * share), o, round(o * other)) for who, w, o, share, other in drawn]
    columns = np.array(rows, float).reshape(-1, 5).T
    answers = Answers(columns[0].astype(np.int32), np.arange(len(rows), dtype=np.int32), *columns[1:])
    batch = update_all(prior_belief(PARAMS, 3), answers, line_correlation)
    for annotator in range(3):
        belief = prior_belief(PARAMS)
        for who, n_wrong, n_caught, n_ok, n_passed in rows:
            if who == annotator:
                belief = update(
                    belief,
                    n_wrong=n_wrong,
                    n_caught=n_caught,
                    n_ok=n_ok,
                    n_passed=n_passed,
                    line_correlation=line_correlation,
                )
        for one, many in zip(belief, batch, strict=True):
            assert many.hits[annotator] == pytest.approx(float(one.hits))
            assert many.misses[annotator] == pytest.approx(float(one.misses))


def test_moments_and_interval_are_those_of_scipys_beta():
    counts = BetaCounts(np.array([0.7, 12.5]), np.array([3.0, 2.25]))
    reference = stats.beta(counts.hits, counts.misses)
    low, high = counts.interval()
    np.testing.assert_allclose(counts.mean, reference.mean())
    np.testing.assert_allclose(counts.variance, reference.var())
    np.testing.assert_allclose(low, reference.ppf(0.025))
    np.testing.assert_allclose(high, reference.ppf(0.975))


def test_intervals_cover_the_truth_of_annotators_drawn_from_the_prior():
    # 4000 annotators with p ~ Beta(4, 2) and 40 independent lines each: the credible interval must cover 95 % of
    # them; the standard error of the coverage is sqrt(.95 * .05 / 4000) = 0.0034, and 0.0115 is 3.3 of them.
    rng = np.random.default_rng(7)
    truth = rng.beta(4, 2, 4000)
    hits = rng.binomial(40, truth)
    low, high = BetaCounts(4.0 + hits, 2.0 + 40 - hits).interval()
    assert np.mean((low <= truth) & (truth <= high)) == pytest.approx(0.95, abs=0.0115)


def test_effective_counts_keep_coverage_when_lines_are_correlated():
    # Verdicts on the 12 lines of a honeypot share a Beta-distributed rate around p with intraclass correlation 0.2:
    # Beta(4 p, 4 (1 - p)) has 1 / (4 + 1) = 0.2. Counted as if independent, coverage falls far below 93 %.
    rng = np.random.default_rng(8)
    n_annotators, n_honeypots, n_lines = 3000, 8, 12
    truth = rng.beta(4, 2, n_annotators)
    rate = rng.beta(4 * truth[:, None], 4 * (1 - truth[:, None]), (n_annotators, n_honeypots))
    passed = rng.binomial(n_lines, rate).astype(float).ravel()
    who = np.repeat(np.arange(n_annotators, dtype=np.int32), n_honeypots)
    none = np.zeros(len(who))
    answers = Answers(who, who, none, none, np.full(len(who), float(n_lines)), passed)

    def coverage(line_correlation):
        low, high = update_all(prior_belief(PARAMS, n_annotators), answers, line_correlation).accuracy.interval()
        return np.mean((low <= truth) & (truth <= high))

    assert 0.93 <= coverage(0.2) <= 0.97
    assert coverage(0.0) < 0.85
