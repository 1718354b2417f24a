import json
from math import log

import numpy as np
import pytest

from crlhf.reliability import dawid_skene, estimate
from crlhf.reliability.crowd_prior import CrowdPrior
from crlhf.reliability.labels import labels_of
from crlhf.reliability.verdicts import code_verdicts
from crlhf.schema import RELIABILITIES
from crlhf.store import to_arrow


def by_annotator(found):
    return found.reliabilities.set_index("annotator_id")


def test_counts_and_rates_follow_the_answer_key_by_hand(make_tables, params):
    annotations, items = make_tables(
        {"h1": "-x-", "h2": "---", "c1": None}, 3, {("ann", "h1"): "-x-", ("ann", "h2"): "x--", ("ann", "c1"): "---"}
    )
    found = estimate(annotations, items, params.model_copy(update={"line_correlation": 0.0}))
    row = by_annotator(found).loc["ann"]
    # Sensitivity: 1 of 1 -> Beta(3, 2). Specificity: 2 of 2 and 2 of 3 -> Beta(8, 2). Accuracy: 5 of 6 -> Beta(9, 3).
    assert row["sensitivity"] == pytest.approx(3 / 5)
    assert row["specificity"] == pytest.approx(8 / 10)
    assert row["accuracy"] == pytest.approx(9 / 12)
    assert row["weight_ok"] == pytest.approx(log(0.8 / 0.4))
    assert row["weight_wrong"] == pytest.approx(log(0.2 / 0.6))
    assert (row["n_verdicts"], row["n_honeypot_verdicts"], row["n_honeypots"]) == (9, 6, 2)
    assert found.model["orientation"] == "honeypots"


def test_one_coin_weights_are_the_log_odds_of_the_accuracy(make_tables, params):
    annotations, items = make_tables({"h1": "-x-"}, 3, {("ann", "h1"): "-x-"})
    one_coin = params.model_copy(update={"line_correlation": 0.0, "coins": 1})
    row = by_annotator(estimate(annotations, items, one_coin)).loc["ann"]
    assert row["weight_ok"] == pytest.approx(log((7 / 9) / (2 / 9)))  # Beta(4 + 3, 2)
    assert row["weight_wrong"] == -row["weight_ok"]


def test_an_annotator_without_honeypots_keeps_the_prior_and_is_called_unknown(make_tables, params):
    annotations, items = make_tables({"h1": "-x-", "c1": None}, 3, {("seen", "h1"): "-x-", ("unseen", "c1"): "xxx"})
    found = estimate(annotations, items, params)
    row = by_annotator(found).loc["unseen"]
    assert (row["sensitivity"], row["specificity"]) == (0.5, 0.8)
    assert row["is_kept"]
    assert row["reason"] == "never saw a honeypot: unknown, the prior is used"
    assert found.model["notes"] == ["1 of 2 annotators have too few honeypots and keep the prior"]


def test_an_annotator_with_too_few_honeypots_keeps_the_prior(make_tables, params):
    annotations, items = make_tables({"h1": "-x-"}, 3, {("ann", "h1"): "xxx"})
    row = by_annotator(estimate(annotations, items, params.model_copy(update={"min_honeypots": 2}))).loc["ann"]
    assert (row["sensitivity"], row["specificity"]) == (0.5, 0.8)
    assert row["reason"].startswith("saw 1 of the 2 honeypots needed")


def test_an_adversary_is_kept_with_weights_against_itself(make_tables, params):
    programs = {f"h{n}": "-xx-x-" for n in range(30)}
    annotations, items = make_tables(programs, 6, {("liar", name): "x--x-x" for name in programs})
    row = by_annotator(estimate(annotations, items, params)).loc["liar"]
    assert row["weight_ok"] < 0 < row["weight_wrong"]
    assert row["is_kept"]
    assert row["reason"] == "worse than chance: verdicts count against themselves"


def test_an_annotator_who_marks_nothing_is_told_from_an_expert(make_tables, params):
    programs = {f"h{n}": "x---------" for n in range(40)}
    marks = {("lazy", name): "-" * 10 for name in programs} | {("expert", name): "x---------" for name in programs}
    rows = by_annotator(estimate(*make_tables(programs, 10, marks), params))
    assert rows.loc["lazy", "accuracy"] > 0.8  # one coin is fooled
    # Marks nothing: 0 of 40 wrong lines caught -> Beta(2, 42); what it says moves a line by almost nothing.
    assert rows.loc["lazy", "sensitivity"] == pytest.approx(2 / 44)
    assert abs(rows.loc["lazy", "weight_ok"]) < 0.05
    assert rows.loc["expert", "weight_ok"] > 2
    assert rows.loc["lazy", "reason"].startswith("not told from chance")
    assert rows.loc["expert", "reason"] == "better than chance"


def test_perfect_and_always_wrong_annotators_have_finite_weights(make_tables, params):
    programs = {f"h{n}": "-x" for n in range(50)}
    marks = {("right", name): "-x" for name in programs} | {("wrong", name): "x-" for name in programs}
    for coins in (1, 2):
        found = estimate(*make_tables(programs, 2, marks), params.model_copy(update={"coins": coins}))
        assert np.isfinite(found.reliabilities[["weight_ok", "weight_wrong"]].to_numpy()).all()


def test_without_honeypots_the_orientation_is_assumed(make_tables, params):
    found = estimate(*make_tables({"c1": None}, 2, {("ann", "c1"): "-x"}), params)
    assert found.model["orientation"] == "assumed"


def test_an_empty_table_gives_an_empty_table(make_tables, params):
    found = estimate(*make_tables({"h1": "-x"}, 2, {}), params)
    assert len(found.reliabilities) == 0
    assert to_arrow(RELIABILITIES, found.reliabilities).num_rows == 0


def test_the_order_of_rows_changes_no_bit(make_tables, params):
    rng = np.random.default_rng(3)
    programs = {f"h{n}": "".join(rng.choice(["-", "x"], 7)) for n in range(9)}
    marks = {(f"a{a}", name): "".join(rng.choice(["-", "x"], 7)) for a in range(5) for name in programs}
    annotations, items = make_tables(programs, 7, marks)
    first = estimate(annotations, items, params)
    second = estimate(annotations.sample(frac=1, random_state=1), items.sample(frac=1, random_state=2), params)
    assert first.reliabilities.equals(second.reliabilities)


def test_the_result_is_under_the_schema_and_the_model_is_json(make_tables, params):
    found = estimate(*make_tables({"h1": "-x"}, 2, {("ann", "h1"): "--"}), params)
    assert to_arrow(RELIABILITIES, found.reliabilities).num_rows == 1
    assert json.loads(json.dumps(found.model)) == found.model


def mixed_crowd(make_tables, seed=11):
    """Six annotators of 30 honeypots and 30 completions of 8 lines; the last one marks nothing."""
    rng = np.random.default_rng(seed)
    truth = {f"c{n:02d}": "".join(rng.choice(["x", "-"], 8, p=[0.25, 0.75])) for n in range(60)}
    marks = {
        (f"a{who}", name): "".join(
            "x" if who < 5 and rng.random() < (0.8 if mark == "x" else 0.05) else "-" for mark in text
        )
        for name, text in truth.items()
        for who in range(6)
    }
    return make_tables({name: text if n % 2 else None for n, (name, text) in enumerate(truth.items())}, 8, marks)


@pytest.mark.parametrize("estimator", ["dawid_skene", "honeypot_beta", "l1_logistic", "majority"])
@pytest.mark.parametrize("coins", [1, 2])
def test_every_estimator_returns_the_same_record(make_tables, params, estimator, coins):
    annotations, items = mixed_crowd(make_tables)
    found = estimate(annotations, items, params.model_copy(update={"estimator": estimator, "coins": coins}))
    assert to_arrow(RELIABILITIES, found.reliabilities).num_rows == 6
    rows = by_annotator(found)
    assert (rows["estimator"] == estimator).all()
    assert (rows["n_verdicts"] == 480).all()
    assert (rows["n_honeypot_verdicts"] == 240).all()
    assert (rows["weight_wrong"].iloc[:5] < -0.3).all()  # a mark by any of the five says that the line is wrong
    assert json.loads(json.dumps(found.model)) == found.model
    assert found.model["estimator"] == estimator


def test_em_tells_the_lazy_annotator_from_the_others(make_tables, params):
    annotations, items = mixed_crowd(make_tables)
    rows = by_annotator(estimate(annotations, items, params.model_copy(update={"estimator": "dawid_skene"})))
    assert rows["sensitivity"].iloc[:5].between(0.6, 0.95).all()
    assert rows.loc["a5", "sensitivity"] < 0.1
    assert abs(rows.loc["a5", "weight_ok"]) < 0.1 * rows["weight_ok"].iloc[:5].min()


def test_the_weights_and_the_prior_reproduce_ems_own_posterior(make_tables, params):
    # Aggregation adds the weights of a table up; it must give what EM itself found.
    annotations, items = mixed_crowd(make_tables)
    found = estimate(annotations, items, params.model_copy(update={"estimator": "dawid_skene"}))
    labels = labels_of(code_verdicts(annotations, items), params.line_correlation)
    fit = dawid_skene.fit(labels, CrowdPrior(params.prior_accuracy, params.prior_sensitivity, params.prior_specificity))
    weights = -found.reliabilities[["weight_ok", "weight_wrong"]].to_numpy().ravel()
    prior = found.model["prior_correct"]
    log_odds = np.log((1 - prior) / prior) + labels.matrix @ weights
    np.testing.assert_allclose(1 / (1 + np.exp(-log_odds)), fit.posterior_wrong, rtol=1e-9)


@pytest.mark.parametrize("estimator", ["dawid_skene", "honeypot_beta", "l1_logistic", "majority"])
def test_no_verdicts_and_no_honeypots_are_defined_for_every_estimator(make_tables, params, estimator):
    params = params.model_copy(update={"estimator": estimator})
    assert len(estimate(*make_tables({"h": "-x"}, 2, {}), params).reliabilities) == 0
    alone = estimate(*make_tables({"c": None}, 3, {("ann", "c"): "-x-"}), params)
    assert np.isfinite(alone.reliabilities[["weight_ok", "weight_wrong", "accuracy"]].to_numpy()).all()
    assert alone.model["orientation"] == "assumed"
    assert any("assumed" in note for note in alone.model["notes"])
