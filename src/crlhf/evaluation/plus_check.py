"""EvalPlus' comparison of a program's answers with those of the reference; run inside the sandbox's trusted tester.

A test of a HumanEval+ or MBPP+ problem is one call of `check_inputs`, which holds the inputs, what the reference
returned for each, and how near is near enough. The rules are those of `evalplus.eval` 0.3.1: equality, else numbers
within `atol` and a relative 1e-7, with the same special cases for problems that have more than one right answer.

Departs from EvalPlus: an answer that is to be a number must be one (an object that acts as a number is refused).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from crlhf.evaluation.sandbox import wire
from crlhf.evaluation.sandbox.limits import at_most

RELATIVE = 1e-7
FLOAT_ATOL = 1e-6
NOT_NONE = frozenset({"check_str", "text_match_three", "text_starta_endb"})
"""MBPP+ functions of which only None or not None is compared."""
AS_SETS = frozenset(
    {
        "similar_elements", "find_char_long", "common_in_nested_lists", "extract_singly", "larg_nnum",
        "intersection_array", "find_dissimilar", "Diff",
    }
)  # fmt: skip
"""MBPP+ functions whose answers are compared as sets."""


class Call(NamedTuple):
    """One input: the arguments, what the reference returned, the absolute tolerance, the seconds allowed."""

    arguments: list[Any]
    expected: Any
    atol: float
    limit_s: float


def write_calls(calls: list[Call]) -> str:
    """`calls` as the text that `check_inputs` reads; raises WireError for a value of no builtin type."""
    return json.dumps([wire.encode(list(call), _refuse) for call in calls], separators=(",", ":"))


def check_inputs(function: Callable[..., Any], benchmark: str, entry_point: str, written: str) -> None:
    """Call `function` on every input of `written`; raises AssertionError at the first answer that is wrong."""
    for call in _calls(written):
        with at_most(call.limit_s):
            answer = function(*call.arguments)
        assert is_right(benchmark, entry_point, call, answer)


def is_right(benchmark: str, entry_point: str, call: Call, answer: Any) -> bool:
    """Whether `answer` is as good as what the reference returned."""
    expected = call.expected
    if benchmark == "humaneval+" and entry_point == "find_zero":
        return _is_number(answer) and abs(_polynomial(call.arguments[0], answer)) <= call.atol
    is_equal = bool(answer == expected)
    if benchmark == "mbpp+" and entry_point in _SPECIAL:
        is_equal = _SPECIAL[entry_point](call, answer, is_equal)
    return is_equal or (call.atol != 0 and _is_close(answer, expected, call.atol))


def tolerances(atol: float, expected: list[Any]) -> list[float]:
    """The absolute tolerance of each input in turn.

    As in EvalPlus, a problem without one gets 1e-6 from its first floating answer on, and keeps it.
    """
    found = []
    for value in expected:
        if atol == 0 and _is_floats(value):
            atol = FLOAT_ATOL
        found.append(atol)
    return found


def _calls(written: str) -> Iterator[Call]:
    for encoded in _parsed(written):
        yield Call(*wire.decode(encoded, _refuse))  # anew each time: a program may change its arguments


@lru_cache(maxsize=16)
def _parsed(written: str) -> list[Any]:
    return list(json.loads(written))


def _refuse(value: Any) -> Any:
    raise wire.WireError(f"a value of type {type(value).__name__} cannot be compared")


def _is_close(answer: Any, expected: Any, atol: float) -> bool:
    if type(answer) is not type(expected):
        return False
    if isinstance(expected, list | tuple) and len(answer) != len(expected):
        return False
    if not (_all_numbers(answer) and _all_numbers(expected)):
        return False
    import numpy as np

    try:
        return bool(np.allclose(answer, expected, rtol=RELATIVE, atol=atol))
    except (TypeError, ValueError, OverflowError):
        return False


def _all_numbers(value: Any) -> bool:
    if type(value) in (list, tuple):
        return all(map(_all_numbers, value))
    return _is_number(value) or type(value) is complex


def _is_number(value: Any) -> bool:
    return type(value) in (int, float, bool)


def _is_floats(value: Any) -> bool:
    if type(value) is float:
        return True
    return type(value) in (list, tuple) and bool(value) and all(type(item) is float for item in value)


def _polynomial(coefficients: list[float], x: float) -> float:
    return math.fsum(coefficient * math.pow(x, power) for power, coefficient in enumerate(coefficients))


def _pyramid(base_edge: float, height: float) -> int:
    slant = math.sqrt((base_edge / 2) ** 2 + height**2)
    return round(base_edge**2 + 2 * base_edge * slant)


def _digit_distance(first: int, second: int) -> int:
    a, b = str(first), str(second)
    width = max(len(a), len(b))
    return sum(abs(int(x) - int(y)) for x, y in zip(a.zfill(width), b.zfill(width), strict=True))


def _as_sets(call: Call, answer: Any, is_equal: bool) -> bool:
    return set(answer) == set(call.expected)


def _not_none(call: Call, answer: Any, is_equal: bool) -> bool:
    return bool(answer == call.expected if isinstance(answer, bool) else call.expected == (answer is not None))


def _other_pyramid(call: Call, answer: Any, is_equal: bool) -> bool:
    return is_equal or (_is_number(answer) and abs(answer - _pyramid(*call.arguments)) <= call.atol)


def _other_distance(call: Call, answer: Any, is_equal: bool) -> bool:
    return is_equal or (_is_number(answer) and answer == _digit_distance(*call.arguments))


_SPECIAL: dict[str, Callable[[Call, Any, bool], bool]] = {
    **dict.fromkeys(AS_SETS, _as_sets),
    **dict.fromkeys(NOT_NONE, _not_none),
    "are_equivalent": lambda call, answer, is_equal: True,  # mbpp/164: the published answers do not fit its text
    "sum_div": lambda call, answer, is_equal: is_equal or (_is_number(answer) and answer == 0),  # mbpp/295
    "surface_Area": _other_pyramid,  # mbpp/581: the height may be the pyramid's own, not that of its faces
    "digit_distance_nums": _other_distance,  # mbpp/558: digit by digit, or the digits of the difference
}
"""MBPP+ functions with more than one right answer: (call, answer, whether it equals the expected one) -> verdict."""
