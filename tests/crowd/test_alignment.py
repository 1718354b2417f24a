"""Alignment: which lines differ once layout and the choice of names are taken out."""

from __future__ import annotations

import pytest

from crlhf.crowd.alignment import align_with_closest
from crlhf.languages import python

GOOD = """def total(items, limit):
    result = 0
    for item in items:
        if item < limit:
            result += item
    return result
"""


def marked(code: str, *others: str) -> tuple[int, ...]:
    found = align_with_closest(code, others, "total", python)
    assert found is not None
    return found.line_nos


def test_a_wrong_variable_shows_although_all_names_are_others() -> None:
    code = GOOD.replace("items", "xs").replace("item", "x").replace("limit", "n").replace("result", "acc")
    assert marked(code.replace("acc += x", "acc += n"), GOOD) == (5,)


def test_layout_comments_and_quotes_do_not_count() -> None:
    code = "# sum\n\ndef total( items,limit ):\n  result=0\n  for item in items:  # each\n    if item<limit:\n"
    assert marked(code + "      result -= item\n  return result", GOOD) == (7,)
    found = align_with_closest(
        "def total(a):\n    return a != 'x'", ['def total(a):\n    return a == "x"'], "total", python
    )
    assert found == ((2,), 0.5)  # one of two lines matches: 2 * 1 / 4


def test_a_statement_on_the_wrong_level_shows() -> None:
    assert marked(GOOD.replace("    return result", "        return result"), GOOD) == (6,)


def test_a_line_too_many_shows() -> None:
    assert marked(GOOD.replace("    result = 0\n", "    result = 0\n    result = 1\n"), GOOD) == (3,)


def test_for_a_missing_line_the_one_before_it_is_marked() -> None:
    assert marked(
        "def total(a):\n    a.sort()\n    return a", "def total(a):\n    a.sort()\n    a.pop()\n    return a"
    ) == (2,)


def test_a_line_missing_at_the_head_of_a_block_marks_the_line_after_it() -> None:
    assert marked("def total(a):\n    return a", "def total(a):\n    a.sort()\n    return a") == (2,)


def test_the_closest_program_decides_whatever_the_order() -> None:
    far = "def total(items, limit):\n    return sum(x for x in items if x < limit)\n"
    code = GOOD.replace("<", "<=")
    assert marked(code, far, GOOD) == marked(code, GOOD, far) == (4,)
    assert marked(code, far) == (2, 3, 4, 5, 6)


def test_swapped_parameters_are_decided_by_their_places_in_the_header() -> None:
    good = "def total(a, b):\n    return a - b"
    assert marked("def total(x, y):\n    return y - x", good) == (2,)


@pytest.mark.parametrize("others", [[], ["def other(a):\n    return a"], [GOOD]])
def test_a_comparison_that_says_nothing_gives_none(others: list[str]) -> None:
    # no program; no line in common; every line matches
    assert align_with_closest(GOOD.replace("result", "r"), others, "total", python) is None
