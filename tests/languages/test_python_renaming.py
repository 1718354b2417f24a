"""Renaming: another text, the same program."""

from __future__ import annotations

import numpy as np
import pytest

from crlhf.crowd.alignment import align
from crlhf.languages import python
from crlhf.languages.python import renamed

PROGRAM = """import math
LIMIT = 3
def area(radius, sides=4):
    found = [piece for piece in range(sides) if piece < LIMIT]
    label = f"{found}"
    record = dict(size=radius)
    return math.pi * radius ** 2, len(found), label, record.get("size")
"""


def test_a_renamed_program_does_the_same_and_differs_in_names_only() -> None:
    code = renamed(PROGRAM, np.random.default_rng(0))
    assert code is not None
    mine: dict[str, object] = {}
    theirs: dict[str, object] = {}
    exec(PROGRAM, mine)
    exec(code, theirs)
    assert mine["area"](2.0) == theirs["area"](2.0)  # type: ignore[operator]
    assert align(code, PROGRAM, "area", python) == ((), 1.0)
    assert "radius" not in code
    assert "piece" not in code


@pytest.mark.parametrize("name", ["found", "LIMIT", "math", "size", "area"])
def test_names_that_mean_something_elsewhere_stay(name: str) -> None:
    # found: an f-string uses it; LIMIT and math: global; size: a keyword argument; area: the entry point
    code = renamed(PROGRAM, np.random.default_rng(1))
    assert code is not None
    assert name in code


@pytest.mark.parametrize("code", ["def f(:", "x = 1\n", "def f():\n    return 1\n"])
def test_a_program_without_a_variable_to_rename_has_no_variant(code: str) -> None:
    assert renamed(code, np.random.default_rng(0)) is None
