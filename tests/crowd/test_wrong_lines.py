"""Rules for wrong lines: one case for each rule, derived by reading the program."""

from __future__ import annotations

import pytest

from crlhf.crowd.wrong_lines import WrongLines, find_wrong_lines
from crlhf.languages import python
from crlhf.schema import Verdict

GOOD = "def f(a, b):\n    c = a + b\n    return c\n"


def verdict(kind: str, line_no: int | None = None) -> Verdict:
    return Verdict("x", kind, "", line_no, None, "none", 0.0)


def found(
    code: str, kind: str, line_no: int | None = None, finish: str = "stop", others: tuple[str, ...] = (GOOD,)
) -> WrongLines:
    return find_wrong_lines(code, verdict(kind, line_no), finish, others, "f", python)


def test_a_program_that_passes_has_no_wrong_line() -> None:
    assert found("def f(a, b):\n    return a + b", "pass") == ((), "tests_pass")


@pytest.mark.parametrize(
    ("code", "line_no"),
    [
        ("def f(a, b):\n    c = a +* b\n    return c", 2),  # the compiler names line 2
        ("def f(a, b):\n    c = (a + b\n    return c\nd = 2", 2),  # never closed: the opening line
        ("def f(a, b):\n    for c in a:\n    return c", 2),  # the body is missing from line 2, not wrong in line 3
        ("def f(a, b):\n    c = a\n      return c", 3),  # unexpected indent
        ("x = 1\nreturn x", 2),  # parses, does not compile
        ("def f(a, b):\n    c = [a,\n         b", 3),  # breaks off
        ("def f(a, b):\n    c = a\n    if c:\n        # then", 3),  # breaks off; the comment is not judgeable
        ("def f(a, b):\n    c = 'a\n    return c", 2),  # unterminated string
        ("def f(a):\n    x = '\0'\n", 2),  # a null byte
    ],
)
def test_a_syntax_error_marks_the_line_it_lies_in(code: str, line_no: int) -> None:
    assert found(code, "error", 1) == ((line_no,), "syntax")


def test_an_exception_marks_the_line_it_came_from() -> None:
    assert found(GOOD.replace("a + b", "a + d"), "error", 2) == ((2,), "traceback")


def test_a_missing_entry_point_marks_the_header_of_the_function_in_its_place() -> None:
    code = "def helper(x):\n    return x\n\ndef g(a, b):\n    return helper(a + b)"
    assert found(code, "error") == ((4,), "traceback")


def test_an_exception_that_comes_from_a_test_is_left_to_alignment() -> None:
    # called with two arguments, so the exception comes from the call and not from a line of the program
    code = "def f(a):\n    return [a]"
    assert found(code, "error", others=("def f(a, b):\n    return [a]",)) == ((1,), "alignment")


@pytest.mark.parametrize("kind", ["fail", "timeout"])
def test_a_wrong_answer_marks_what_differs_from_the_closest_program(kind: str) -> None:
    assert found("def f(x, y):\n    z = x - y\n    return z", kind) == ((2,), "alignment")


def test_a_program_that_is_cut_but_compiles_is_wrong_where_it_stops() -> None:
    assert found("def f(a, b):\n    c = a + b\n", "fail", finish="length") == ((2,), "alignment")
    assert found("def f(a, b):\n    c = a + b\n", "fail", finish="length", others=()) == ((2,), "whole")


def test_with_nothing_to_compare_every_judgeable_line_is_wrong() -> None:
    code = "# sum\ndef f(a, b):\n\n    return a - b"
    assert found(code, "fail", others=()) == ((2, 4), "whole")


def test_a_program_without_a_judgeable_line_has_none_wrong() -> None:
    assert found("# nothing\n", "fail").line_nos == ()
