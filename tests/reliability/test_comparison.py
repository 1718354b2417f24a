import numpy as np
import pytest

from crlhf.reliability import compare_estimators
from crlhf.reliability.comparison import held_out_posteriors
from crlhf.reliability.labels import labels_of
from crlhf.reliability.verdicts import code_verdicts


def crowd(make_tables, seed=1):
    """Experts and lazy annotators on 30 honeypots and 30 completions of 10 lines, 20 % wrong."""
    rng = np.random.default_rng(seed)
    truth = {f"c{n:03d}": "".join(rng.choice(["x", "-"], 10, p=[0.2, 0.8])) for n in range(60)}
    rates = {f"e{n}": (0.8, 0.95) for n in range(4)} | {f"l{n}": (0.01, 0.99) for n in range(6)}
    marks = {
        (who, name): "".join(
            ("x" if rng.random() < sens else "-") if mark == "x" else ("-" if rng.random() < spec else "x")
            for mark in text
        )
        for name, text in truth.items()
        for who, (sens, spec) in rates.items()
        if rng.random() < 0.5
    }
    return make_tables({name: text if n % 2 else None for n, (name, text) in enumerate(truth.items())}, 10, marks)


def test_all_estimators_are_judged_on_the_same_hidden_lines(make_tables, params):
    found = compare_estimators(*crowd(make_tables), params.model_copy(update={"n_folds": 3}), n_folds=3)
    table = found.table.set_index(["estimator", "coins"])
    assert (table["n_lines"] == 300).all()
    assert len(table) == 6
    # One coin takes those who mark nothing for experts; two coins do not.
    assert table.loc[("dawid_skene", 2), "log_loss"] < table.loc[("honeypot_beta", 1), "log_loss"]
    assert table.loc[("dawid_skene", 2), "recall"] > 0.7 > table.loc[("majority", 1), "recall"]
    assert found.diagrams.groupby(["estimator", "coins"])["n"].sum().eq(300).all()


def test_a_held_out_honeypots_own_truth_changes_nothing(make_tables, params):
    annotations, items = crowd(make_tables)
    labels = labels_of(code_verdicts(annotations, items), params.line_correlation)
    lines = np.flatnonzero(labels.is_known)
    n_honeypots = len(np.unique(labels.completion[lines]))
    first = held_out_posteriors(labels, params, n_folds=n_honeypots, seed=0)
    flipped = labels.truth.copy()
    own = labels.completion[lines] == labels.completion[lines[0]]
    flipped[lines[own]] = 1 - flipped[lines[own]]
    second = held_out_posteriors(labels.with_truth(flipped), params, n_folds=n_honeypots, seed=0)
    assert first[own].tolist() == pytest.approx(second[own].tolist())
    assert not np.allclose(first[~own], second[~own])


def test_one_honeypot_cannot_be_held_out(make_tables, params):
    found = compare_estimators(*make_tables({"h": "-x"}, 2, {("a", "h"): "-x"}), params)
    assert len(found.table) == 0
