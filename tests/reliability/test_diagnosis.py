import json
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from crlhf.reliability import calibration_of, diagnose, krippendorff_alpha
from crlhf.reliability.comparison import held_out_posteriors
from crlhf.reliability.diagnosis import agreement_of, held_out_calibration
from crlhf.reliability.labels import labels_of, sparse_labels
from crlhf.reliability.verdicts import UNKNOWN, code_verdicts


class Tables(NamedTuple):
    annotations: pd.DataFrame
    items: pd.DataFrame


@pytest.fixture
def crowd(make_tables):
    """Seven annotators, one lazy, on 60 programs of which 40 are honeypots; wrong lines are often overlooked."""
    rng = np.random.default_rng(0)
    truth = {f"c{n:02d}": "".join(rng.choice(["x", "-"], 8, p=[0.25, 0.75])) for n in range(60)}
    rates = {f"a{who}": (0.65, 0.9) for who in range(6)} | {"lazy": (0.005, 0.995)}
    marks = {
        (who, name): "".join("x" if rng.random() < (sens if mark == "x" else 1 - spec) else "-" for mark in text)
        for name, text in truth.items()
        for who, (sens, spec) in rates.items()
    }
    return Tables(
        *make_tables({name: text if n < 40 else None for n, (name, text) in enumerate(truth.items())}, 8, marks)
    )


def some_labels(n_completions=60, n_lines=4, seed=0, sd=0.0):
    """Three annotators on every line; `sd` makes lines of one completion alike."""
    rng = np.random.default_rng(seed)
    completion = np.repeat(np.arange(n_completions), n_lines)
    p = 1 / (1 + np.exp(-(-1 + sd * rng.normal(size=n_completions)[completion])))
    line = np.repeat(np.arange(len(completion)), 3)
    marks = rng.random(len(line)) < p[line]
    truth = np.full(len(completion), UNKNOWN, np.int8)
    return sparse_labels(line, np.tile(np.arange(3), len(p)), marks, 3, truth, completion=completion.astype(np.int32))


def test_agreement_by_hand():
    # Line 0: ok, ok, wrong: 1 of 3 pairs agree. Line 1: three times ok: 3 of 3. Line 2: one verdict, no pair.
    line, who, marks = np.array([0, 0, 0, 1, 1, 1, 2]), np.array([0, 1, 2, 0, 1, 2, 0]), np.array([0, 0, 1, 0, 0, 0, 1])
    labels = sparse_labels(line, who, marks, 3, np.full(3, UNKNOWN, np.int8))
    alpha, agreement = agreement_of(labels, np.random.default_rng(0))
    assert agreement.value == pytest.approx(4 / 6)
    assert alpha.value == pytest.approx(krippendorff_alpha(labels))


def test_intervals_of_agreement_are_those_of_redrawing_completions_one_by_one():
    labels = some_labels(sd=1.5)
    alpha, agreement = agreement_of(labels, np.random.default_rng(1))
    n_wrong = (labels.matrix @ np.tile([0.0, 1.0], 3)).reshape(60, 4)
    rng, draws = np.random.default_rng(2), []
    for _ in range(1000):
        w = n_wrong[rng.integers(60, size=60)].ravel()
        n, n1 = 3 * len(w), w.sum()
        draws.append((1 - (n - 1) * (w * (3 - w)).sum() / (2 * n1 * (n - n1)), 1 - (w * (3 - w)).sum() / (3 * len(w))))
    ends = np.quantile(draws, [0.025, 0.975], axis=0)
    np.testing.assert_allclose([alpha.low, alpha.high], ends[:, 0], atol=0.02)
    np.testing.assert_allclose([agreement.low, agreement.high], ends[:, 1], atol=0.015)


def test_calibration_is_that_of_held_out_honeypots(crowd, params):
    labels = labels_of(code_verdicts(crowd.annotations, crowd.items), params.line_correlation)
    measured, bins = held_out_calibration(labels, params, np.random.default_rng(0), 0)
    p = held_out_posteriors(labels, params, n_folds=params.n_folds, seed=0)
    expected = calibration_of(p, labels.is_wrong[labels.is_known])
    assert measured["log_loss"].value == expected.log_loss
    for name in ("accuracy", "log_loss", "brier", "ece"):
        assert measured[name].low <= measured[name].value <= measured[name].high or name == "ece"
    # The standard error of a mean over honeypots of unequal size, as a ratio estimator has it.
    _, group = np.unique(labels.completion[labels.is_known], return_inverse=True)
    n = np.bincount(group)
    residual = np.bincount(group, (p - labels.is_wrong[labels.is_known]) ** 2 - measured["brier"].value)
    error = np.sqrt((residual**2).sum()) / n.sum()
    assert measured["brier"].high - measured["brier"].low == pytest.approx(3.92 * error, rel=0.15)
    assert bins["n"].sum() == len(p)
    assert (bins["share_low"] <= bins["share_true"]).all()
    assert (bins["share_true"] <= bins["share_high"]).all()


def test_a_diagnosis_is_numbers_and_json(crowd, params):
    found = diagnose(crowd.annotations, crowd.items, params, seed=3)
    metrics = found.metrics()
    assert metrics["n_lazy"] == (found.suspects["kind"] == "lazy").sum()
    assert {"krippendorff_alpha_low", "held_out/ece", "pairwise_agreement_high"} <= set(metrics)
    assert json.loads(json.dumps(found.record(), allow_nan=False))["calibration_bins"][0]["n"] > 0
    assert metrics == diagnose(crowd.annotations, crowd.items, params, seed=3).metrics()


def test_without_honeypots_only_agreement_is_known(crowd, params):
    items = crowd.items.assign(is_honeypot=False)
    found = diagnose(crowd.annotations, items, params)
    assert not any(name.startswith("held_out") for name in found.metrics())
    assert "krippendorff_alpha" in found.metrics()
    assert found.record()["calibration_bins"] == []


def test_an_empty_table_has_no_measure(crowd, params):
    found = diagnose(crowd.annotations.iloc[:0], crowd.items, params)
    assert found.metrics() == {"n_lazy": 0, "n_random": 0, "n_adversarial": 0, "n_copying": 0}
    assert isinstance(found.bins, pd.DataFrame)
