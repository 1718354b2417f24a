"""Assignment: planned loads come out exactly, and nobody sees an item twice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crlhf.crowd.assignment import assign, planned_loads


def test_loads_follow_activities() -> None:
    # 10 items x 3 = 30 verdicts over activities 1 : 2 : 3 : 4, of which the last is capped at 10; 20 are left for
    # 1 : 2 : 3, that is 3 1/3, 6 2/3 and 10
    assert planned_loads(np.array([1.0, 2.0, 3.0, 4.0]), 10, 3).tolist() == [3, 7, 10, 10]


def test_what_a_capped_annotator_cannot_take_goes_to_the_others() -> None:
    # 4 items x 2: annotator 0 would get 6 2/3, takes 4; the other two share the remaining 4
    assert planned_loads(np.array([10.0, 1.0, 1.0]), 4, 2).tolist() == [4, 2, 2]


def test_too_few_annotators_are_refused() -> None:
    with pytest.raises(ValueError, match="2 annotators cannot give 3 verdicts an item"):
        planned_loads(np.ones(2), 5, 3)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0.05, 20), min_size=1, max_size=12), st.integers(0, 30), st.data())
def test_every_item_gets_k_distinct_annotators_and_every_annotator_the_planned_load(
    activities: list[float], n_items: int, data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, len(activities)))
    loads = planned_loads(np.array(activities), n_items, k)
    chosen = assign(loads, n_items, k, np.random.default_rng(data.draw(st.integers(0, 9))))
    assert chosen.shape == (n_items, k)
    assert all(len(set(row)) == k for row in chosen.tolist())
    assert np.bincount(chosen.ravel(), minlength=len(loads)).tolist() == loads.tolist()


def test_every_pair_of_annotators_meets_about_equally_often() -> None:
    # 5 annotators with equal loads, 2 an item: each of the 10 pairs is drawn with probability 1/10, so 2000 items give
    # 200 each with a standard deviation of sqrt(2000 * 0.1 * 0.9) = 13.4; 60 is 4.5 of them
    chosen = assign(planned_loads(np.ones(5), 2000, 2), 2000, 2, np.random.default_rng(0))
    counts = np.bincount(chosen[:, 0] * 5 + chosen[:, 1], minlength=25)[[1, 2, 3, 4, 7, 8, 9, 13, 14, 19]]
    assert np.abs(counts - 200).max() < 60
