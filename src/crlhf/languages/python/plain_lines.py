"""A Python program without its layout: lines as tokens, and the names it is free to choose."""

from __future__ import annotations

import ast
import re

from crlhf.languages.language import Line
from crlhf.languages.python.lines import judgeable_lines
from crlhf.languages.python.source import parse
from crlhf.lines import split_lines

_TOKEN = re.compile(
    r"""(?P<string>[rbfuRBFU]{0,2}(?:'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"))|(?P<comment>\#.*)"""
    r"""|\w+(?:\.\d+)?|\*\*=?|//=?|<<=?|>>=?|->|[-+*/%<>=!&|^:]=|[^\s\w]"""
)


def plain_lines(code: str) -> list[Line]:
    """The judgeable lines of `code` without blanks, comments and the choice of quotes."""
    judgeable = set(judgeable_lines(code))
    indents: list[int] = [0]
    n_open = 0
    lines: list[Line] = []
    for line_no, text in enumerate(split_lines(code), 1):
        if line_no not in judgeable:
            continue
        tokens = tuple(_plain(match) for match in _TOKEN.finditer(text) if match["comment"] is None)
        depth = -1 if n_open else _depth(indents, text)
        n_open = max(0, n_open + sum(token in "([{" for token in tokens) - sum(token in ")]}" for token in tokens))
        lines.append(Line(line_no, depth, tokens))
    return lines


def _plain(match: re.Match[str]) -> str:
    """A token's text; a string without a quote or an escape in it gets double quotes."""
    text = match[0]
    if match["string"] is not None and text[0] == "'" and '"' not in text and "\\" not in text:
        return f'"{text[1:-1]}"'
    return text


def _depth(indents: list[int], text: str) -> int:
    """Level of the indentation of `text`, given the widths of the open levels, which are brought up to date."""
    blanks = text[: len(text) - len(text.lstrip())].expandtabs(8)
    while len(indents) > 1 and len(blanks) < indents[-1]:
        indents.pop()
    if len(blanks) > indents[-1]:
        indents.append(len(blanks))
    return len(indents) - 1


def free_names(code: str, entry_point: str) -> set[str]:
    """Names that `code` could as well call otherwise: variables, parameters, helper functions.

    Not the entry point, attributes and methods, which tests may use. A program without a tree has none.
    """
    names: set[str] = set()
    methods: set[str] = set()
    for node in ast.walk(parse(code) or ast.Module([], [])):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.ClassDef):
            methods.update(getattr(member, "name", "") for member in node.body)
    return names - methods - {entry_point, "self"}
