"""Faults of expressions: comparisons, logic, NULL, membership, arithmetic, constants, functions, CASE."""

from __future__ import annotations

from collections.abc import Iterator

from crlhf.languages.sql.edits import Edit, Script

_COMPARISONS = {"=": "<>", "==": "<>", "<>": "=", "!=": "=", "<": ">", ">": "<", "<=": ">=", ">=": "<="}
_BOUNDARIES = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}
_ARITHMETIC = {"+": "-", "-": "+", "*": "+", "/": "*", "%": "/"}
_FUNCTIONS = {
    "UPPER": "LOWER",
    "LOWER": "UPPER",
    "TRIM": "LTRIM",
    "LTRIM": "RTRIM",
    "RTRIM": "LTRIM",
    "LENGTH": "UPPER",
    "ROUND": "ABS",
    "ABS": "ROUND",
    "INSTR": "MAX",
}
_FORMATS = {"%Y": "%m", "%m": "%d", "%d": "%m", "%H": "%M"}
_NEGATABLE = ("IN", "EXISTS", "LIKE", "GLOB", "BETWEEN")
_ENDS_TERM = (
    "AND", "OR", "GROUP", "ORDER", "HAVING", "LIMIT", "WINDOW", "UNION", "EXCEPT", "INTERSECT", "THEN", "JOIN", "LEFT",
    "WHERE", ";",
)  # fmt: skip


def expression_edits(script: Script, at: int) -> Iterator[Edit]:
    """Faults of the kinds of this module that the token at `at` can carry."""
    token = script.tokens[at]
    if token.kind == "operator":
        yield from _operator(script, at)
    elif token.kind == "number":
        yield from _number(script, at)
    elif token.kind == "string":
        yield from _string(script, at)
    elif token.kind == "word":
        yield from _logic(script, at)
        yield from _negation(script, at)
        yield from _call(script, at)
        yield from _branches(script, at)


def _operator(script: Script, at: int) -> Iterator[Edit]:
    token = script.tokens[at]
    if token.text in _COMPARISONS and not _is_assignment(script, at):
        yield script.replace(at, _COMPARISONS[token.text], "comparison_operator")
    if token.text in _BOUNDARIES:
        yield script.replace(at, _BOUNDARIES[token.text], "boundary_comparison")
    if token.text in _ARITHMETIC and at and at + 1 < len(script.tokens):
        before, after = script.tokens[at - 1], script.tokens[at + 1]
        has_left = before.kind in ("number", "string") or before.is_name or before.text == ")" or before.word == "END"
        if has_left and (after.kind in ("number", "string") or after.is_name or after.text in ("(", "-")):
            yield script.replace(at, _ARITHMETIC[token.text], "arithmetic_operator")


def _is_assignment(script: Script, at: int) -> bool:
    """True for the `=` of `SET column = value`."""
    for before in reversed(script.tokens[:at]):
        if before.is_one_of("SET"):
            return True
        if before.is_one_of("WHERE", "ON", "HAVING", "WHEN", "CASE", "SELECT", "FROM", "CHECK"):
            return False
    return False


def _number(script: Script, at: int) -> Iterator[Edit]:
    text = script.tokens[at].text
    if text.isdigit():
        value = int(text)
        yield script.replace(at, str(value + 1), "wrong_constant")
        if value:
            yield script.replace(at, str(value - 1), "wrong_constant")
    elif text.replace(".", "", 1).isdigit():
        yield script.replace(at, str(round(float(text) * 2, 9)), "wrong_constant")


def _string(script: Script, at: int) -> Iterator[Edit]:
    """Another part of the date, or another text that the script holds."""
    text = script.tokens[at].text
    if "%" in text and script.tokens[at - 1].text == "(":
        for part, other in _FORMATS.items():
            if part in text:
                yield script.replace(at, text.replace(part, other), "wrong_constant")
        return
    if text.startswith("'%") and text.endswith("%'") and len(text) > 4:
        yield script.replace(at, f"'{text[2:]}", "wrong_constant")
    others = {token.text for token in script.tokens if token.kind == "string" and "%" not in token.text} - {text}
    for other in sorted(others)[:2]:
        yield script.replace(at, other, "wrong_constant")


def _logic(script: Script, at: int) -> Iterator[Edit]:
    token = script.tokens[at]
    if token.word == "OR" and not script.is_at(at + 1, "REPLACE") and not script.is_at(at + 1, "IGNORE"):
        yield script.replace(at, "AND", "boolean_operator")
    if token.word != "AND" or _is_between(script, at):
        return
    yield script.replace(at, "OR", "boolean_operator")
    depth = 0
    for i in range(at + 1, len(script.tokens) + 1):
        after = script.tokens[i] if i < len(script.tokens) else None
        if after is None or depth < 0 or (depth == 0 and (after.is_one_of(*_ENDS_TERM) or after.text == ")")):
            yield script.drop(at, "dropped_condition", i - at)
            return
        if after.is_one_of("BETWEEN", "CASE"):
            return
        depth += (after.text == "(") - (after.text == ")")


def _is_between(script: Script, at: int) -> bool:
    """True for the AND of `x BETWEEN a AND b`."""
    depth = 0
    for before in reversed(script.tokens[:at]):
        depth += (before.text == ")") - (before.text == "(")
        if depth < 0 or (depth == 0 and before.is_one_of("AND", "OR", "WHERE", "ON", "HAVING", "WHEN")):
            return False
        if depth == 0 and before.is_one_of("BETWEEN"):
            return True
    return False


def _negation(script: Script, at: int) -> Iterator[Edit]:
    if script.is_at(at, "IS", "NOT"):
        yield script.replace(at, "IS", "null_test", 2)
    elif script.is_at(at, "IS"):
        yield script.replace(at, "IS NOT", "null_test")
    elif script.is_at(at - 1, "IF"):
        return
    elif script.is_at(at, "NOT") and any(script.is_at(at + 1, word) for word in _NEGATABLE):
        yield script.drop(at, "membership")
    elif script.tokens[at].is_one_of(*_NEGATABLE) and not script.is_at(at - 1, "NOT"):
        yield script.insert_before(at, "NOT", "membership")


def _call(script: Script, at: int) -> Iterator[Edit]:
    token = script.tokens[at]
    if not script.is_at(at + 1, "("):
        return
    if token.word in _FUNCTIONS:
        yield script.replace(at, _FUNCTIONS[token.word], "wrong_function")
    if token.word in ("COALESCE", "IFNULL"):
        end, depth = script.depth_end(at + 1), 0
        for i in range(at + 2, end):
            depth += (script.tokens[i].text == "(") - (script.tokens[i].text == ")")
            if depth == 0 and script.tokens[i].text == ",":
                inner = script.code[script.tokens[at + 2].start : script.tokens[i - 1].end]
                yield script.replace(at, inner, "dropped_default", end - at + 1)
                return


def _branches(script: Script, at: int) -> Iterator[Edit]:
    """`THEN a ELSE b` with both values the other way round."""
    if not script.is_at(at, "THEN") or at + 3 >= len(script.tokens) or not script.is_at(at + 2, "ELSE"):
        return
    first, second = script.tokens[at + 1], script.tokens[at + 3]
    if first.kind != "word" or first.is_name:
        text = script.code[first.end : second.start]
        yield script.replace(at + 1, f"{second.text}{text}{first.text}", "swapped_branches", 3)
