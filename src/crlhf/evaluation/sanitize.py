"""What EvalPlus keeps of an answer: the longest run of lines that is Python, and of that what the entry point reaches.

After `evalplus.sanitize` of version 0.3.1, with Python's own parser in place of tree-sitter. Departs from it: a
decorated function or class is kept (EvalPlus drops it, and the program then fails).
"""

from __future__ import annotations

import ast

_Import = ast.Import | ast.ImportFrom
_Function = ast.FunctionDef | ast.AsyncFunctionDef
_MAX_LINES = 400  # of an answer that is searched; the search is quadratic


def sanitize(text: str, entry_point: str) -> str:
    """The program in `text`: its imports, then each definition that `entry_point` needs, in their order.

    Kept of the top level: imports; and classes, functions that return something and assignments to a name, each the
    first of its name and each reached from `entry_point` by name. Nothing else is kept: no call, no test, no
    `if __name__`. Where that leaves nothing, the longest run of lines that is Python; where there is none, the text.
    """
    code = longest_python(text)
    if not code:
        return text
    body = ast.parse(code).body
    named: dict[str, ast.stmt] = {}
    for node in body:
        name = _defined_name(node)
        if name is not None:
            named.setdefault(name, node)
    reached = _reached(entry_point, {name: _names_in(node) for name, node in named.items()})
    kept: list[ast.stmt] = [node for node in body if isinstance(node, _Import)]
    kept += [node for name, node in named.items() if name in reached]
    program = "\n".join(_source(code, node) for node in kept).strip()
    return program or code


def longest_python(text: str) -> str:
    """The run of whole lines with most lines that are not blank, among those that Python can parse; the first such.

    A text that is Python as it stands is its own longest run. Of an answer longer than 400 lines the first 400 are
    looked at.
    """
    lines = text.split("\n")
    if _is_python(text) and any(line.strip() for line in lines):
        return text.strip("\n")
    lines = lines[:_MAX_LINES]
    best, most = (0, 0), 0
    for start in range(len(lines)):
        if sum(1 for line in lines[start:] if line.strip()) <= most:
            break
        if not lines[start].strip() or lines[start][0].isspace():
            continue  # a blank line adds nothing to a run, and a run that begins indented is no program
        for end in range(len(lines) - 1, start, -1):
            n_said = sum(1 for line in lines[start : end + 1] if line.strip())
            if n_said <= most:
                break
            if _is_python("\n".join(lines[start : end + 1])):
                best, most = (start, end), n_said
                break
    chosen = "\n".join(lines[best[0] : best[1] + 1])
    return chosen if _is_python(chosen) else ""


def _is_python(text: str) -> bool:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return True


def _defined_name(node: ast.stmt) -> str | None:
    """The name that a statement of the top level defines, where it is one of the kinds that are kept."""
    if isinstance(node, ast.ClassDef):
        return node.name
    if isinstance(node, _Function):
        return node.name if any(isinstance(inner, ast.Return) for inner in ast.walk(node)) else None
    target: ast.expr | None = None
    if isinstance(node, ast.Assign):
        target = node.targets[0]
    elif isinstance(node, ast.AnnAssign):
        target = node.target
    return target.id if isinstance(target, ast.Name) else None


def _names_in(node: ast.stmt) -> set[str]:
    """Every name in `node`, those of attributes, arguments and keywords too, as EvalPlus counts them."""
    parts = ((ast.Name, "id"), (ast.Attribute, "attr"), (ast.arg, "arg"), (ast.keyword, "arg"))
    return {str(getattr(inner, field)) for inner in ast.walk(node) for kind, field in parts if isinstance(inner, kind)}


def _reached(start: str, needs: dict[str, set[str]]) -> set[str]:
    reached, waiting = {start}, [start]
    while waiting:
        for name in needs.get(waiting.pop(), set()) - reached:
            reached.add(name)
            waiting.append(name)
    return reached


def _source(code: str, node: ast.stmt) -> str:
    """The source of `node` with its decorators."""
    lines = code.split("\n")
    decorators = getattr(node, "decorator_list", [])
    first = min([node.lineno, *(decorator.lineno for decorator in decorators)])
    if first == node.lineno:
        return ast.get_source_segment(code, node) or ""
    return "\n".join(lines[first - 1 : node.end_lineno])
