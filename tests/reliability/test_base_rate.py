import numpy as np
import pytest

from crlhf.reliability.base_rate import base_rate
from crlhf.reliability.labels import sparse_labels
from crlhf.reliability.verdicts import OK, UNKNOWN, WRONG


def labels_of(rows):
    """Rows of truth, verdicts `ok` and verdicts `wrong`; one annotator each."""
    line, annotator, is_wrong = [], [], []
    for number, (_, n_ok, n_wrong) in enumerate(rows):
        line += [number] * (n_ok + n_wrong)
        annotator += range(n_ok + n_wrong)
        is_wrong += [False] * n_ok + [True] * n_wrong
    truth = np.array([row[0] for row in rows], np.int8)
    return sparse_labels(np.array(line), np.array(annotator), np.array(is_wrong, bool), 10, truth)


def test_it_is_the_mark_rate_freed_of_misses_and_false_alarms():
    # Sensitivity 6 / 10 and false alarms 1 / 10 on honeypots; 4 of 20 verdicts on other lines are marks.
    labels = labels_of([(WRONG, 4, 6), (OK, 9, 1), (UNKNOWN, 8, 2), (UNKNOWN, 8, 2)])
    assert base_rate(labels) == pytest.approx((0.2 - 0.1) / (0.6 - 0.1))


def test_the_number_of_honeypots_of_either_kind_has_no_part_in_it():
    once = [(WRONG, 4, 6), (OK, 9, 1), (UNKNOWN, 7, 3)]
    assert base_rate(labels_of(once + once[:1] * 9)) == pytest.approx(base_rate(labels_of(once)))


@pytest.mark.parametrize(
    "rows",
    [
        [(UNKNOWN, 3, 2)],
        [(WRONG, 1, 4), (UNKNOWN, 3, 2)],
        [(OK, 4, 1), (UNKNOWN, 3, 2)],
        [(WRONG, 1, 4), (OK, 4, 1)],
        [(WRONG, 3, 2), (OK, 3, 2), (UNKNOWN, 3, 2)],
        [(WRONG, 4, 1), (OK, 1, 4), (UNKNOWN, 3, 2)],
    ],
    ids=["no honeypot", "wrong ones only", "correct ones only", "no other line", "coin flippers", "adversaries"],
)
def test_where_it_cannot_be_told_it_is_a_half(rows):
    assert base_rate(labels_of(rows)) == 0.5


def test_a_mark_rate_below_that_of_false_alarms_gives_the_least_rate():
    assert base_rate(labels_of([(WRONG, 1, 4), (OK, 4, 1), (UNKNOWN, 9, 0)])) == 0.005


def test_a_rate_is_recovered():
    rng = np.random.default_rng(2)
    is_wrong = rng.random(22_000) < np.where(np.arange(22_000) < 2000, 0.6, 0.12)
    line, annotator = np.repeat(np.arange(22_000), 3), np.tile(np.arange(3), 22_000)
    says_wrong = rng.random(66_000) < np.where(is_wrong[line], 0.8, 0.1)
    truth = np.where(np.arange(22_000) < 2000, np.where(is_wrong, WRONG, OK), UNKNOWN).astype(np.int8)
    # Standard error: that of the mark rate and of the false alarms, 0.002 and 0.006, over S + C - 1 = 0.7.
    assert base_rate(sparse_labels(line, annotator, says_wrong, 3, truth)) == pytest.approx(0.12, abs=0.018)
