from math import log

import numpy as np
import pytest

from crlhf.reliability.calibration import (
    Tempering,
    evidence_weights,
    fit_to_honeypots,
    held_out_evidence,
    temperature_from_agreement,
)
from crlhf.reliability.honeypot_beta import BetaCounts
from crlhf.reliability.labels import sparse_labels


def rates(p):
    return BetaCounts(np.asarray(p, float) * 1e6, (1 - np.asarray(p, float)) * 1e6)


def crowd(n_lines, n_annotators, per_line, *, hard=0.0, seed=0, p=0.8):
    """Labels of annotators of accuracy `p`; on a share `hard` of lines all of them flip coins."""
    rng = np.random.default_rng(seed)
    truth = (rng.random(n_lines) < 0.5).astype(np.int8)
    line = np.repeat(np.arange(n_lines), per_line)
    annotator = np.argsort(rng.random((n_lines, n_annotators)), 1)[:, :per_line].ravel()
    is_right = rng.random(len(line)) < p
    is_hard = rng.random(n_lines) < hard
    says = np.where(is_hard[line], rng.random(len(line)) < 0.5, (truth[line] == 1) ^ ~is_right)
    return sparse_labels(line, annotator, says, n_annotators, np.full(n_lines, -1, np.int8)), truth


def test_evidence_is_the_log_likelihood_ratio_by_hand():
    found = evidence_weights(rates([0.6]), rates([0.9]))
    assert found.tolist()[0] == pytest.approx([log(0.4 / 0.9), log(0.6 / 0.1)])


def test_held_out_evidence_takes_a_lines_own_verdict_out_by_hand():
    # Line 0 is wrong and was marked; the annotator has Beta(3, 2) of sensitivity and Beta(8, 2) of specificity with it
    # included. Without it: sensitivity 2 / 4, specificity 8 / 10.
    labels = sparse_labels(np.array([0, 1]), np.array([0, 0]), np.array([1, 0]), 1, np.array([1, 0], np.int8))
    counts = BetaCounts(np.array([3.0]), np.array([2.0])), BetaCounts(np.array([8.0]), np.array([2.0]))
    found = held_out_evidence(labels, np.array([0, 1]), *counts)
    # Line 1 is correct and was passed: sensitivity 3 / 5, specificity 7 / 9.
    assert found.tolist() == pytest.approx([log((2 / 4) / (2 / 10)), log((2 / 5) / (7 / 9))])


def test_independent_verdicts_need_no_temperature():
    labels, _ = crowd(3000, 20, 5)
    sens = rates(np.full(20, 0.8))
    evidence = labels.matrix @ evidence_weights(sens, sens).ravel()
    assert temperature_from_agreement(labels, evidence, 0.5, sens, sens) > 0.9


def test_lines_that_are_hard_for_all_are_cooled():
    labels, truth = crowd(3000, 20, 15, hard=0.3, p=0.9)
    sens = rates(np.full(20, 0.78))
    evidence = labels.matrix @ evidence_weights(sens, sens).ravel()
    assert temperature_from_agreement(labels, evidence, 0.5, sens, sens) < 0.7
    found = fit_to_honeypots(evidence[:300], truth[:300].astype(float), 1.0).temperature

    def loss(t):
        return np.logaddexp(0, np.where(truth == 1, -t * evidence, t * evidence)).mean()

    assert loss(found) < 0.8 * loss(1.0)


def test_lonely_verdicts_say_nothing_about_temperature():
    labels, _ = crowd(200, 5, 1)
    sens = rates(np.full(5, 0.8))
    evidence = labels.matrix @ evidence_weights(sens, sens).ravel()
    assert temperature_from_agreement(labels, evidence, 0.5, sens, sens) == 1.0


def test_without_honeypots_the_centre_stays():
    assert fit_to_honeypots(np.zeros(0), np.zeros(0), 0.7) == Tempering(0.7, 0.0)


def test_many_honeypots_find_the_true_temperature():
    # Truth is drawn with log-odds 0.5 * evidence: the temperature is 0.5. Its standard error here is about 0.012.
    rng = np.random.default_rng(4)
    evidence = rng.normal(0, 3, 20000)
    is_wrong = (rng.random(20000) < 1 / (1 + np.exp(-0.5 * evidence))).astype(float)
    assert fit_to_honeypots(evidence, is_wrong, 1.0).temperature == pytest.approx(0.5, abs=0.04)


def test_the_shift_corrects_a_crowd_that_misses_wrong_lines():
    # Evidence that is 0.4 too low for every line: wrong lines are missed more than the rates say.
    rng = np.random.default_rng(6)
    evidence = rng.normal(0, 3, 20000)
    is_wrong = (rng.random(20000) < 1 / (1 + np.exp(-evidence))).astype(float)
    found = fit_to_honeypots(evidence - 0.4, is_wrong, 1.0)
    assert found.temperature == pytest.approx(1.0, abs=0.04)
    assert found.shift == pytest.approx(0.4, abs=0.06)


def test_a_handful_of_honeypots_changes_little():
    found = fit_to_honeypots(np.array([2.0, -1.0, 1.0]), np.array([1.0, 0.0, 0.0]), 0.8)
    assert found.temperature == pytest.approx(0.8, abs=0.1)
    assert found.shift == pytest.approx(0.0, abs=0.05)
