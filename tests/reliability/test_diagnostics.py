from math import log

import numpy as np
import pytest

from crlhf.reliability.diagnostics import calibration_of, krippendorff_alpha, pairwise_agreement
from crlhf.reliability.labels import sparse_labels


def labels_from(rows):
    """Rows are lines, columns annotators; '.' is no verdict, 'x' wrong, '-' ok."""
    cells = [(n, a, mark == "x") for n, row in enumerate(rows) for a, mark in enumerate(row) if mark != "."]
    line, annotator, is_wrong = (np.array(column) for column in zip(*cells, strict=True))
    return sparse_labels(line, annotator, is_wrong, len(rows[0]), np.full(len(rows), -1, np.int8))


def test_alpha_is_that_of_krippendorffs_binary_example():
    # Krippendorff 2011, example A: two observers, ten units, no missing data; alpha = 0.095.
    first, second = "0100000010", "1110010000"
    rows = ["".join("x" if v == "1" else "-" for v in pair) for pair in zip(first, second, strict=True)]
    assert krippendorff_alpha(labels_from(rows)) == pytest.approx(0.095, abs=0.0005)


def test_alpha_ignores_lines_with_one_verdict_and_allows_missing_ones():
    # Lines: xx, --, x-, and a lonely x. n = 6, n_1 = n_0 = 3; only the third disagrees: 2 * 1 * 1 / 1 = 2.
    # alpha = 1 - 5 * 2 / (2 * 3 * 3) = 4 / 9.
    assert krippendorff_alpha(labels_from(["xx.", ".--", "x.-", "x.."])) == pytest.approx(4 / 9)


def test_alpha_of_one_value_is_undefined():
    assert krippendorff_alpha(labels_from(["--", "--"])) is None


def test_calibration_by_hand():
    found = calibration_of(np.array([0.9, 0.8, 0.2, 0.6]), [1, 0, 0, 1], n_bins=2)
    assert found.accuracy == 0.75
    assert found.log_loss == pytest.approx(-(log(0.9) + log(0.2) + log(0.8) + log(0.6)) / 4)
    assert found.brier == pytest.approx((0.01 + 0.64 + 0.04 + 0.16) / 4)
    # Bins: {0.2} with share 0, error 0.2; {0.9, 0.8, 0.6}: mean 2.3 / 3 against 2 / 3, error 0.1.
    assert found.ece == pytest.approx((0.2 * 1 + 0.1 * 3) / 4)
    assert found.bins["n"].tolist() == [1, 3]


def test_a_certain_error_costs_a_finite_loss():
    assert calibration_of(np.array([1.0]), [0]).log_loss == pytest.approx(-log(1e-10))


def test_nothing_to_compare_is_nan():
    assert np.isnan(calibration_of(np.zeros(0), []).log_loss)


def test_pairs_count_common_lines_and_agreement():
    pairs = pairwise_agreement(labels_from(["xx-", "x-.", "--x"]), np.array([1.0, 0.5, 0.0]))
    found = {(int(a), int(b)): (n, agreed, wrong) for a, b, n, agreed, wrong in zip(*pairs, strict=True)}
    assert found == {(0, 1): (3, 2, 1.5), (0, 2): (2, 0, 1.0), (1, 2): (2, 0, 1.0)}
