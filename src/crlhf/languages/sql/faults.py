"""Single-fault injection in SQL: a script with one line spoilt in one of the ways in which people spoil queries.

Faults are made on tokens: a fault replaces, drops or inserts text within one line, so formatting, comments and the
number of lines stay, and the spoilt script still parses (SQLite's parser is asked; nothing is executed). Whether a
fault can be *noticed* is not decided here: one that gives the same rows on every check database is no fault, and
`honeypots` throws it away.

The kinds follow the SQL mutation operators of Tuya, Suarez-Cabal and de la Riva (doi:10.1016/j.infsof.2006.06.009):
clauses (join, set, aggregate, DISTINCT, order), operators (relational, logical, arithmetic, BETWEEN, LIKE), NULL, and
identifiers (columns, constants); and mistakes seen in generated SQL: ranks that treat ties in another way, a window
that is not partitioned, a default that is missing.

Departs from the paper: it tells of completions with known errors, not how they are made.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

from crlhf.languages.language import Fault
from crlhf.languages.sql.clause_faults import clause_edits
from crlhf.languages.sql.edits import Edit, Script
from crlhf.languages.sql.expression_faults import expression_edits
from crlhf.languages.sql.identifier_faults import identifier_edits
from crlhf.languages.sql.lines import judgeable_lines

FAULT_KINDS: tuple[str, ...] = (
    "added_distinct",
    "arithmetic_operator",
    "boolean_operator",
    "boundary_comparison",
    "comparison_operator",
    "conflict_action",
    "dropped_condition",
    "dropped_default",
    "dropped_distinct",
    "dropped_partition",
    "join_type",
    "membership",
    "null_test",
    "set_operation",
    "sort_order",
    "swapped_branches",
    "window_frame",
    "window_function",
    "wrong_aggregate",
    "wrong_column",
    "wrong_constant",
    "wrong_function",
    "wrong_qualifier",
)
_MAKERS: tuple[Callable[[Script, int], Iterator[Edit]], ...] = (clause_edits, expression_edits, identifier_edits)


def possible_faults(code: str) -> list[Fault]:
    """Every single fault that this module can make in `code`, in the order of the text, each code once.

    Each parses and differs from `code` in one judgeable line. A script that does not parse has none.
    """
    return list(_possible_faults(code))


@lru_cache(maxsize=1024)
def _possible_faults(code: str) -> tuple[Fault, ...]:
    """Kept, since honeypots and the measurement of label noise ask for the faults of the same scripts."""
    script = Script.of(code)
    if not parses(script.texts):
        return ()
    judgeable = judgeable_lines(code)
    faults: dict[str, Fault] = {}
    for at in range(len(script.tokens)):
        for edit in (edit for maker in _MAKERS for edit in maker(script, at)):
            changed = script.apply(edit)
            if changed is None or changed in faults or judgeable_lines(changed) != judgeable:
                continue
            if parses(Script.of(changed).texts):
                faults[changed] = Fault(changed, edit.line_no, edit.kind)
    return tuple(sorted(faults.values(), key=lambda fault: fault.line_no))


def parses(statements: Sequence[str]) -> bool:
    """Whether SQLite's grammar takes every statement. Nothing is executed: the authoriser refuses all of it."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.set_authorizer(lambda *_: sqlite3.SQLITE_DENY)
    try:
        return bool(statements) and all(_is_sql(connection, statement) for statement in statements)
    finally:
        connection.close()


def _is_sql(connection: sqlite3.Connection, statement: str) -> bool:
    try:
        connection.execute(f"EXPLAIN {statement}")
    except (sqlite3.Error, ValueError) as error:
        message = str(error)
        is_grammar = "syntax error" in message or "incomplete input" in message or "unrecognized token" in message
        return isinstance(error, sqlite3.Error) and not is_grammar
    return True
