import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import expit, logit

from crlhf.reliability.base_rate import base_rate
from crlhf.reliability.labels import sparse_labels
from crlhf.reliability.verdicts import OK, UNKNOWN

WEIGHTS = np.array([[-1.0, 2.0], [-0.5, 0.3]])


def draw(n, seed):
    rng = np.random.default_rng(seed)
    line, annotator = np.repeat(np.arange(n), 2), np.tile([0, 1], n)
    return sparse_labels(line, annotator, rng.random(2 * n) < 0.3, 2, np.full(n, UNKNOWN, np.int8))


def test_it_is_the_root_of_its_equation():
    labels = draw(500, 0)
    evidence = labels.matrix @ WEIGHTS.ravel()

    def gap(rate):  # two pseudo-lines at 1/2
        return rate - (expit(logit(rate) + evidence).sum() + 1) / 502

    assert base_rate(labels, WEIGHTS) == pytest.approx(brentq(gap, 0.01, 0.99), abs=1e-4)


def test_honeypots_do_not_count_and_without_other_lines_it_is_a_half():
    labels = draw(500, 1)
    mixed = labels.with_truth(np.where(np.arange(500) < 100, OK, UNKNOWN).astype(np.int8))
    free = draw(500, 1)._replace(matrix=labels.matrix[100:], truth=labels.truth[100:])
    assert base_rate(mixed, WEIGHTS) == base_rate(free, WEIGHTS)
    assert base_rate(labels.with_truth(np.full(500, OK, np.int8)), WEIGHTS) == 0.5


def test_a_rate_is_recovered():
    rng = np.random.default_rng(2)
    is_wrong = rng.random(20_000) < 0.12
    line, annotator = np.repeat(np.arange(20_000), 3), np.tile(np.arange(3), 20_000)
    says_wrong = rng.random(60_000) < np.where(is_wrong[line], 0.8, 0.1)
    labels = sparse_labels(line, annotator, says_wrong, 3, np.full(20_000, UNKNOWN, np.int8))
    weights = np.tile([np.log(0.2 / 0.9), np.log(0.8 / 0.1)], (3, 1))
    assert base_rate(labels, weights) == pytest.approx(is_wrong.mean(), abs=0.006)  # two standard errors
