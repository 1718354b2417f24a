import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from crlhf.params import ReliabilityParams
from crlhf.reliability import l1_logistic
from crlhf.reliability.calibration import logit, sigmoid
from crlhf.reliability.labels import sparse_labels
from crlhf.reliability.verdicts import UNKNOWN

PARAMS = ReliabilityParams(
    estimator="l1_logistic",
    coins=1,
    prior_accuracy=(4, 2),
    prior_sensitivity=(2, 2),
    prior_specificity=(4, 1),
    line_correlation=0.0,
    min_honeypots=1,
)


def verdicts(p, n_lines, seed, share_correct=0.85):
    """x (+1 judged correct, -1 marked) of annotators of accuracy `p`, and y."""
    rng = np.random.default_rng(seed)
    y = np.where(rng.random(n_lines) < share_correct, 1.0, -1.0)
    return y[:, None] * np.where(rng.random((n_lines, len(p))) < p, 1.0, -1.0), y


def test_the_minimum_is_liblinears():
    # liblinear minimises ||w||_1 + C * sum loss and penalises its intercept like a weight. A feature of 1000 next to
    # the intercept's 1 makes that penalty a thousandth of itself: the two problems are the same within 1e-3.
    x, y = verdicts(np.array([0.9, 0.8, 0.7, 0.5, 0.3]), 400, 0)
    penalty = 0.02
    ours = l1_logistic.solve(x, y, penalty, tolerance=1e-9)
    theirs = LogisticRegression(
        l1_ratio=1.0, C=1 / (len(y) * penalty), solver="liblinear", intercept_scaling=1000.0, tol=1e-10, max_iter=100000
    ).fit(x, y)
    np.testing.assert_allclose(ours.weights, theirs.coef_[0], atol=2e-3)
    assert ours.intercept == pytest.approx(theirs.intercept_[0], abs=2e-3)
    np.testing.assert_array_equal(ours.weights == 0, np.abs(theirs.coef_[0]) < 1e-9)


def test_without_penalty_the_minimum_is_scipys():
    x, y = verdicts(np.array([0.7, 0.6, 0.55]), 300, 1)
    theirs = minimize(lambda t: np.logaddexp(0, -y * (t[0] + x @ t[1:])).mean(), np.zeros(4), tol=1e-12).x
    ours = l1_logistic.solve(x, y, 0.0, tolerance=1e-10)
    np.testing.assert_allclose(np.append(ours.intercept, ours.weights), theirs, atol=1e-5)


def test_ista_and_fista_find_the_same_minimum_and_fista_is_faster():
    x, y = verdicts(np.linspace(0.4, 0.95, 20), 500, 2)
    fista = l1_logistic.solve(x, y, 0.005, tolerance=1e-8)
    ista = l1_logistic.solve(x, y, 0.005, has_momentum=False, tolerance=1e-8, max_iterations=50000)
    np.testing.assert_allclose(fista.weights, ista.weights, atol=1e-5)
    assert fista.n_iterations < ista.n_iterations


def test_at_the_largest_penalty_all_weights_are_zero_and_just_below_one_is_not():
    x, y = verdicts(np.array([0.9, 0.8, 0.6]), 300, 3)
    top = l1_logistic.largest_penalty(x, y)
    assert not l1_logistic.solve(x, y, top * 1.0001, tolerance=1e-9).weights.any()
    assert np.count_nonzero(l1_logistic.solve(x, y, top * 0.999, tolerance=1e-9).weights) == 1


def test_the_intercept_carries_the_share_of_correct_lines():
    # Annotators who mark nothing: with a free intercept their weight is 0 and b is the log-odds of a correct line.
    y = np.r_[np.ones(85), -np.ones(15)]
    solution = l1_logistic.solve(np.ones((100, 3)), y, 0.01, tolerance=1e-9)
    assert not solution.weights.any()
    assert solution.intercept == pytest.approx(np.log(85 / 15), abs=1e-6)


def labels_from(p, n_lines, seed, n_unseen=0):
    x, y = verdicts(p, n_lines, seed)
    line, annotator = np.nonzero(x)
    truth = np.where(y > 0, 0, 1).astype(np.int8)
    unseen_line = np.full(n_unseen, n_lines)
    return sparse_labels(
        np.r_[line, unseen_line],
        np.r_[annotator, len(p) + np.arange(n_unseen)],
        np.r_[x[line, annotator] < 0, np.zeros(n_unseen, bool)],
        len(p) + n_unseen,
        np.r_[truth, np.int8(UNKNOWN)],
    )


def test_useless_is_told_from_unknown():
    p = np.r_[np.full(6, 0.9), np.full(6, 0.5)]
    found = l1_logistic.fit_l1(labels_from(p, 400, 4, n_unseen=1), PARAMS)
    weight = found.weights[:, 1]
    assert (weight[:6] > 0.2).all()
    assert found.reasons is not None
    useless = [reason == "useless: weight shrunk to 0" for reason in found.reasons]
    assert sum(useless[6:12]) >= 5
    assert not any(useless[:6])
    np.testing.assert_array_equal(found.is_kept, ~np.array(useless))
    assert found.reasons[12].startswith("never saw a honeypot: unknown")
    assert weight[12] == pytest.approx(weight[:12].mean())


def test_without_both_kinds_of_honeypot_lines_everyone_is_unknown():
    labels = sparse_labels(np.arange(5), np.zeros(5, int), np.zeros(5, bool), 1, np.zeros(5, np.int8))
    found = l1_logistic.fit_l1(labels, PARAMS)
    assert found.weights[0].tolist() == pytest.approx([-np.log(2), np.log(2)])  # prior accuracy 4 / 6
    assert found.prior_wrong is None


def test_the_chosen_penalty_is_the_same_for_the_same_seed():
    x, y = verdicts(np.array([0.9, 0.7, 0.5]), 200, 5)
    group = np.repeat(np.arange(20.0), 10)
    first = l1_logistic.choose_penalty(x, y, group, 5, seed=1)
    assert first == l1_logistic.choose_penalty(x, y, group, 5, seed=1)
    assert l1_logistic.largest_penalty(x, y) * 1e-2 <= first < l1_logistic.largest_penalty(x, y)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_base_rate_is_that_of_lines_whose_truth_is_not_known(share):
    rng = np.random.default_rng(6)
    is_wrong = rng.random(6000) < 0.15
    is_wrong[:2000] = rng.random(2000) < share
    line = np.repeat(np.arange(6000), 5)
    annotator = np.concatenate([rng.choice(20, 5, replace=False) for _ in range(6000)])
    says_wrong = rng.random(len(line)) < np.where(is_wrong[line], 0.8, 0.2)
    truth = np.where(np.arange(6000) < 2000, is_wrong, UNKNOWN).astype(np.int8)
    labels = sparse_labels(line, annotator, says_wrong, 20, truth, completion=np.arange(6000) // 10)
    found = l1_logistic.fit_l1(labels, PARAMS)
    assert found.prior_wrong is not None
    p = sigmoid(logit(found.prior_wrong) + labels.matrix @ found.weights.ravel())[2000:]
    # The best of all weights, log 4 each, decides by the vote of five, and is right on 94.2 %.
    assert ((p > 0.5) == is_wrong[2000:]).mean() > 0.93
    assert p.mean() == pytest.approx(0.15, abs=0.04)  # the l1 term keeps weights below log 4
