"""Faults in statements: returns, accumulation, loop control, branches and indentation."""

from __future__ import annotations

import ast
import itertools

from crlhf.languages.python.operator_faults import whole_number
from crlhf.languages.python.source import Edit, Source

_BLOCKS = (ast.For, ast.While, ast.If, ast.With)
_SIMPLE = (ast.Return, ast.Assign, ast.AugAssign, ast.Expr, ast.Break, ast.Continue)


def statement_edits(source: Source, node: ast.AST) -> list[Edit]:
    """Faults of the kinds of this module that `node` can carry."""
    edits: list[Edit] = []
    if isinstance(node, ast.Return):
        edits += _return(source, node)
    elif isinstance(node, ast.AugAssign | ast.Assign | ast.Expr):
        edits += _accumulation(source, node)
    elif isinstance(node, ast.Break):
        edits += source.replace(node, "continue", "loop_control")
    elif isinstance(node, ast.Continue):
        edits += source.replace(node, "break", "loop_control")
    elif isinstance(node, ast.If):
        edits += _branch(source, node)
    for field in ("body", "orelse", "finalbody"):
        block = getattr(node, field, None)
        if isinstance(block, list):
            edits += _indentation(source, block, can_dedent=isinstance(node, _BLOCKS) and field == "body")
    return edits


def _return(source: Source, node: ast.Return) -> list[Edit]:
    """A result that is not handed back, or the wrong one."""
    if node.value is None:
        return []
    text = source.text(node.value)
    edits = source.replace(node, text, "missing_return")
    if isinstance(node.value, ast.Constant) and isinstance(node.value.value, bool):
        edits += source.replace(node.value, str(not node.value.value), "wrong_return")
    elif whole_number(node.value) is not None:
        edits += source.replace(node.value, "0" if whole_number(node.value) else "1", "wrong_return")
    elif isinstance(node.value, ast.Constant) and node.value.value is None:
        edits += source.replace(node.value, "0", "wrong_return")
    elif isinstance(node.value, ast.Compare | ast.BoolOp) and text is not None:
        edits += source.replace(node.value, f"not ({text})", "wrong_return")
    elif isinstance(node.value, ast.List | ast.Dict) and text in ("[]", "{}"):
        edits += source.replace(node.value, "None", "wrong_return")
    elif isinstance(node.value, ast.Tuple) and len(node.value.elts) == 2:
        parts = [source.text(element) for element in node.value.elts]
        whole = f"{parts[1]}, {parts[0]}"
        if text is not None:
            edits += source.replace(node.value, f"({whole})" if text.startswith("(") else whole, "wrong_return")
    return edits


def _accumulation(source: Source, node: ast.AugAssign | ast.Assign | ast.Expr) -> list[Edit]:
    """A sum or a list that starts anew in each step instead of growing."""
    if isinstance(node, ast.AugAssign):
        target, value = source.text(node.target), source.text(node.value)
        if target is None or value is None:
            return []
        return source.replace(node, f"{target} = {value}", "missing_accumulation")
    if isinstance(node, ast.Assign):
        return _accumulating_assignment(source, node)
    call = node.value
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "append"):
        return []
    target, value = source.text(call.func.value), source.text(call.args[0]) if len(call.args) == 1 else None
    if target is None or value is None:
        return []
    return source.replace(node, f"{target} = [{value}]", "missing_accumulation")


def _accumulating_assignment(source: Source, node: ast.Assign) -> list[Edit]:
    """`x = x + y` becomes `x = y`."""
    target = source.text(node.targets[0])
    if not isinstance(node.value, ast.BinOp) or target is None:
        return []
    sides = [source.text(node.value.left), source.text(node.value.right)]
    if target not in sides:
        return []
    return source.replace(node.value, sides[1 - sides.index(target)], "missing_accumulation")


def _branch(source: Source, node: ast.If) -> list[Edit]:
    """`elif` that became `if`: the branches no longer exclude each other."""
    line_no, start = source.position(node)
    if source.lines[line_no - 1].startswith("elif", start):
        return [Edit(line_no, start, start + len("elif"), "if", "wrong_branch")]
    return []


def _indentation(source: Source, block: list[ast.stmt], can_dedent: bool) -> list[Edit]:
    """A simple statement after a block that slips into it, and the last of a block that slips out."""
    edits: list[Edit] = []
    for before, node in itertools.pairwise(block):
        if isinstance(before, _BLOCKS) and _stands_alone(source, node):
            inner = before.orelse if isinstance(before, ast.If | ast.For | ast.While) and before.orelse else before.body
            if inner[-1].lineno > before.lineno:
                edits += _reindented(source, node, _indent(source, inner[-1]))
    if can_dedent and len(block) > 1 and isinstance(block[-1], _SIMPLE) and _stands_alone(source, block[-1]):
        outer = _outer_indent(source, block[0])
        if outer is not None and not isinstance(block[-1], ast.Break | ast.Continue):
            edits += _reindented(source, block[-1], outer)
    return edits


def _outer_indent(source: Source, first: ast.stmt) -> str | None:
    """Indentation of the header of the block that begins with `first`: the nearest line above that is shallower."""
    own = _indent(source, first)
    for line in reversed(source.lines[: first.lineno - 1]):
        blank = line[: len(line) - len(line.lstrip())]
        if line.strip() and len(blank) < len(own):
            return blank
    return None


def _indent(source: Source, node: ast.stmt) -> str:
    """The blanks before `node` on its line."""
    line = source.lines[node.lineno - 1]
    return line[: len(line) - len(line.lstrip())]


def _stands_alone(source: Source, node: ast.stmt) -> bool:
    """True for a simple statement that has one line to itself."""
    text = source.text(node)
    return isinstance(node, _SIMPLE) and text is not None and source.lines[node.lineno - 1].strip() == text


def _reindented(source: Source, node: ast.stmt, indent: str) -> list[Edit]:
    """`node` behind other blanks."""
    old = _indent(source, node)
    return [] if old == indent else [Edit(node.lineno, 0, len(old), indent, "indentation")]
