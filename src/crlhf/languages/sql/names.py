"""Names in SQL: what a script makes, which names are its own choice, and the same script under others."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from crlhf.languages.sql.lines import TYPES, plain
from crlhf.languages.sql.tokens import Token, statements, tokens_of

if TYPE_CHECKING:
    import numpy as np

RESULT = "result"
"""The entry point of a script whose last statement is a query: the rows of that query."""

_QUERIES = ("SELECT", "VALUES")
_CHANGES = ("INSERT", "REPLACE", "UPDATE", "DELETE", "CREATE", "ALTER")
_BEFORE_TABLE = ("FROM", "JOIN", "INTO", "UPDATE", "TABLE")
_SKIPPED = (
    "INTO", "FROM", "OR", "IGNORE", "REPLACE", "ABORT", "FAIL", "ROLLBACK", "TEMP", "TEMPORARY", "TABLE", "VIEW", "IF",
    "NOT", "EXISTS",
)  # fmt: skip
_USUAL_NAMES = (
    "a b c d e f g h i j k m n p q r s t u v w x y z base chosen counted entries filtered grouped listed matched "
    "numbered parts picked ranked selected summed totals amount_value entry_count item_value part_no row_no total_value"
)


def find_entry_point(code: str, tests: Iterable[str] = ()) -> str:
    """What the checks of a script look at: `result` for a query, else the table or view its last statement makes.

    Raises:
        ValueError: there is no statement, or it neither answers nor changes a table or a view.
    """
    found = statements(tokens_of(code), code)
    if not found:
        raise ValueError("there is no statement")
    depth = 0
    for at, token in enumerate(found[-1]):
        depth += (token.text == "(") - (token.text == ")")
        if depth == 0 and token.is_one_of(*_QUERIES):
            return RESULT
        if depth == 0 and token.is_one_of(*_CHANGES):
            return _changed_table(found[-1][at:])
    raise ValueError("the last statement is no query and changes no table or view")


def _changed_table(statement: Sequence[Token]) -> str:
    if statement[0].word == "CREATE" and not any(token.is_one_of("TABLE", "VIEW") for token in statement[:3]):
        raise ValueError("the last statement makes no table or view")
    for token in statement[1:]:
        if not token.is_one_of(*_SKIPPED):
            return token.word.lower()
    raise ValueError("the last statement names no table or view")


def free_names(code: str, entry_point: str) -> set[str]:
    """Names that `code` could as well call otherwise, in small letters: aliases, and names of WITH and WINDOW.

    Not the entry point, and no name that also stands where a table is read.
    """
    tokens = tokens_of(code)
    defined: set[str] = set()
    for at, token in enumerate(tokens):
        before, after = tokens[at - 1] if at else None, tokens[at + 1 : at + 3]
        if not token.is_name or token.word in TYPES:
            continue
        is_alias = before is not None and (before.is_one_of("AS") or _is_bare_alias(tokens, at))
        is_with = [part.word for part in after] == ["AS", "("]
        if is_alias or is_with or _has_columns_of_with(tokens, at):
            defined.add(plain(token))
    return defined - (tables(tokens) - _with_names(tokens)) - {entry_point.lower()}


def tables(tokens: Sequence[Token]) -> set[str]:
    """Names that stand where a table is read or written, in small letters."""
    pairs = itertools.pairwise(tokens)
    return {plain(token) for before, token in pairs if before.is_one_of(*_BEFORE_TABLE) and token.is_name}


def _with_names(tokens: Sequence[Token]) -> set[str]:
    """Names given by WITH."""
    return {
        plain(token)
        for at, token in enumerate(tokens)
        if token.is_name
        and ([part.word for part in tokens[at + 1 : at + 3]] == ["AS", "("] or _has_columns_of_with(tokens, at))
    }


def _has_columns_of_with(tokens: Sequence[Token], at: int) -> bool:
    """True for the name `n` in `WITH n(a, b) AS (`."""
    before = tokens[at - 1] if at else None
    if before is None or not before.is_one_of("WITH", "RECURSIVE", ",") or tokens[at + 1 : at + 2] == []:
        return False
    if tokens[at + 1].text != "(":
        return False
    for i in range(at + 2, len(tokens) - 2):
        if tokens[i].text == ")":
            return tokens[i + 1].is_one_of("AS") and tokens[i + 2].is_one_of("(", "MATERIALIZED", "NOT")
        if not (tokens[i].is_name or tokens[i].text == ","):
            return False
    return False


def _is_bare_alias(tokens: Sequence[Token], at: int) -> bool:
    """True for `o` in `FROM orders o`, in `JOIN orders o` and in `) o`."""
    if at < 1 or (tokens[at + 1 : at + 2] and tokens[at + 1].text in (".", "(")):
        return False
    if tokens[at - 1].text == ")":
        return True
    return at >= 2 and tokens[at - 1].is_name and tokens[at - 2].is_one_of("FROM", "JOIN")


def renamed(code: str, rng: np.random.Generator) -> str | None:
    """`code` with its aliases and the names of WITH under other usual names; None when it has none.

    Whether the script still passes is for the caller to run: a name may also be a column's.
    """
    tokens = tokens_of(code)
    names = free_names(code, RESULT)
    taken = {plain(token) for token in tokens}
    free = [name for name in _USUAL_NAMES.split() if name not in taken]
    fresh = [free[i] for i in rng.permutation(len(free))]
    in_order = dict.fromkeys(plain(token) for token in tokens if token.is_name and plain(token) in names)
    mapping = dict(zip(in_order, fresh, strict=False))
    if not mapping:
        return None
    changed = code
    for token in reversed(tokens):
        if token.is_name and plain(token) in mapping:
            changed = changed[: token.start] + mapping[plain(token)] + changed[token.end :]
    return changed


def shape_tokens(code: str) -> list[str]:
    """The tokens in plain spelling with the script's own names as `V`; commas, brackets and semicolons left out."""
    names = free_names(code, RESULT)
    words = [plain(token) for token in tokens_of(code) if token.text not in ("(", ")", ",", ";", ".")]
    return ["V" if word in names else word for word in words]
