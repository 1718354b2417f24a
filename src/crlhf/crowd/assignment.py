"""Who sees what: every item goes to `k` distinct annotators, and every annotator gets the load planned for them.

Loads follow the annotators' activities; given the loads, each item's annotators are drawn by systematic sampling with
unequal probabilities in a random order (Hartley and Rao 1962, doi:10.1214/aoms/1177704564), in whole numbers, so that
the planned loads come out exactly.

Notation: `A` annotators, `M` items, `k` annotators an item.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def planned_loads(activities: Floats, n_items: int, k: int) -> Ints:
    """Whole loads in proportion to `activities`, at most one verdict an item each.

    Args:
        activities: (A,) positive.
        n_items: M.
        k: annotators an item.

    Returns:
        (A,) loads of at most M that add up to `M * k`. What an annotator cannot take beyond M goes to the others.

    Raises:
        ValueError: there are fewer than `k` annotators.
    """
    n_annotators = len(activities)
    if k > n_annotators:
        raise ValueError(f"{n_annotators} annotators cannot give {k} verdicts an item")
    full = np.zeros(n_annotators, dtype=bool)
    loads = np.zeros(n_annotators)
    while True:
        loads[full] = n_items
        open_total = n_items * (k - int(full.sum()))
        loads[~full] = activities[~full] / activities[~full].sum() * open_total if open_total else 0.0
        over = ~full & (loads > n_items)
        if not over.any():
            break
        full |= over
    whole = np.floor(loads + 1e-9).astype(np.int64)
    short = n_items * k - int(whole.sum())
    largest_rest = np.lexsort((np.arange(n_annotators), whole - loads))
    whole[largest_rest[:short]] += 1
    return whole


def assign(loads: Ints, n_items: int, k: int, rng: np.random.Generator) -> Ints:
    """Draw `k` distinct annotators for each item so that annotator `a` gets exactly `loads[a]` items.

    Args:
        loads: (A,) of at most `n_items` each, `n_items * k` in all.
        n_items: M.
        k: annotators an item.
        rng: of the draws.

    Returns:
        (M, k) annotator numbers, ascending in each row.
    """
    left = loads.astype(np.int64).copy()
    chosen = np.empty((n_items, k), dtype=np.int64)
    stride = max(1, len(loads) // 64)  # a new order for each item would cost a large crowd most of the time
    order = np.empty(0, dtype=np.int64)
    for item in range(n_items):
        n_left = n_items - item
        if item % stride == 0:
            order = rng.permutation(np.flatnonzero(left))
        ends = np.cumsum(left[order])  # no load exceeds n_left, so points n_left apart fall on distinct annotators
        points = rng.integers(n_left) + n_left * np.arange(k)
        picked = order[np.searchsorted(ends, points, side="right")]
        left[picked] -= 1
        chosen[item] = np.sort(picked)
    return chosen
