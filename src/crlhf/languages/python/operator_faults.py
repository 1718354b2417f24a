"""Faults in operators, comparisons, conditions and bounds: each function maps one node to the edits that spoil it."""

from __future__ import annotations

import ast

from crlhf.languages.python.source import Edit, Source

_ARITHMETIC: dict[type[ast.operator], tuple[str, tuple[str, ...]]] = {
    ast.Add: ("+", ("-",)),
    ast.Sub: ("-", ("+",)),
    ast.Mult: ("*", ("+", "//")),
    ast.Div: ("/", ("//", "*")),
    ast.FloorDiv: ("//", ("/", "%")),
    ast.Mod: ("%", ("//", "/")),
    ast.Pow: ("**", ("*",)),
    ast.BitAnd: ("&", ("|",)),
    ast.BitOr: ("|", ("&",)),
    ast.BitXor: ("^", ("|",)),
    ast.LShift: ("<<", (">>",)),
    ast.RShift: (">>", ("<<",)),
}
_COMPARISON: dict[type[ast.cmpop], tuple[str, tuple[tuple[str, str], ...]]] = {
    ast.Lt: ("<", (("<=", "boundary_comparison"), (">", "comparison_operator"))),
    ast.LtE: ("<=", (("<", "boundary_comparison"), (">=", "comparison_operator"))),
    ast.Gt: (">", ((">=", "boundary_comparison"), ("<", "comparison_operator"))),
    ast.GtE: (">=", ((">", "boundary_comparison"), ("<=", "comparison_operator"))),
    ast.Eq: ("==", (("!=", "comparison_operator"), (">=", "comparison_operator"))),
    ast.NotEq: ("!=", (("==", "comparison_operator"), (">", "comparison_operator"))),
    ast.In: ("in", (("not in", "membership"),)),
    ast.NotIn: ("not", (("", "membership"),)),
    ast.Is: ("is", (("is not", "comparison_operator"),)),
    ast.IsNot: ("not", (("", "comparison_operator"),)),
}
_TIGHT = (ast.Name, ast.Constant, ast.Call, ast.Attribute, ast.Subscript, ast.List, ast.Tuple, ast.Dict, ast.Set)
_SUMS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow)


def operator_edits(source: Source, node: ast.AST) -> list[Edit]:
    """Faults of the kinds of this module that `node` can carry."""
    edits: list[Edit] = []
    if isinstance(node, ast.BinOp):
        edits = _binary(source, node)
    elif isinstance(node, ast.AugAssign):
        edits = _augmented(source, node)
    elif isinstance(node, ast.Compare):
        edits = _comparison(source, node)
    elif isinstance(node, ast.BoolOp):
        edits = _boolean(source, node)
    elif isinstance(node, ast.UnaryOp):
        edits = _unary(source, node)
    elif isinstance(node, ast.If | ast.While | ast.IfExp):
        edits = _condition(source, node.test)
    elif isinstance(node, ast.comprehension):
        edits = _filters(source, node)
    elif isinstance(node, ast.Subscript):
        edits = _subscript(source, node)
    elif isinstance(node, ast.Call):
        edits = _range(source, node)
    return edits


def _augmented(source: Source, node: ast.AugAssign) -> list[Edit]:
    """Another operator in an assignment such as `x += y`."""
    word, others = _ARITHMETIC.get(type(node.op), ("", ()))
    edits: list[Edit] = []
    for other in others:
        edits += source.replace_between(node.target, node.value, f"{word}=", f"{other}=", "arithmetic_operator")
    return edits


def _binary(source: Source, node: ast.BinOp) -> list[Edit]:
    """Another operator; for operators that do not commute also the operands the other way round."""
    if type(node.op) not in _ARITHMETIC:
        return []
    word, others = _ARITHMETIC[type(node.op)]
    edits: list[Edit] = []
    for other in others:
        edits += source.replace_between(node.left, node.right, word, other, "arithmetic_operator")
    left, right = source.text(node.left), source.text(node.right)
    simple = isinstance(node.left, _TIGHT) and isinstance(node.right, _TIGHT)
    if simple and left and right and not _commutes(node):
        edits += source.replace(node, f"{right} {word} {left}", "swapped_operands")
    return edits


def _commutes(node: ast.BinOp) -> bool:
    """True for the operators on numbers that do not mind their operands' order."""
    if isinstance(node.op, ast.Add):
        sides = (node.left, node.right)
        return not any(isinstance(side, ast.Constant) and isinstance(side.value, str) for side in sides)
    return isinstance(node.op, ast.Mult | ast.BitAnd | ast.BitOr | ast.BitXor)


def _comparison(source: Source, node: ast.Compare) -> list[Edit]:
    """Another comparison for each of the operators of a chain."""
    edits: list[Edit] = []
    lefts = [node.left, *node.comparators[:-1]]
    for left, operator, right in zip(lefts, node.ops, node.comparators, strict=True):
        word, others = _COMPARISON[type(operator)]
        for other, kind in others:
            edits += source.replace_between(left, right, word, other, kind)
    return [_without_double_space(source, edit) for edit in edits]


def _without_double_space(source: Source, edit: Edit) -> Edit:
    """A word that is taken out takes one of its two spaces along."""
    line = source.lines[edit.line_no - 1]
    if not edit.text and line[edit.end : edit.end + 1] == " ":
        return edit._replace(end=edit.end + 1)
    return edit


def _boolean(source: Source, node: ast.BoolOp) -> list[Edit]:
    """`and` for `or`, and a condition that is forgotten."""
    word, other = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
    edits = source.replace_between(node.values[0], node.values[1], word, other, "boolean_operator")
    if len(node.values) == 2:
        for value in node.values:
            edits += source.replace(node, source.text(value), "dropped_condition")
    return edits


def _unary(source: Source, node: ast.UnaryOp) -> list[Edit]:
    """A `not` or a minus that is forgotten."""
    kind = {ast.Not: "dropped_not", ast.USub: "dropped_minus"}.get(type(node.op))
    return [] if kind is None else source.replace(node, source.text(node.operand), kind)


def _condition(source: Source, test: ast.expr) -> list[Edit]:
    """A condition the wrong way round."""
    text = source.text(test)
    if text is None or isinstance(test, ast.UnaryOp | ast.Compare | ast.NamedExpr):
        return []  # dropped_not and the comparison operators turn these round in a way that reads better
    return source.replace(test, f"not {text}" if isinstance(test, _TIGHT) else f"not ({text})", "added_not")


def _filters(source: Source, node: ast.comprehension) -> list[Edit]:
    """A comprehension that forgets its filter."""
    edits: list[Edit] = []
    for test in node.ifs:
        span = source.span(test)
        if span is None:
            continue
        line_no, start, end = span
        head = source.lines[line_no - 1][:start].rstrip(" (")
        tail = source.lines[line_no - 1][end:]
        if head.endswith(" if") and not tail.startswith(")" * (head.count("(") + 1)):
            edits.append(Edit(line_no, len(head) - len(" if"), end, "", "dropped_condition"))
    return edits


def _range(source: Source, node: ast.Call) -> list[Edit]:
    """A range that begins or ends one off, or an enumeration that begins at 1."""
    if not (isinstance(node.func, ast.Name) and node.func.id in ("range", "enumerate")):
        return []
    text = source.text(node)
    if text is None or any(isinstance(argument, ast.Starred) for argument in node.args) or node.keywords:
        return []
    if node.func.id == "enumerate":
        return source.replace(node, f"{text[:-1]}, 1)", "range_bound") if len(node.args) == 1 else []
    edits: list[Edit] = []
    stops = node.args[:1] if len(node.args) == 1 else node.args[:2]
    for bound in stops:
        for step in (-1, 1):
            edits += source.replace(bound, shifted(source, bound, step), "range_bound")
    if len(node.args) == 1:
        edits += source.replace(node.args[0], f"1, {source.text(node.args[0])}", "range_bound")
    return edits


def _subscript(source: Source, node: ast.Subscript) -> list[Edit]:
    """An index or the end of a slice one off; a slice that runs the wrong way."""
    if not isinstance(node.ctx, ast.Load):
        return []
    edits: list[Edit] = []
    if isinstance(node.slice, ast.Slice):
        for bound in (node.slice.lower, node.slice.upper):
            if bound is not None:
                for step in (-1, 1):
                    edits += source.replace(bound, shifted(source, bound, step), "slice_bound")
        if isinstance(node.slice.step, ast.UnaryOp):
            edits += source.replace(node.slice.step, source.text(node.slice.step.operand), "slice_bound")
        return edits
    if _is_number_like(node.slice):
        for step in (-1, 1):
            edits += source.replace(node.slice, shifted(source, node.slice, step), "index_shift")
    return edits


def _is_number_like(node: ast.expr) -> bool:
    """An index that is not plainly a key: a whole number, its negative, a name, or a sum."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        node = node.operand
    if isinstance(node, ast.Constant):
        return type(node.value) is int
    return isinstance(node, ast.Name) or (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub))


def shifted(source: Source, node: ast.expr, step: int) -> str | None:
    """The text of `node` plus `step` (1 or -1), as a person would write it: `n + 1` less one is `n`."""
    text = source.text(node)
    if text is None:
        return None
    value = whole_number(node)
    if value is not None:
        return str(value + step)
    if isinstance(node, ast.BinOp) and whole_number(node.right) == 1:
        undoes = ast.Add if step < 0 else ast.Sub
        if isinstance(node.op, undoes):
            return source.text(node.left)
    if not isinstance(node, _TIGHT) and not (isinstance(node, ast.BinOp) and isinstance(node.op, _SUMS)):
        text = f"({text})"
    return f"{text} {'+' if step > 0 else '-'} 1"


def whole_number(node: ast.expr) -> int | None:
    """The value of a whole-number literal, with its minus, else None."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = whole_number(node.operand)
        return None if inner is None else -inner
    return node.value if isinstance(node, ast.Constant) and type(node.value) is int else None
