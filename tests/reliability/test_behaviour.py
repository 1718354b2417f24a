"""Annotators who are too fast or copy: found where chance cannot explain it, and only there."""

import numpy as np
import pandas as pd
import pytest

from crlhf.reliability.behaviour import find_by_behaviour

N_LINES = 8


def crowd(marks, seconds=30.0):
    """Annotations of programs of eight lines: annotator -> program number -> marked lines."""
    return pd.DataFrame(
        {
            "annotator_id": name,
            "completion_id": f"c{program}",
            "line_no": line_no,
            "verdict": "wrong" if line_no in lines else "ok",
            "duration_s": seconds,
        }
        for name, programs in marks.items()
        for program, lines in programs.items()
        for line_no in range(1, N_LINES + 1)
    )


def items(*wrong_of_honeypots):
    """Honeypots c0, c1, ... with these wrong lines."""
    return pd.DataFrame(
        {
            "completion_id": [f"c{no}" for no in range(len(wrong_of_honeypots))],
            "is_honeypot": True,
            "wrong_line_nos": list(wrong_of_honeypots),
        }
    )


def kinds(found):
    return {(row.annotator_id, row.kind) for row in found.itertuples()}


HONEST = {f"h{no}": {program: {1} for program in range(6)} for no in range(3)}
"""Three who mark the first line of every program, as is right."""


def test_a_copied_answer_sheet_with_its_mistakes_is_found():
    sheet = {0: {1, 5}, 1: {1, 7}, 2: {2}, 3: {1}, 4: {1, 3}, 5: {1}}
    found = find_by_behaviour(crowd(HONEST | {"a": sheet, "b": sheet}), items([1]), 1.0)
    assert kinds(found) == {("a", "copying"), ("b", "copying")}
    assert "all 6 programs judged like b did, 4 mistakes included" in set(found["evidence"])


def test_two_mistakes_in_common_may_be_chance():
    # 1 / C(42, 2) = 1/861 for one pair; among the ten pairs of five annotators it happens once in 86
    sheet = {0: {1, 5}, 1: {1, 7}} | {no: {1} for no in range(2, 6)}
    assert find_by_behaviour(crowd(HONEST | {"a": sheet, "b": sheet}), items([1]), 1.0).empty


def test_a_mistake_that_most_others_make_too_says_nothing():
    hard = {no: {1, 4} for no in range(6)}  # line 4 looks wrong to all
    marks = {name: dict(hard) for name in "abcde"}
    assert find_by_behaviour(crowd(marks), items([1], [1], [1]), 1.0).empty


def test_independent_people_are_hardly_ever_called_copies():
    rng = np.random.default_rng(3)
    n_called = 0
    for _ in range(40):
        marks = {
            f"a{no}": {
                program: {1} | {int(line) for line in rng.permutation(np.arange(2, 9))[: rng.random() < 0.3]}
                for program in range(6)
            }
            for no in range(10)
        }
        n_called += len(find_by_behaviour(crowd(marks), items([1]), 1.0))
    assert n_called == 0


@pytest.mark.parametrize(("seconds", "is_listed"), [(0.9, True), (3.0, True), (4.0, False)])
def test_too_fast_is_less_than_four_tenths_of_a_second_a_line(seconds, is_listed):
    found = find_by_behaviour(crowd({"a": HONEST["h0"]}, seconds), items([1]), 1.0)
    assert kinds(found) == ({("a", "too fast")} if is_listed else set())


def test_an_empty_table_has_no_suspects():
    assert find_by_behaviour(crowd(HONEST).head(0), items([1]), 1.0).empty
