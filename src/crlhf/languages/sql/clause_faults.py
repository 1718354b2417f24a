"""Faults of clauses: joins, set operations, aggregates, DISTINCT, order, windows, conflicts."""

from __future__ import annotations

from collections.abc import Iterator

from crlhf.languages.sql.edits import Edit, Script

_AGGREGATES = {"SUM": ("AVG", "MAX"), "AVG": ("SUM", "MIN"), "MIN": ("MAX",), "MAX": ("MIN",), "TOTAL": ("AVG",)}
_WINDOW_FUNCTIONS = {
    "ROW_NUMBER": "RANK",
    "RANK": "DENSE_RANK",
    "DENSE_RANK": "RANK",
    "LAG": "LEAD",
    "LEAD": "LAG",
    "FIRST_VALUE": "LAST_VALUE",
    "LAST_VALUE": "FIRST_VALUE",
}
_ENDS_ORDER = (")", ";", "LIMIT", "ROWS", "RANGE", "GROUPS", "NULLS", "UNION", "EXCEPT", "INTERSECT")


def clause_edits(script: Script, at: int) -> Iterator[Edit]:
    """Faults of the kinds of this module that the token at `at` can carry."""
    token = script.tokens[at]
    if token.kind != "word":
        return
    yield from _join(script, at)
    yield from _set_operation(script, at)
    yield from _distinct(script, at)
    yield from _order(script, at)
    yield from _window(script, at)
    if script.is_at(at + 1, "("):
        for other in _AGGREGATES.get(token.word, ()):
            yield script.replace(at, other, "wrong_aggregate")
        if token.word == "COUNT" and script.depth_end(at + 1) == at + 3 and not script.is_at(at + 2, "*"):
            yield script.replace(at + 2, "*", "wrong_aggregate")
        if token.word in _WINDOW_FUNCTIONS:
            yield script.replace(at, _WINDOW_FUNCTIONS[token.word], "window_function")
    if script.is_at(at, "OR", "REPLACE"):
        yield script.replace(at + 1, "IGNORE", "conflict_action")
    elif script.is_at(at, "OR", "IGNORE"):
        yield script.replace(at + 1, "REPLACE", "conflict_action")


def _join(script: Script, at: int) -> Iterator[Edit]:
    """Rows without a partner that go or come."""
    if script.is_at(at, "LEFT", "JOIN"):
        yield script.drop(at, "join_type")
    elif script.is_at(at, "LEFT", "OUTER", "JOIN"):
        yield script.drop(at, "join_type", 2)
    elif script.is_at(at, "INNER", "JOIN"):
        yield script.replace(at, "LEFT", "join_type")
    elif script.is_at(at, "JOIN") and not (
        script.tokens[at - 1].is_one_of("INNER", "CROSS", "OUTER", "LEFT", "RIGHT", "FULL", "NATURAL")
    ):
        yield script.insert_before(at, "LEFT", "join_type")


def _set_operation(script: Script, at: int) -> Iterator[Edit]:
    if script.is_at(at, "UNION", "ALL"):
        yield script.replace(at, "UNION", "set_operation", 2)
    elif script.is_at(at, "UNION"):
        yield script.replace(at, "UNION ALL", "set_operation")
        yield script.replace(at, "INTERSECT", "set_operation")
    elif script.is_at(at, "INTERSECT"):
        yield script.replace(at, "EXCEPT", "set_operation")
    elif script.is_at(at, "EXCEPT"):
        yield script.replace(at, "INTERSECT", "set_operation")


def _distinct(script: Script, at: int) -> Iterator[Edit]:
    if script.is_at(at, "DISTINCT"):
        yield script.drop(at, "dropped_distinct")
    elif script.is_at(at, "SELECT") and not script.is_at(at + 1, "DISTINCT"):
        yield script.insert_after(at, "DISTINCT", "added_distinct")


def _order(script: Script, at: int) -> Iterator[Edit]:
    """A sort the other way round."""
    if script.is_at(at, "DESC"):
        yield script.replace(at, "ASC", "sort_order")
    elif script.is_at(at, "ASC"):
        yield script.replace(at, "DESC", "sort_order")
    elif script.is_at(at, "ORDER", "BY"):
        for last in _last_of_terms(script, at + 2):
            if not script.tokens[last].is_one_of("DESC", "ASC"):
                yield script.insert_after(last, "DESC", "sort_order")


def _last_of_terms(script: Script, at: int) -> Iterator[int]:
    """Index of the last token of each term of an ORDER BY whose first term begins at `at`."""
    depth = 0
    for i in range(at, len(script.tokens)):
        token = script.tokens[i]
        if depth == 0 and token.is_one_of(",", *_ENDS_ORDER):
            yield i - 1
            if token.text != ",":
                return
        depth += (token.text == "(") - (token.text == ")")
    yield len(script.tokens) - 1


def _window(script: Script, at: int) -> Iterator[Edit]:
    """A window over other rows."""
    if script.is_at(at, "PARTITION", "BY"):
        for i in range(at + 2, len(script.tokens)):
            if script.tokens[i].is_one_of("ORDER", "ROWS", "RANGE", ")"):
                yield script.drop(at, "dropped_partition", i - at)
                return
    if script.is_at(at, "PRECEDING") and script.tokens[at - 1].kind == "number":
        yield script.replace(at, "FOLLOWING", "window_frame")
    elif script.is_at(at, "UNBOUNDED", "PRECEDING"):
        yield script.replace(at, "1", "window_frame")
    elif script.is_at(at, "ROWS"):
        yield script.replace(at, "RANGE", "window_frame")
