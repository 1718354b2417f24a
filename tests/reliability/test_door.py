import numpy as np
import pandas as pd
import pytest

from crlhf.errors import InputError
from crlhf.reliability import METHODS, aggregate_labels


def table(rows):
    return pd.DataFrame(rows, columns=["task", "worker", "label"])


def crowd(n_tasks=400, seed=0):
    rng = np.random.default_rng(seed)
    truth = pd.Series((rng.random(n_tasks) < 0.3).astype(int), index=[f"t{n:03d}" for n in range(n_tasks)])
    p = {f"w{n}": q for n, q in enumerate([0.9, 0.85, 0.8, 0.75, 0.6, 0.5])}
    rows = [
        (task, worker, int(value if rng.random() < q else 1 - value))
        for task, value in truth.items()
        for worker, q in p.items()
    ]
    return table(rows), truth


@pytest.mark.parametrize("method", METHODS)
def test_every_method_beats_the_best_worker_or_ties_the_vote(method):
    labels, truth = crowd()
    found = aggregate_labels(labels, truth.iloc[:80], method=method)
    p = found.posteriors.set_index("task")["probability"].iloc[80:]
    # The best worker is right on 90 %; a vote of six with ties at 50 % is right on about 91 %.
    assert ((p > 0.5) == (truth.iloc[80:] == 1)).mean() >= 0.9
    assert p.between(0, 1).all()
    assert found.annotators["worker"].tolist() == [f"w{n}" for n in range(6)]
    assert found.orientation == "gold"


@pytest.mark.parametrize("method", METHODS)
def test_without_gold_the_orientation_is_assumed_and_nothing_is_nan(method):
    labels, truth = crowd()
    found = aggregate_labels(labels, method=method)
    p = found.posteriors.set_index("task")["probability"]
    assert found.orientation == "assumed"
    assert p.notna().all()
    assert ((p > 0.5) == (truth == 1)).mean() >= 0.85


@pytest.mark.parametrize("method", METHODS)
def test_an_empty_table_gives_empty_tables(method):
    found = aggregate_labels(table([]), method=method)
    assert (len(found.posteriors), len(found.annotators)) == (0, 0)


@pytest.mark.parametrize("method", METHODS)
def test_one_worker_one_class_and_odd_gold_are_finite(method):
    labels = table([("a", "w", 1), ("b", "w", 1), ("b", "v", 1)])
    for gold in (None, pd.Series({"a": 1}), pd.Series({"a": 0}), pd.Series({"nobody labelled": 1})):
        found = aggregate_labels(labels, gold, method=method)
        assert np.isfinite(found.posteriors["probability"]).all()


@pytest.mark.parametrize("method", METHODS)
def test_the_share_of_ones_among_gold_is_a_design_and_not_that_of_tasks(method):
    # 10 % of the tasks are 1, and 90 % of the gold; three workers who are right on 80 % judge each.
    rng = np.random.default_rng(0)
    truth = pd.Series((rng.random(2000) < 0.1).astype(int))
    truth[:100] = (rng.random(100) < 0.9).astype(int)
    right = rng.random((2000, 3)) < 0.8
    rows = [
        (task, worker, int(truth[task] if right[task, place] else 1 - truth[task]))
        for task in range(2000)
        for place, worker in enumerate(rng.choice(20, 3, replace=False))
    ]
    p = aggregate_labels(table(rows), truth[:100], method=method).posteriors.set_index("task")["probability"][100:]
    # A vote of three is right on 0.8**3 + 3 * 0.8**2 * 0.2 = 89.6 %, give or take two standard errors of 0.7 points.
    assert ((p > 0.5) == (truth[100:] == 1)).mean() > 0.875


def test_the_majority_is_the_vote_whatever_gold_says():
    rows = [(n, w, int(w < n % 4)) for n in range(40) for w in range(3)]  # n % 4 of three say 1
    p = aggregate_labels(table(rows), pd.Series(1, index=range(10)), method="majority").posteriors["probability"]
    assert ((p > 0.5) == (np.arange(40) % 4 >= 2)).all()


def test_the_order_of_rows_changes_no_bit():
    labels, truth = crowd()
    first = aggregate_labels(labels, truth.iloc[:50])
    second = aggregate_labels(labels.sample(frac=1, random_state=1), truth.iloc[:50].sample(frac=1, random_state=2))
    assert first.posteriors.equals(second.posteriors)
    assert first.annotators.equals(second.annotators)


def test_ids_of_any_type_are_kept():
    found = aggregate_labels(table([(7, 30, 1), (7, 20, 1), (5, 20, 0)]))
    assert found.posteriors["task"].tolist() == [5, 7]
    assert found.annotators["worker"].tolist() == [20, 30]


@pytest.mark.parametrize(
    ("labels", "gold", "message"),
    [
        (pd.DataFrame({"task": [1]}), None, "column 'worker' is missing"),
        (table([("a", "w", 1), ("b", "w", 2)]), None, "row 2 has the label 2"),
        (table([("a", "w", float("nan"))]), None, "row 1 has the label nan"),
        (table([("a", "w", 1), ("b", None, 1)]), None, "row 2 has no worker"),
        (table([("a", "w", 1)]), pd.Series({"a": 3}), "task 'a' has the label 3"),
        (table([("a", "w", 1)]), pd.Series([1, 0], index=["a", "a"]), "task 'a' is listed twice"),
    ],
)
def test_bad_input_names_the_row_and_the_rule(labels, gold, message):
    with pytest.raises(InputError, match=message):
        aggregate_labels(labels, gold)


def test_an_unknown_method_names_those_there_are():
    with pytest.raises(InputError, match="choose one of dawid_skene"):
        aggregate_labels(table([]), method="oracle")
