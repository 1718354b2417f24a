"""The trusted side for SQL: asks the child for rows and compares them with the expected ones, which stay here.

A check is JSON: `{"data": <SQL that fills the tables>, "rows": [[...], ...], "n_columns": 2, "ordered": false}`. Each
is a database of its own; a problem has several, so that an answer written down instead of computed fails.

Rows are compared in order where the check says `ordered`, else as a multiset. Values are compared strictly by type:
NULL only equals NULL, text only text, '1' is not 1. An integer and a real of the same value are equal (SQLite's own
`1 = 1.0`), and reals may differ by 1e-9 of the larger, since sums depend on the order of their terms.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from crlhf.evaluation.sandbox import sql_child, wire
from crlhf.languages.sql.names import RESULT
from crlhf.languages.sql.tokens import Token, statements, tokens_of

_TOLERANCE = 1e-9
_VALUES = (type(None), int, float, str, bytes)


class SqlOutcome(NamedTuple):
    """A verdict on a script; the fields are those of the tester's `Outcome`."""

    verdict: str
    reason: str
    line_no: int | None = None
    failed_test_no: int | None = None


def run_checks(program: dict[str, Any], exchange: Callable[[dict[str, Any]], Any]) -> SqlOutcome:
    """Run the script on each check database, stop at the first on which it does not hold; `exchange` asks the child.

    The verdict is `fail` for other rows, `timeout` for more steps than a script may take, else `error`. A script that
    is not SQL is the program's own failure: no check is named.
    """
    code = program["code"]
    parts = statements(tokens_of(code), code)
    if not parts:
        return SqlOutcome("error", "no statement")
    request = {
        "op": "sql",
        "statements": [code[part[0].start : part[-1].end] for part in parts],
        "spans": [[[token.start - part[0].start, token.end - part[0].start] for token in part] for part in parts],
        "table": None if program["entry_point"] == RESULT else program["entry_point"],
    }
    for number, test in enumerate(program["tests"]):
        check = json.loads(test)
        try:
            reply = exchange(request | {"setup": f"{program['setup_code']}\n{check['data']}"})
            outcome = _read(reply, check, parts)
        except wire.WireError as error:
            outcome = SqlOutcome("error", "process ended" if str(error) == "the stream ended" else "unreadable answer")
        if outcome is not None:
            return outcome if outcome.reason == sql_child.SYNTAX else outcome._replace(failed_test_no=number)
    return SqlOutcome("pass", "all tests passed")


def _read(reply: Any, check: dict[str, Any], parts: list[list[Token]]) -> SqlOutcome | None:
    """What one answer shows, or None when its rows are the expected ones; raises WireError when it is no answer."""
    if type(reply) is not dict or len(reply) != 1:
        raise wire.WireError("no answer")
    if "bad" in reply:
        return _read_bad(reply["bad"], parts)
    if "many" in reply:
        return SqlOutcome("fail", "too many rows")
    n_columns, rows = _read_table(reply)
    if n_columns != check["n_columns"]:
        return SqlOutcome("fail", "wrong number of columns")
    if same_rows(check["rows"], rows, is_ordered=check["ordered"]):
        return None
    is_order = check["ordered"] and same_rows(check["rows"], rows, is_ordered=False)
    return SqlOutcome("fail", "wrong order" if is_order else "wrong rows")


def _read_table(reply: dict[str, Any]) -> tuple[int, list[list[Any]]]:
    """The number of columns and the rows of an answer."""
    try:
        n_columns, rows = wire.decode(reply.get("v"), _refuse)
        is_table = type(n_columns) is int and all(type(row) is list and len(row) == n_columns for row in rows)
        if is_table and all(type(value) in _VALUES for row in rows for value in row):
            return n_columns, rows
    except (TypeError, ValueError):
        pass
    raise wire.WireError("not rows")


def _refuse(message: Any) -> Any:
    raise wire.WireError("not a value of SQL")


def _read_bad(bad: Any, parts: list[list[Token]]) -> SqlOutcome:
    try:
        reason, statement_no, token_no, name = bad
        is_known = reason in sql_child.REASONS
        part = parts[statement_no] if type(statement_no) is int else None
    except (TypeError, ValueError, IndexError):
        is_known = False
    if not is_known:
        raise wire.WireError("no reason")
    verdict = "timeout" if reason == "too many steps" else "error"
    return SqlOutcome(verdict, reason, None if part is None else _line_no(part, token_no, name))


def _line_no(part: list[Token], token_no: Any, name: Any) -> int | None:
    """The line of the token that the child names, by its number or else by what SQLite calls it."""
    if type(token_no) is int:
        return part[min(max(token_no, 0), len(part) - 1)].line_no
    if type(name) is not str:
        return None
    wanted = name.rpartition(".")[2].strip("\"'()").upper()
    return next((token.line_no for token in part if token.word == wanted), None)


def same_rows(expected: Sequence[Sequence[Any]], found: Sequence[Sequence[Any]], *, is_ordered: bool) -> bool:
    """Whether two results hold the same rows, in the same order or as multisets."""
    if len(expected) != len(found):
        return False
    if is_ordered:
        return all(same_row(row, other) for row, other in zip(expected, found, strict=True))
    left = list(found)
    for row in expected:
        match = next((i for i, other in enumerate(left) if same_row(row, other)), None)
        if match is None:
            return False
        del left[match]
    return True


def same_row(row: Sequence[Any], other: Sequence[Any]) -> bool:
    """Whether two rows hold the same values."""
    return len(row) == len(other) and all(map(same_value, row, other))


def same_value(value: Any, other: Any) -> bool:
    """Whether two values of SQL are the same: by type, with one kind of number."""
    numbers = (int, float)
    if type(value) in numbers and type(other) in numbers:
        if type(value) is type(other) is int:
            return bool(value == other)
        return math.isclose(value, other, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
    return type(value) is type(other) and bool(value == other)
