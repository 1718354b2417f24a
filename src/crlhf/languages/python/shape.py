"""The shape of a Python program, independent of names, layout, comments and annotations.

A program is parsed, freed of documentation strings, annotations and imports, and written back as tokens in which every
name of its own is `V`.
"""

from __future__ import annotations

import ast
import builtins
import keyword
import re

_TOKEN = re.compile(
    r"""[^\W\d]\w*|\d+\.?\d*|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\*\*|//|[<>=!+\-*/%&|^]=|[^\s\w(),:]"""
)


def shape_tokens(code: str) -> list[str]:
    """The tokens of a program with its own names replaced by `V`; brackets, commas and colons are left out.

    Code that cannot be parsed is taken as its text: then every name that is not a keyword or a builtin is `V`.
    """
    try:
        tree = _bare(ast.parse(code))
        own, text = _own_names(tree), ast.unparse(tree)
    except (SyntaxError, ValueError, RecursionError):
        own, text = None, code
    return [_plain(token, own) for token in _TOKEN.findall(text)]


def _plain(token: str, own: set[str] | None) -> str:
    if not token.isidentifier() or keyword.iskeyword(token):
        return token
    is_own = token in own if own is not None else not hasattr(builtins, token)
    return "V" if is_own else token


def _bare(tree: ast.Module) -> ast.Module:
    """Take imports, documentation strings and annotations out of `tree`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            node.returns = None
        if isinstance(node, (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            kept = [part for part in node.body if not _is_silent(part)]
            node.body = kept if kept or isinstance(node, ast.Module) else [ast.Pass()]
    return tree


def _is_silent(statement: ast.stmt) -> bool:
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        return True
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _own_names(tree: ast.Module) -> set[str]:
    """Names that the program gives: functions, classes, parameters and everything it assigns to."""
    own: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            own.add(node.name)
        elif isinstance(node, ast.arg):
            own.add(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            own.add(node.id)
    return own
