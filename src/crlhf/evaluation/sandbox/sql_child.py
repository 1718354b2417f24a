"""The untrusted side for SQL: runs a script on a database in memory and hands back its rows.

It knows the check database and the script, never the expected rows. Beside the layers around the process, SQLite is
told to refuse what a script has no use for: other files (ATTACH, VACUUM INTO), extensions, pragmas, virtual tables,
and functions whose answer no one can foresee. Its own limits bound the length of values and of the script, the depth
of expressions, the memory, and the number of steps of its virtual machine, so that a script that runs away is stopped
after the same step on every machine.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from typing import Any

from crlhf.evaluation.sandbox import wire

MAX_ROWS = 10_000
MAX_STEPS = 50_000_000
_STEPS_A_LOOK = 10_000
_MAX_CHARACTERS = 400_000
_MEMORY_MIB = 128
_LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: 1_000_000,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 100_000,
    sqlite3.SQLITE_LIMIT_COLUMN: 200,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 200,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 100,
    sqlite3.SQLITE_LIMIT_VDBE_OP: 250_000,
    sqlite3.SQLITE_LIMIT_FUNCTION_ARG: 100,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 1_000,
    sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 10,
    sqlite3.SQLITE_LIMIT_WORKER_THREADS: 0,
}
_READING = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
_WRITING = {
    getattr(sqlite3, f"SQLITE_{what}")
    for what in (
        "INSERT", "UPDATE", "DELETE", "TRANSACTION", "SAVEPOINT", "ALTER_TABLE", "REINDEX",
        "CREATE_TABLE", "CREATE_VIEW", "CREATE_INDEX", "CREATE_TRIGGER", "DROP_TABLE", "DROP_VIEW", "DROP_INDEX",
        "DROP_TRIGGER", "CREATE_TEMP_TABLE", "CREATE_TEMP_VIEW", "CREATE_TEMP_INDEX", "CREATE_TEMP_TRIGGER",
        "DROP_TEMP_TABLE", "DROP_TEMP_VIEW", "DROP_TEMP_INDEX", "DROP_TEMP_TRIGGER",
    )
}  # fmt: skip
_FORBIDDEN_FUNCTIONS = {"load_extension", "readfile", "writefile", "edit", "fts3_tokenizer", "random", "randomblob"}
_MAX_COLUMNS = 40
SYNTAX = "syntax error"
_OF_COLUMNS = ("no such column", "ambiguous column")
_MESSAGES: tuple[tuple[str, str], ...] = (
    (SYNTAX, r"syntax error|incomplete input|unrecognized token"),
    ("no such table", r"^no such table: (.+)"),
    ("no such column", r"^no such column: (.+)"),
    ("no such function", r"^no such function: (.+)"),
    ("ambiguous column", r"^ambiguous column name: (.+)"),
    (
        "misuse of an aggregate",
        r"^misuse of (?:aliased )?(?:aggregate|window)(?: function)?:? (\w+)",
    ),
    ("wrong number of arguments", r"^wrong number of arguments to function (\w+)"),
    ("constraint", r"constraint failed|datatype mismatch"),
    ("too large", r"too big|out of memory|too many|too large|stack overflow|database or disk is full|limit"),
    ("too many steps", r"interrupted"),
    ("not authorized", r"not authorized|may not be modified|prohibited|authorization denied|cannot open"),
)
REASONS = frozenset([*(reason for reason, _ in _MESSAGES), "SQL error"])


class _Steps:
    """Stops SQLite after so many steps of its virtual machine, all statements together."""

    def __init__(self) -> None:
        self._left = MAX_STEPS // _STEPS_A_LOOK

    def __call__(self) -> int:
        self._left -= 1
        return int(self._left < 0)


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Run `request["statements"]` on a fresh database made by `request["setup"]`.

    Answers `{"v": [n_columns, rows]}` of the last statement or of the table named by `request["table"]`,
    `{"many": True}` for more than MAX_ROWS rows, or `{"bad": [reason, statement_no, token_no, name]}`.
    """
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        connection.text_factory = lambda text: text.decode("utf-8", "replace")
        connection.executescript(
            f"PRAGMA temp_store = MEMORY; PRAGMA hard_heap_limit = {_MEMORY_MIB << 20}; {request['setup']}"
        )
        _restrict(connection, may_write=request["table"] is not None)
        return _run(connection, request)
    except MemoryError:
        return {"bad": ["too large", None, None, None]}
    finally:
        connection.close()


def _restrict(connection: sqlite3.Connection, *, may_write: bool) -> None:
    for limit, value in _LIMITS.items():
        connection.setlimit(limit, value)
    connection.set_authorizer(_authorizer(_READING | _WRITING if may_write else _READING))
    connection.set_progress_handler(_Steps(), _STEPS_A_LOOK)


def _authorizer(allowed: set[int]) -> Callable[..., int]:
    def authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
        is_forbidden = action == sqlite3.SQLITE_FUNCTION and str(second).lower() in _FORBIDDEN_FUNCTIONS
        return sqlite3.SQLITE_OK if action in allowed and not is_forbidden else sqlite3.SQLITE_DENY

    return authorize


def _run(connection: sqlite3.Connection, request: dict[str, Any]) -> dict[str, Any]:
    statement_no = None
    try:
        for statement_no, statement in enumerate(request["statements"]):
            cursor = connection.execute(statement)
            is_last = statement_no == len(request["statements"]) - 1
            if not is_last or request["table"] is not None:
                cursor.fetchmany(MAX_ROWS)
        if request["table"] is not None:
            statement_no = None
            cursor = connection.execute(f'SELECT * FROM "{request["table"]}"')
        return _rows(cursor)
    except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
        reason, name = _read(str(error))
        token_no = None
        if statement_no is not None:
            script = connection, request["statements"][statement_no], request["spans"][statement_no]
            if reason == SYNTAX:
                token_no = _first_bad_token(*script)
            elif reason in _OF_COLUMNS and name is not None:
                token_no = _first_bad_column(*script, name)
        return {"bad": [reason, statement_no, token_no, name]}


def _rows(cursor: sqlite3.Cursor) -> dict[str, Any]:
    rows: list[list[Any]] = []
    n_characters = 0
    for row in cursor:
        n_characters += sum(len(value) for value in row if isinstance(value, str | bytes)) + 24 * len(row)
        if len(rows) == MAX_ROWS or n_characters > _MAX_CHARACTERS:
            return {"many": True}
        rows.append(list(row))
    return {"v": wire.encode([len(cursor.description or ()), rows], _refuse)}


def _refuse(value: Any) -> Any:
    raise ValueError(f"a {type(value).__name__} in a row")


def _read(message: str) -> tuple[str, str | None]:
    """The kind of SQLite's message, and the name it is about."""
    for reason, pattern in _MESSAGES:
        found = re.search(pattern, message)
        if found:
            return reason, found[1][:200] if found.re.groups else None
    return "SQL error", None


def _complaint(connection: sqlite3.Connection, statement: str) -> str:
    """What SQLite says of a statement without executing it; empty when it finds nothing wrong."""
    try:
        connection.execute(f"EXPLAIN {statement}")
    except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
        return str(error)
    return ""


def _first_bad_token(connection: sqlite3.Connection, statement: str, spans: list[list[int]]) -> int:
    """The token at which a statement stops being SQL: up to the one before, more could follow.

    The number of tokens where the statement only breaks off. The parser reads from left to right and stops at the
    first token that cannot follow, so the search may be by halves.
    """
    good, bad = 0, len(spans) + 1
    while bad - good > 1:
        middle = (good + bad) // 2
        complaint = _complaint(connection, statement[: spans[middle - 1][1]])
        good, bad = (good, middle) if re.search(r"syntax error|unrecognized token", complaint) else (middle, bad)
    return good


def _first_bad_column(connection: sqlite3.Connection, statement: str, spans: list[list[int]], name: str) -> int | None:
    """The first token of this column name that SQLite means: it complains of it with every other one taken away."""
    words = [statement[start:end].strip('"`[]').upper() for start, end in spans]
    parts = name.upper().split(".")
    found: list[tuple[int, int, int]] = []  # token, and the characters of it with its qualifier
    for at, word in enumerate(words):
        first = at - 2 if len(parts) > 1 else at
        is_meant = word == parts[-1] and first >= 0 and (len(parts) == 1 or words[first:at] == [parts[-2], "."])
        if is_meant and (first == 0 or words[first - 1] not in ("AS", ".")):
            found.append((at, spans[first][0], spans[at][1]))
    for at, _, _ in found[:_MAX_COLUMNS]:
        alone = statement
        for other, start, end in reversed(found):
            alone = alone if other == at else f"{alone[:start]}NULL{alone[end:]}"
        if _read(_complaint(connection, alone))[1] == name:
            return at
    return None
