import numpy as np
import pandas as pd

from crlhf.reliability.labels import code_table


def table(rows):
    return pd.DataFrame(rows, columns=["task", "worker", "label"])


def test_judges_are_equal_exactly_where_the_same_annotators_judged_equally_often():
    by_task = {"a": "xyz", "b": "zyx", "c": "xy", "d": "xyy", "e": "yxy", "f": "xyyy", "g": "z"}
    labels = table([(task, worker, 0) for task, workers in by_task.items() for worker in workers])
    judges = code_table(labels, None).labels.judges
    assert judges[0] == judges[1]  # a and b
    assert judges[3] == judges[4]  # d and e
    assert len(set(judges.tolist())) == 5
    assert code_table(labels, None).labels.n_judges.tolist() == [3, 3, 2, 2, 2, 2, 1]


def test_who_changes_their_mind_is_one_judge():
    labels = table(
        [("a", "x", 0), ("a", "x", 1), ("b", "x", 1), ("b", "y", 0), ("c", "x", 0), ("c", "y", 0), ("c", "y", 1)]
    )
    assert code_table(labels, None).labels.n_judges.tolist() == [1, 2, 2]
    assert len(code_table(table([]), None).labels.n_judges) == 0


def test_the_label_given_does_not_change_who_judged():
    same = code_table(table([("a", "x", 0), ("a", "y", 1), ("b", "x", 1), ("b", "y", 1)]), None).labels
    assert same.judges[0] == same.judges[1]
    assert len(code_table(table([]), None).labels.judges) == 0


def test_categories_in_any_order_with_unused_ones_are_coded_as_their_text_is():
    text = table([("b", "y", 1), ("a", "x", 0), ("b", "x", 1), ("c", "y", 0)])
    coded = text.assign(
        task=pd.Categorical(text["task"], ["zz", "c", "b", "a"]), worker=pd.Categorical(text["worker"], ["y", "w", "x"])
    )
    one, other = code_table(text, pd.Series({"c": 1})), code_table(coded, pd.Series({"c": 1}))
    assert one.tasks.tolist() == other.tasks.tolist() == ["a", "b", "c"]
    assert one.workers.tolist() == other.workers.tolist() == ["x", "y"]
    np.testing.assert_array_equal(one.labels.matrix.toarray(), other.labels.matrix.toarray())
    np.testing.assert_array_equal(one.labels.truth, other.labels.truth)
