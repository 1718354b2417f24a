import numpy as np
import pytest

from crlhf.reliability import estimate


def rounds(make_tables):
    programs = {f"h{n}": "-x-x" for n in range(6)}
    marks = {("ann", name): "-x-x" if n % 2 else "xx--" for n, name in enumerate(programs)}
    annotations, items = make_tables(programs, 4, marks)
    is_first = annotations["completion_id"].isin(["h0", "h1", "h2"])
    return annotations, annotations[is_first], annotations[~is_first], items


def test_two_rounds_equal_one_when_nothing_is_forgotten(make_tables, params):
    everything, first, second, items = rounds(make_tables)
    params = params.model_copy(update={"carry_over": 1.0})
    earlier = estimate(first, items, params).reliabilities
    found = estimate(second, items, params, earlier=earlier).reliabilities.iloc[0]
    expected = estimate(everything, items, params).reliabilities.iloc[0]
    for name in ("accuracy", "sensitivity", "specificity", "sensitivity_low", "weight_ok"):
        assert found[name] == pytest.approx(expected[name], rel=1e-6)


def test_nothing_is_carried_when_all_is_forgotten(make_tables, params):
    _, first, second, items = rounds(make_tables)
    params = params.model_copy(update={"carry_over": 0.0})
    earlier = estimate(first, items, params).reliabilities
    found = estimate(second, items, params, earlier=earlier).reliabilities
    assert found.equals(estimate(second, items, params).reliabilities)


def test_forgetting_halves_the_counts_by_hand(make_tables, params):
    # First round, rho = 0: sensitivity 2 of 2, then 1 of 2 twice... h0 and h2 are "xx--" (1 of 2), h1 is 2 of 2:
    # 4 of 6. Kept by half: Beta(2 + 2, 2 + 1). Second round: h3, h5 2 of 2, h4 1 of 2: Beta(4 + 5, 3 + 1).
    _, first, second, items = rounds(make_tables)
    params = params.model_copy(update={"carry_over": 0.5, "line_correlation": 0.0})
    earlier = estimate(first, items, params).reliabilities
    found = estimate(second, items, params, earlier=earlier).reliabilities.iloc[0]
    assert found["sensitivity"] == pytest.approx(9 / 13, rel=1e-6)


def test_newcomers_and_tables_without_intervals_carry_nothing(make_tables, params):
    _, first, second, items = rounds(make_tables)
    blank = estimate(first, items, params.model_copy(update={"estimator": "majority"})).reliabilities
    alone = estimate(second, items, params).reliabilities
    assert estimate(second, items, params, earlier=blank).reliabilities.equals(alone)
    stranger = estimate(first, items, params).reliabilities.assign(annotator_id="someone else")
    assert estimate(second, items, params, earlier=stranger).reliabilities.equals(alone)


def test_em_does_not_count_the_crowds_prior_again_in_every_round(make_tables, params):
    # Eight rounds of one crowd, nothing forgotten: an annotator is known about as well as from all rounds at once.
    rng = np.random.default_rng(0)
    truth = {f"c{n:03d}": "".join(rng.choice(["x", "-"], 6, p=[0.3, 0.7])) for n in range(96)}
    marks = {
        (f"a{who}", name): "".join("x" if rng.random() < (0.75 if mark == "x" else 0.1) else "-" for mark in text)
        for name, text in truth.items()
        for who in range(8)
    }
    programs = {name: text if n % 3 == 0 else None for n, (name, text) in enumerate(truth.items())}
    annotations, items = make_tables(programs, 6, marks)
    params = params.model_copy(update={"estimator": "dawid_skene", "carry_over": 1.0})
    number = annotations["completion_id"].str[1:].astype(int)
    earlier = None
    for part in range(8):
        earlier = estimate(annotations[number % 8 == part], items, params, earlier=earlier).reliabilities
    at_once = estimate(annotations, items, params).reliabilities
    for name in ("sensitivity", "specificity"):
        width = (earlier[f"{name}_high"] - earlier[f"{name}_low"]).mean()
        assert width == pytest.approx((at_once[f"{name}_high"] - at_once[f"{name}_low"]).mean(), rel=0.25)
