"""Judgeable lines of a Python program.

A line is judgeable when an error in it could change what the program does. Blank lines, comments and documentation
strings are neither shown for judgement nor counted in an aligned score, or padding with them would raise the score.

Departs from the paper: the paper counts the lines of a program; which of them count is this project's choice.
"""

from __future__ import annotations

import ast
import io
import tokenize

from crlhf.lines import split_lines


def judgeable_lines(code: str) -> list[int]:
    """The 1-based numbers of the lines of a Python program that are judged, ascending.

    A line is left out when it is blank, holds only a comment, or lies wholly inside a documentation string (a string
    that is a statement of its own). A line inside any other string counts, whatever it looks like. Code that does not
    tokenise is split by its text alone: a line counts unless it is blank or begins with `#`. A program that cannot be
    parsed, such as one cut in the middle, keeps its documentation strings.
    """
    lines = split_lines(code)
    spoken = _token_lines(code)
    if spoken is None:
        return [no for no, text in enumerate(lines, 1) if text.strip() and not text.lstrip().startswith("#")]
    return sorted(no for no in spoken - _docstring_lines(code) if no <= len(lines) and lines[no - 1].strip())


_SILENT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}


def _token_lines(code: str) -> set[int] | None:
    """Lines touched by a token that does something, or None when `code` does not tokenise."""
    if "\f" in code or "\r" in code.replace("\r\n", "\n"):
        return None  # the tokenizer counts lines in another way than split_lines
    found: set[int] = set()
    try:
        for token in tokenize.generate_tokens(io.StringIO(code).readline):
            if token.type not in _SILENT:
                found.update(range(token.start[0], token.end[0] + 1))
    except (tokenize.TokenError, SyntaxError, ValueError):
        return None
    return found


def _docstring_lines(code: str) -> set[int]:
    """Lines taken up by strings that are statements of their own and share no line with other code."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    found: set[int] = set()
    others: set[int] = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.stmt):
            continue
        is_text = (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        )
        if is_text:
            found.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
        else:
            body = getattr(node, "body", None)
            last = node.end_lineno or node.lineno
            if isinstance(body, list) and body:
                last = min(last, max(node.lineno, body[0].lineno - 1))
            others.update(range(node.lineno, last + 1))
    return found - others
