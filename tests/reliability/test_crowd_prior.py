import numpy as np
import pytest
from scipy import stats

from crlhf.reliability import crowd_prior
from crlhf.reliability.crowd_prior import CrowdPrior


def some_counts(n, p, trials=40, seed=0):
    hits = np.random.default_rng(seed).binomial(trials, p, n).astype(float)
    return hits, trials - hits


def test_the_posterior_mean_is_the_integral_over_the_prior():
    # One annotator: caught 3 of 5 wrong lines, passed 8 of 9 correct ones; Bayes' rule on a fine grid.
    prior = CrowdPrior((4, 2), (2, 2), (4, 1))
    places, nu = crowd_prior._CENTRES, crowd_prior._NU
    grid = (np.arange(2000) + 0.5) / 2000
    kernels = stats.beta.pdf(grid[:, None], nu * places, nu * (1 - places))  # (grid, K)
    sens, spec = kernels * (grid**3 * (1 - grid) ** 2)[:, None], kernels * (grid**8 * (1 - grid))[:, None]
    tied = kernels @ prior._base_tied * grid**11 * (1 - grid) ** 3
    pairs = sens @ prior._base_pairs @ spec.sum(0) / 2000  # density of the sensitivity, the specificity summed out
    expected = np.average(grid, weights=pairs + tied)
    belief = prior.belief(np.array([3.0]), np.array([2.0]), np.array([8.0]), np.array([1.0]))
    assert belief.sensitivity.mean.item() == pytest.approx(expected, rel=1e-3)


def test_an_unseen_annotator_gets_the_crowds_mean_once_it_is_learned():
    sens, spec = some_counts(300, 0.7), some_counts(300, 0.97, seed=1)
    prior = CrowdPrior((4, 2), (2, 2), (4, 1))
    for _ in range(40):
        prior.belief(*sens, *spec)
    unseen = prior.belief(*(np.zeros(1),) * 4)
    assert unseen.sensitivity.mean.item() == pytest.approx(0.7, abs=0.06)  # the params say 0.5
    assert unseen.specificity.mean.item() == pytest.approx(0.97, abs=0.02)  # the params say 0.8


def test_a_crowd_of_one_coin_annotators_is_recognised():
    # p differs between annotators and sens = spec = p. Then the correct lines say what the few wrong lines cannot.
    rng = np.random.default_rng(2)
    p = rng.choice([0.6, 0.9], 400)
    caught = rng.binomial(3, p).astype(float)
    passed = rng.binomial(60, p).astype(float)
    prior = CrowdPrior((4, 2), (2, 2), (4, 1))
    for _ in range(40):
        belief = prior.belief(caught, 3 - caught, passed, 60 - passed)
    assert np.sqrt(np.mean((belief.sensitivity.mean - p) ** 2)) < 0.08  # 3 lines alone: sd about 0.2


def test_one_coin_makes_both_rates_the_same():
    prior = CrowdPrior((4, 2), (2, 2), (4, 1), coins=1)
    belief = prior.belief(*some_counts(20, 0.1, 10), *some_counts(20, 0.95, 400, seed=3))
    np.testing.assert_allclose(belief.sensitivity.mean, belief.specificity.mean)
    np.testing.assert_allclose(belief.sensitivity.mean, belief.accuracy.mean)


def test_much_data_overrules_the_prior():
    prior = CrowdPrior((4, 2), (2, 2), (4, 1))
    belief = prior.belief(np.array([100.0]), np.array([19900.0]), np.array([19000.0]), np.array([1000.0]))
    assert belief.sensitivity.mean.item() == pytest.approx(0.005, abs=2e-4)
    assert belief.specificity.mean.item() == pytest.approx(0.95, abs=1e-3)
    # and its spread is the binomial one: sqrt(.95 * .05 / 20000)
    assert np.sqrt(belief.specificity.variance.item()) == pytest.approx(np.sqrt(0.95 * 0.05 / 20000), rel=0.05)


def test_nobody_gives_nothing():
    belief = CrowdPrior((4, 2), (2, 2), (4, 1)).belief(*(np.zeros(0),) * 4)
    assert belief.sensitivity.mean.shape == (0,)
