"""Faults in names, constants and calls: each function maps one node to the edits that spoil it."""

from __future__ import annotations

import ast
import itertools

from crlhf.languages.python.operator_faults import whole_number
from crlhf.languages.python.source import Edit, Function, Source, bound_names

_FUNCTIONS: dict[str, tuple[str, ...]] = {
    "min": ("max",),
    "max": ("min",),
    "any": ("all",),
    "all": ("any",),
    "sum": ("len", "max"),
    "len": ("sum", "max"),
    "sorted": ("list", "set"),
    "list": ("set", "sorted"),
    "set": ("list",),
    "tuple": ("list",),
    "int": ("float", "round"),
    "float": ("int",),
    "round": ("int",),
    "str": ("repr",),
    "bin": ("hex",),
    "hex": ("bin",),
    "ord": ("int",),
    "zip": ("enumerate",),
    "filter": ("map",),
    "divmod": ("pow",),
    "ceil": ("floor",),
    "floor": ("ceil",),
    "deque": ("list",),
    "issubclass": ("isinstance",),
}
_METHODS: dict[str, tuple[str, ...]] = {
    "append": ("extend",),
    "extend": ("append",),
    "add": ("discard",),
    "discard": ("add",),
    "popleft": ("pop",),
    "appendleft": ("append",),
    "upper": ("lower",),
    "lower": ("upper",),
    "isupper": ("islower",),
    "islower": ("isupper",),
    "isdigit": ("isalpha", "isalnum"),
    "isalpha": ("isdigit", "isalnum"),
    "isalnum": ("isalpha", "isdigit"),
    "startswith": ("endswith",),
    "endswith": ("startswith",),
    "strip": ("lstrip", "rstrip"),
    "lstrip": ("rstrip",),
    "rstrip": ("lstrip",),
    "ljust": ("rjust",),
    "rjust": ("ljust",),
    "find": ("rfind",),
    "rfind": ("find",),
    "index": ("count",),
    "count": ("find",),
    "title": ("capitalize",),
    "capitalize": ("title",),
    "keys": ("values",),
    "values": ("keys",),
    "union": ("intersection",),
    "intersection": ("union",),
    "difference": ("symmetric_difference", "intersection"),
    "symmetric_difference": ("difference",),
    "issubset": ("issuperset",),
    "issuperset": ("issubset",),
    "splitlines": ("split",),
    "rsplit": ("split",),
    "partition": ("rpartition",),
    "rpartition": ("partition",),
    "ceil": ("floor",),
    "floor": ("ceil",),
    "heappush": ("heappop",),
    "insort": ("insort_left",),
    "bisect_left": ("bisect_right",),
    "bisect_right": ("bisect_left",),
    "combinations": ("permutations",),
    "permutations": ("combinations",),
    "match": ("search",),
    "search": ("match",),
    "findall": ("split",),
}
_WRAPPERS = {"abs", "int", "float", "str", "sorted", "set", "list", "tuple", "round", "reversed", "len"}
_FINISHERS = {"lower", "upper", "strip", "lstrip", "rstrip", "copy", "casefold", "title", "capitalize"}
_NEIGHBOURS = {",": ";", ";": ",", "-": "_", "_": "-", ".": ",", ":": ";", "/": "-", "(": "[", ")": "]", "+": "-"}


def name_edits(source: Source, node: ast.AST, function: Function | None) -> list[Edit]:
    """Faults of the kinds of this module that `node`, which lies in `function`, can carry."""
    if isinstance(node, ast.Name):
        return _variable(source, node, function)
    if isinstance(node, ast.Attribute):
        return _attribute(source, node)
    if isinstance(node, ast.Constant):
        return _constant(source, node)
    if isinstance(node, ast.Call):
        return _call(source, node)
    return []


def _variable(source: Source, node: ast.Name, function: Function | None) -> list[Edit]:
    """Another variable that is bound by then in the same function."""
    if function is None or not isinstance(node.ctx, ast.Load):
        return []
    names = bound_names(function)
    if node.id not in names:
        return []
    others = [name for name, line_no in names.items() if name not in (node.id, "_") and line_no <= node.lineno]
    return [edit for other in others for edit in source.replace(node, other, "wrong_variable")]


def _attribute(source: Source, node: ast.Attribute) -> list[Edit]:
    """Another attribute of `self`, among those that the program assigns."""
    if not (isinstance(node.value, ast.Name) and node.value.id == "self" and isinstance(node.ctx, ast.Load)):
        return []
    stored = {
        other.attr: None
        for other in ast.walk(source.tree)
        if isinstance(other, ast.Attribute) and isinstance(other.ctx, ast.Store) and isinstance(other.value, ast.Name)
    }
    if node.attr not in stored:
        return []
    return [
        edit for name in stored if name != node.attr for edit in source.replace(node, f"self.{name}", "wrong_variable")
    ]


def _constant(source: Source, node: ast.Constant) -> list[Edit]:
    """A number that is off, a truth value the other way round, a text that differs by a character."""
    value = node.value
    texts: list[str] = []
    if isinstance(value, bool):
        texts = [str(not value)]
    elif isinstance(value, int):
        texts = [str(value + 1)] + ([str(value - 1)] if value > 0 else []) + ([str(value * 10)] if value > 9 else [])
    elif isinstance(value, float) and abs(value) < 1e6:
        texts = [repr(value * 10), repr(value / 2)] if value else ["1.0"]
    elif isinstance(value, str):
        return _text_constant(source, node, value)
    return [edit for text in texts for edit in source.replace(node, text, "wrong_constant")]


def _text_constant(source: Source, node: ast.Constant, value: str) -> list[Edit]:
    """Another text between the same quotes; texts with escapes or prefixes are left alone."""
    text = source.text(node)
    if text is None or len(text) < 2 or text[0] not in "'\"" or text[1:-1] != value:
        return []
    others: dict[str, None] = {}
    if value == "":
        others[" "] = None
    elif len(value) == 1:
        others[_NEIGHBOURS.get(value, value.swapcase() if value.isalpha() else "")] = None
    else:
        others[value[:-1]] = None
        others[value.swapcase()] = None
    others.pop(value, None)
    return [edit for other in others for edit in source.replace(node, text[0] + other + text[0], "wrong_constant")]


def _call(source: Source, node: ast.Call) -> list[Edit]:
    """Another function or method, a call that is forgotten, arguments in the wrong order, the wrong sort order."""
    edits = _other_callee(source, node) + _dropped_call(source, node) + _sort_order(source, node)
    for first, second in itertools.pairwise(node.args):
        texts, ends = (source.text(first), source.text(second)), (source.span(first), source.span(second))
        if texts[0] is None or texts[1] is None or ends[0] is None or ends[1] is None or ends[0][0] != ends[1][0]:
            continue
        gap = source.lines[ends[0][0] - 1][ends[0][2] : ends[1][1]]
        edits.append(Edit(ends[0][0], ends[0][1], ends[1][2], texts[1] + gap + texts[0], "swapped_arguments"))
    return edits


def _other_callee(source: Source, node: ast.Call) -> list[Edit]:
    """A function or method that is easily confused with the one that is called."""
    if isinstance(node.func, ast.Name):
        others = _FUNCTIONS.get(node.func.id, ()) + _METHODS.get(node.func.id, ())
        edits = [edit for other in others for edit in source.replace(node.func, other, "wrong_call")]
        return edits
    if not isinstance(node.func, ast.Attribute):
        return []
    line_no, end = source.position(node.func, at_end=True)
    start = end - len(node.func.attr)
    edits = [Edit(line_no, start, end, other, "wrong_call") for other in _METHODS.get(node.func.attr, ())]
    if node.func.attr == "pop" and len(node.args) == 0:
        edits.append(Edit(line_no, end, end + 2, "(0)", "wrong_call"))
    if node.func.attr == "pop" and len(node.args) == 1 and whole_number(node.args[0]) == 0:
        edits += source.replace(node.args[0], "", "wrong_call")
    return edits


def _dropped_call(source: Source, node: ast.Call) -> list[Edit]:
    """A conversion that is forgotten: `abs(x)` or `x.lower()` becomes `x`."""
    if isinstance(node.func, ast.Name) and node.func.id in _WRAPPERS and len(node.args) == 1:
        argument = node.args[0]
        if isinstance(argument, ast.Starred | ast.GeneratorExp) or node.keywords:
            return []
        text = source.text(argument)
        atom = isinstance(argument, ast.Name | ast.Constant | ast.Call | ast.Subscript | ast.Attribute | ast.List)
        return source.replace(node, text if atom or text is None else f"({text})", "dropped_call")
    if isinstance(node.func, ast.Attribute) and node.func.attr in _FINISHERS and not node.args:
        return source.replace(node, source.text(node.func.value), "dropped_call")
    return []


def _sort_order(source: Source, node: ast.Call) -> list[Edit]:
    """Sorted the wrong way round, or without its key."""
    called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
    text = source.text(node)
    if called not in ("sorted", "sort") or text is None:
        return []
    edits: list[Edit] = []
    for keyword in node.keywords:
        if keyword.arg == "reverse" and isinstance(keyword.value, ast.Constant):
            edits += source.replace(keyword.value, str(not keyword.value.value), "sort_order")
        keyword_text = source.text(keyword)
        if keyword.arg == "key" and keyword_text is not None and f", {keyword_text}" in text:
            edits += source.replace(node, text.replace(f", {keyword_text}", "", 1), "sort_order")
    if not any(keyword.arg == "reverse" for keyword in node.keywords):
        comma = ", " if node.args or node.keywords else ""
        edits += source.replace(node, f"{text[:-1]}{comma}reverse=True)", "sort_order")
    return edits
