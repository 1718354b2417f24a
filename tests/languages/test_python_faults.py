"""Faults: every kind by hand, and what holds for all of them."""

from __future__ import annotations

import ast

import numpy as np
import pytest

from crlhf.crowd import faults
from crlhf.languages import python
from crlhf.languages.python import fault_kinds as FAULT_KINDS
from crlhf.languages.python import judgeable_lines, possible_faults


def inject_faults(program, seed, n):
    return faults.inject_faults(program, seed, n, python)


BY_HAND = [
    ("arithmetic_operator", "def f(a, b):\n    return a + b", "    return a - b"),
    ("arithmetic_operator", "def f(a, b):\n    a *= b\n    return a", "    a += b"),
    ("arithmetic_operator", "def f(a, b):\n    return (a) // (b)  # a // b", "    return (a) % (b)  # a // b"),
    ("swapped_operands", "def f(a, b):\n    return a - b", "    return b - a"),
    ("comparison_operator", "def f(a, b):\n    return a == b", "    return a != b"),
    ("comparison_operator", "def f(a):\n    return a is not None", "    return a is None"),
    ("boundary_comparison", "def f(a, b):\n    return a < b", "    return a <= b"),
    ("boundary_comparison", "def f(a, b):\n    return 0 <= a <= b", "    return 0 <= a < b"),
    ("membership", "def f(a, b):\n    return a in b", "    return a not in b"),
    ("membership", "def f(a, b):\n    return a not in b", "    return a in b"),
    ("boolean_operator", "def f(a, b):\n    return a and b", "    return a or b"),
    ("dropped_not", "def f(a):\n    return not a", "    return a"),
    ("added_not", "def f(a):\n    if a:\n        return 1", "    if not a:"),
    ("added_not", "def f(a, b):\n    while a or b:\n        a = 0", "    while not (a or b):"),
    ("dropped_condition", "def f(a, b):\n    return a > 1 and b > 2", "    return b > 2"),
    ("dropped_condition", "def f(a):\n    return [x for x in a if x > 1]", "    return [x for x in a]"),
    ("dropped_minus", "def f(a):\n    return -a", "    return a"),
    ("range_bound", "def f(n):\n    return list(range(n))", "    return list(range(n - 1))"),
    ("range_bound", "def f(n):\n    return list(range(n + 1))", "    return list(range(n))"),
    ("range_bound", "def f(n):\n    return list(range(2, n))", "    return list(range(3, n))"),
    ("range_bound", "def f(a):\n    return dict(enumerate(a))", "    return dict(enumerate(a, 1))"),
    ("slice_bound", "def f(a):\n    return a[1:]", "    return a[2:]"),
    ("slice_bound", "def f(a):\n    return a[::-1]", "    return a[::1]"),
    ("index_shift", "def f(a):\n    return a[-1]", "    return a[-2]"),
    ("index_shift", "def f(a, i):\n    return a[i + 1]", "    return a[i]"),
    ("sort_order", "def f(a):\n    return sorted(a)", "    return sorted(a, reverse=True)"),
    ("sort_order", "def f(a):\n    a.sort()\n    return a", "    a.sort(reverse=True)"),
    ("sort_order", "def f(a):\n    return sorted(a, key=len, reverse=True)", "    return sorted(a, reverse=True)"),
    ("swapped_arguments", "def f(a, b):\n    return g(a,  b)", "    return g(b,  a)"),
    ("wrong_call", "def f(a):\n    return max(a)", "    return min(a)"),
    ("wrong_call", "def f(a):\n    return a.strip().upper()", "    return a.strip().lower()"),
    ("wrong_call", "def f(a):\n    return a.pop()", "    return a.pop(0)"),
    ("dropped_call", "def f(a):\n    return abs(a - 1) * 2", "    return (a - 1) * 2"),
    ("dropped_call", "def f(a):\n    return a.lower() == 'x'", "    return a == 'x'"),
    ("wrong_constant", "def f(a):\n    return a * 10", "    return a * 11"),
    ("wrong_constant", "def f(a):\n    return a.split(',')", "    return a.split(';')"),
    ("wrong_constant", "def f(a):\n    return a == 'Yes'", "    return a == 'yES'"),
    ("wrong_variable", "def f(a, b):\n    return g(a)", "    return g(b)"),
    ("wrong_return", "def f(a):\n    return True", "    return False"),
    ("wrong_return", "def f(a, b):\n    return b, a", "    return a, b"),
    ("missing_return", "def f(a):\n    return a", "    a"),
    ("missing_accumulation", "def f(a, b):\n    a += b\n    return a", "    a = b"),
    ("missing_accumulation", "def f(a, b):\n    a = a + b\n    return a", "    a = b"),
    ("missing_accumulation", "def f(a, b):\n    a.append(b)\n    return a", "    a = [b]"),
    ("loop_control", "for a in b:\n    break", "    continue"),
    ("wrong_branch", "if a:\n    b = 1\nelif c:\n    b = 2", "if c:"),
    ("indentation", "def f(a):\n    for b in a:\n        c = b\n    return c", "        return c"),
    ("indentation", "def f(a):\n    for b in a:\n        c = b\n        d = c\n    return d", "    d = c"),
]

PROGRAM = '''import math


def spread(items, digits=2):
    """Range of items.

    Not to be touched: return max(items)
    """
    # return min(items)
    total = 0
    for index, item in enumerate(items):
        if item is None or index > 10 and not item:
            continue
        elif item < 0:
            item = -item
        total += item * 2  # a + b
    label = f"{total + 1} and {digits - 1}"
    return round(math.sqrt(total), digits), label[0:3], sorted(items)[-1]
'''


@pytest.mark.parametrize(("kind", "program", "line"), BY_HAND)
def test_fault_of_each_kind_is_the_one_made_by_hand(kind: str, program: str, line: str) -> None:
    made = {fault.code.split("\n")[fault.line_no - 1] for fault in possible_faults(program) if fault.kind == kind}
    assert line in made


def test_every_kind_has_a_case_by_hand() -> None:
    assert {kind for kind, _, _ in BY_HAND} == set(FAULT_KINDS)


@pytest.mark.parametrize("program", [PROGRAM, PROGRAM.replace("\n", "\r\n"), *(case[1] for case in BY_HAND)])
def test_a_fault_changes_the_text_of_one_judgeable_line_only_and_parses(program: str) -> None:
    faults = possible_faults(program)
    before = program.split("\n")
    assert len({fault.code for fault in faults}) == len(faults) > 0
    for fault in faults:
        after = fault.code.split("\n")
        assert len(after) == len(before)
        assert [no for no, (a, b) in enumerate(zip(before, after, strict=True), 1) if a != b] == [fault.line_no]
        assert fault.line_no in judgeable_lines(program)
        assert ast.dump(ast.parse(fault.code)) != ast.dump(ast.parse(program))


def test_docstrings_comments_and_the_inside_of_f_strings_stay() -> None:
    for fault in possible_faults(PROGRAM):
        assert fault.line_no not in {5, 6, 7, 8, 9}
        assert "# a + b" in fault.code
        assert '{total + 1} and {digits - 1}"' in fault.code


def test_columns_are_characters_where_the_line_is_not_ascii() -> None:
    # `ast` counts é as two bytes; the operator after it must be the one replaced.
    made = {fault.code for fault in possible_faults('def f(a, b):\n    return "é" * a + b')}
    assert 'def f(a, b):\n    return "é" * a - b' in made
    assert 'def f(a, b):\n    return "é" + a + b' in made


def test_a_variable_is_replaced_only_by_one_that_is_bound_by_then() -> None:
    program = "def f(a, b):\n    c = a\n    d = b\n    return d"
    second = {fault.code.split("\n")[1] for fault in possible_faults(program) if fault.kind == "wrong_variable"}
    assert "    c = b" in second
    assert "    c = d" not in second


def test_kinds_take_turns() -> None:
    # PROGRAM carries this many kinds; so many draws must give each once, and one more repeats one.
    n_kinds = len({fault.kind for fault in possible_faults(PROGRAM)})
    assert n_kinds >= 15
    drawn = inject_faults(PROGRAM, 3, n_kinds + 1)
    assert len({fault.kind for fault in drawn[:n_kinds]}) == n_kinds
    assert drawn[n_kinds].kind in {fault.kind for fault in drawn[:n_kinds]}


def test_the_same_seed_gives_the_same_faults_and_another_seed_others() -> None:
    assert inject_faults(PROGRAM, 5, 10) == inject_faults(PROGRAM, np.random.default_rng(5), 10)
    assert inject_faults(PROGRAM, 5, 10) != inject_faults(PROGRAM, 6, 10)


def test_asking_for_more_than_there_are_gives_all_of_them_once() -> None:
    program = "def f(a, b):\n    return a and b"
    assert sorted(inject_faults(program, 0, 1000)) == sorted(possible_faults(program))


@pytest.mark.parametrize("program", ["def f(:", "", "# nothing\n", "x = 1\x0c\n", "a = b\rc = 2\n", "x = '\0'"])
def test_programs_whose_lines_or_tree_cannot_be_told_have_no_faults(program: str) -> None:
    assert inject_faults(program, 0, 5) == []
