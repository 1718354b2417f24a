from math import exp

import pandas as pd
import pytest

from crlhf.rewards import line_posteriors
from crlhf.schema import LINE_POSTERIORS
from crlhf.store import to_arrow


def annotations(rows):
    return pd.DataFrame(rows, columns=["annotator_id", "completion_id", "line_no", "verdict"]).astype(
        {"line_no": "int64"}
    )


def items(rows):
    return pd.DataFrame(rows, columns=["completion_id", "line_nos", "is_honeypot"])


def reliabilities(rows):
    return pd.DataFrame(rows, columns=["annotator_id", "weight_ok", "weight_wrong", "is_kept"])


CROWD = reliabilities([("a", 1.0, -2.0, True), ("b", 0.5, -0.5, True), ("dropped", 9.0, -9.0, False)])


def test_log_odds_add_up_by_hand():
    found = line_posteriors(
        annotations([("a", "c", 1, "ok"), ("b", "c", 1, "wrong"), ("a", "c", 3, "wrong")]),
        items([("c", [1, 3], False)]),
        CROWD,
        0.8,
    )
    # prior log odds log 4; line 1: log 4 + 1 - 0.5; line 3: log 4 - 2
    assert found["line_no"].tolist() == [1, 3]
    assert found["posterior"].tolist() == pytest.approx(
        [4 * exp(0.5) / (1 + 4 * exp(0.5)), 4 * exp(-2) / (1 + 4 * exp(-2))]
    )
    assert found["n_ok"].tolist() == [1, 0]
    assert found["n_wrong"].tolist() == [1, 1]
    assert to_arrow(LINE_POSTERIORS, found).num_rows == 2


def test_the_papers_formula_is_the_one_coin_case():
    # p = 0.9 judged correct, p = 0.6 marked wrong, prior 0.5: odds = 9 * (0.4 / 0.6) = 6.
    from math import log

    crowd = reliabilities([("a", log(9), -log(9), True), ("b", log(1.5), -log(1.5), True)])
    found = line_posteriors(
        annotations([("a", "c", 1, "ok"), ("b", "c", 1, "wrong")]), items([("c", [1], False)]), crowd, 0.5
    )
    assert found["posterior"].item() == pytest.approx(6 / 7)


def test_lines_without_a_counting_verdict_have_the_prior():
    found = line_posteriors(
        annotations([("a", "c", 1, "ok"), ("dropped", "c", 2, "wrong"), ("stranger", "c", 3, "wrong")]),
        items([("c", [1, 2, 3], False)]),
        CROWD,
        0.7,
    )
    assert found["posterior"].tolist()[1:] == pytest.approx([0.7, 0.7])
    assert found["n_wrong"].tolist() == [0, 0, 0]


def test_honeypots_and_unjudged_completions_are_not_listed():
    found = line_posteriors(
        annotations([("a", "c", 1, "ok"), ("a", "h", 1, "ok")]),
        items([("c", [1], False), ("h", [1], True), ("unjudged", [1], False), ("no lines", [], False)]),
        CROWD,
        0.5,
    )
    assert found["completion_id"].tolist() == ["c"]


def test_overwhelming_evidence_stays_finite():
    crowd = reliabilities([("a", 2000.0, -2000.0, True)])
    found = line_posteriors(
        annotations([("a", "c", 1, "ok"), ("a", "c", 2, "wrong")]), items([("c", [1, 2], False)]), crowd, 0.5
    )
    assert found["posterior"].tolist() == [1.0, 0.0]
    assert found["log_odds"].tolist() == [2000.0, -2000.0]


def test_empty_tables_give_an_empty_table():
    found = line_posteriors(annotations([]), items([("c", [1], False)]), CROWD, 0.5)
    assert to_arrow(LINE_POSTERIORS, found).num_rows == 0


def test_the_order_of_rows_changes_no_bit():
    rows = [(who, "c", no, "ok" if (len(who) + no) % 2 else "wrong") for who in ("a", "b", "ccc") for no in (1, 2, 3)]
    crowd = reliabilities([("a", 0.1, -0.7, True), ("b", 0.2, -0.3, True), ("ccc", 0.3, -1.1, True)])
    table = annotations(rows)
    first = line_posteriors(table, items([("c", [1, 2, 3], False)]), crowd, 0.6)
    assert first.equals(line_posteriors(table.iloc[::-1], items([("c", [1, 2, 3], False)]), crowd.iloc[::-1], 0.6))
