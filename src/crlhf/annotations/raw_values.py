"""Cells of a raw row, read as the types of the raw table. Nothing is coerced silently.

What is accepted, by the type of the column:
    string: text without the NUL character that can be written as UTF-8. A time stamp of a Parquet file becomes its
        ISO 8601 text, in UTC when it has no zone.
    int64: a whole number; also one with a zero fraction such as 3.0, which table programs write for whole numbers in a
        column with gaps. `true` is not 1.
    float64: a finite number. `true` is not 1.0.
    bool: `true` or `false`; in CSV in any case of letters. 1 and 0 are not.
Text is never read as a number or a truth value, except in CSV, where everything is text.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Callable
from typing import Any

from crlhf.annotations.quarantine import shown

_INTEGER = re.compile(r"[+-]?[0-9]{1,19}(\.0*)?", re.ASCII)
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,4})?", re.ASCII)
_EXACT = 2**53


class ValueFault(Exception):  # noqa: N818 - not an error of the program: it becomes a row of the quarantine
    """A cell breaks a rule. `rule` is its name, `str()` what was found and what was expected."""

    def __init__(self, rule: str, reason: str) -> None:
        super().__init__(reason)
        self.rule = rule


def converter(dtype: str, is_text: bool) -> Callable[[Any], Any]:
    """The function that reads a cell as `dtype`, raising ValueFault; `is_text` says that all cells are text (CSV)."""
    of_values = {"string": read_text, "int64": read_int, "float64": read_float, "bool": read_bool}
    of_text = {"string": read_text, "int64": _int_from_text, "float64": _float_from_text, "bool": _bool_from_text}
    return (of_text if is_text else of_values)[dtype]


def read_text(value: Any) -> str:
    """Text that every later format can hold."""
    if type(value) is str:
        if "\0" in value:
            raise ValueFault("clean_text", f"{shown(value)} holds the NUL character")
        if not value.isascii():
            try:
                value.encode("utf-8")
            except UnicodeEncodeError:
                raise ValueFault("clean_text", f"{shown(value)} is not Unicode text (half a character)") from None
        return value
    if isinstance(value, dt.datetime):
        zoned = value if value.tzinfo else value.replace(tzinfo=dt.UTC)
        return zoned.astimezone(dt.UTC).isoformat()
    raise ValueFault("value_type", f"{_found(value)}, expected text")


def read_int(value: Any) -> int:
    """A whole number that fits in 64 bits."""
    if type(value) is float and value.is_integer() and abs(value) <= _EXACT:
        return int(value)
    if type(value) is not int:
        raise ValueFault("value_type", f"{_found(value)}, expected a whole number")
    if not -(2**63) <= value < 2**63:
        raise ValueFault("value_type", "a number beyond 64 bits, expected a whole number")
    return value


def read_float(value: Any) -> float:
    """A finite number."""
    if type(value) not in (int, float):
        raise ValueFault("value_type", f"{_found(value)}, expected a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueFault("value_type", f"{shown(number)}, expected a finite number")
    return number


def read_bool(value: Any) -> bool:
    """True or False."""
    if type(value) is not bool:
        raise ValueFault("value_type", f"{_found(value)}, expected true or false")
    return value


def _int_from_text(text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise ValueFault("value_type", f"{shown(text)}, expected a whole number")
    return read_int(int(text.split(".", maxsplit=1)[0]))


def _float_from_text(text: str) -> float:
    if not _NUMBER.fullmatch(text):
        raise ValueFault("value_type", f"{shown(text)}, expected a finite number")
    return read_float(float(text))


def _bool_from_text(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueFault("value_type", f"{shown(text)}, expected true or false")
    return text.lower() == "true"


def _found(value: Any) -> str:
    kinds = {bool: "the truth value", int: "the number", float: "the number", str: "the text", dict: "an object",
             list: "a list"}  # fmt: skip
    return f"{kinds.get(type(value), type(value).__name__)} {shown(value)}"
