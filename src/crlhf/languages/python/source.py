"""A parsed Python program whose nodes and tokens can be replaced by text, one line at a time.

Columns are characters into a line of `split_lines`, not the UTF-8 bytes that `ast` counts.
"""

from __future__ import annotations

import ast
import io
import tokenize
import warnings
from collections.abc import Iterator
from typing import NamedTuple

from crlhf.lines import split_lines

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_STRINGS_WITH_CODE = tuple(
    kind for kind in (getattr(ast, name, None) for name in ("JoinedStr", "TemplateStr")) if kind is not None
)


class Edit(NamedTuple):
    """Characters `start` to `end` of line `line_no` become `text`; `kind` names the fault that this makes."""

    line_no: int
    start: int
    end: int
    text: str
    kind: str


class Visit(NamedTuple):
    """A node on the way through a program, and the function it lies in (None at the top level)."""

    node: ast.AST
    function: Function | None


def parse(code: str) -> ast.Module | None:
    """The syntax tree of `code`, or None when it is not a Python program. Warnings about its style are silenced."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(code)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


class Source:
    """A program that parses, with its lines and tokens.

    Nodes inside f-strings and annotations are not visited: positions inside an f-string differ between Python
    versions, and an annotation does nothing when the program runs.
    """

    def __init__(self, code: str, tree: ast.Module) -> None:
        self.code = code
        self.tree = tree
        self.lines = split_lines(code)
        self._tokens = _tokenise(code)

    @staticmethod
    def of(code: str) -> Source | None:
        """The source of `code`, or None when it does not parse or its lines cannot be counted like `split_lines`."""
        if "\f" in code or "\r" in code.replace("\r\n", "\n"):
            return None
        tree = parse(code)
        return None if tree is None else Source(code, tree)

    def visits(self) -> Iterator[Visit]:
        """Every visited node with its function, depth first, in the order of the text."""
        yield from _walk(self.tree, None)

    def span(self, node: ast.AST) -> tuple[int, int, int] | None:
        """(line_no, start, end) of `node`, or None when it lies on more than one line."""
        line_no, end_line_no = getattr(node, "lineno", None), getattr(node, "end_lineno", None)
        if line_no is None or line_no != end_line_no:
            return None
        line = self.lines[line_no - 1]
        return line_no, _characters(line, node.col_offset), _characters(line, node.end_col_offset)  # type: ignore[attr-defined]

    def text(self, node: ast.AST) -> str | None:
        """The text of `node`, or None when it lies on more than one line."""
        span = self.span(node)
        return None if span is None else self.lines[span[0] - 1][span[1] : span[2]]

    def replace(self, node: ast.AST, text: str | None, kind: str) -> list[Edit]:
        """The edit that puts `text` in the place of `node`; none when either lies on more than one line."""
        span = self.span(node)
        return [] if span is None or text is None else [Edit(*span, text, kind)]

    def replace_between(self, left: ast.AST, right: ast.AST, word: str, text: str, kind: str) -> list[Edit]:
        """The edit that replaces the first token `word` between the nodes `left` and `right`."""
        begin = self.position(left, at_end=True)
        end = self.position(right)
        return self.replace_token(begin, end, word, text, kind)

    def replace_token(
        self, begin: tuple[int, int], end: tuple[int, int], word: str, text: str, kind: str
    ) -> list[Edit]:
        """The edit that replaces the first token `word` within two positions (line_no, column)."""
        for (line_no, column), string in self._tokens:
            if begin <= (line_no, column) < end and string == word:
                return [Edit(line_no, column, column + len(word), text, kind)]
        return []

    def position(self, node: ast.AST, at_end: bool = False) -> tuple[int, int]:
        """(line_no, column) at which `node` begins or ends."""
        line_no: int = node.end_lineno if at_end else node.lineno  # type: ignore[attr-defined]
        offset: int = node.end_col_offset if at_end else node.col_offset  # type: ignore[attr-defined]
        return line_no, _characters(self.lines[line_no - 1], offset)

    def apply(self, edit: Edit) -> str:
        """The program with `edit` made: one line differs, the number of lines stays."""
        line = self.lines[edit.line_no - 1]
        changed = line[: edit.start] + edit.text + line[edit.end :]
        return "\n".join([*self.lines[: edit.line_no - 1], changed, *self.lines[edit.line_no :]])


def bound_names(function: Function) -> dict[str, int]:
    """Names that `function` binds in its own scope, each with the first line that binds it. Parameters come first."""
    arguments = function.args
    parameters = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    parameters += [argument for argument in (arguments.vararg, arguments.kwarg) if argument is not None]
    names = {parameter.arg: function.lineno for parameter in parameters}
    body = function.body if isinstance(function.body, list) else [function.body]
    waiting: list[ast.AST] = list(body)
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names[node.id] = min(names.get(node.id, node.lineno), node.lineno)
        if not isinstance(node, _OWN_SCOPE):
            waiting.extend(ast.iter_child_nodes(node))
    return names


_OWN_SCOPE = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.Lambda,
    ast.ClassDef,
    ast.ListComp,
    ast.SetComp,
    ast.DictComp,
    ast.GeneratorExp,
)


def _walk(node: ast.AST, function: Function | None) -> Iterator[Visit]:
    """Depth-first walk that leaves out f-strings and annotations."""
    yield Visit(node, function)
    inner = node if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) else function
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not isinstance(child, _STRINGS_WITH_CODE):
                yield from _walk(child, inner)


def _tokenise(code: str) -> list[tuple[tuple[int, int], str]]:
    """Positions and texts of operators and words; columns are characters already."""
    tokens = tokenize.generate_tokens(io.StringIO(code).readline)
    try:
        return [(token.start, token.string) for token in tokens if token.type in (tokenize.OP, tokenize.NAME)]
    except (tokenize.TokenError, SyntaxError):
        return []


def _characters(line: str, n_bytes: int) -> int:
    """Characters in the first `n_bytes` UTF-8 bytes of `line`."""
    if line.isascii():
        return n_bytes
    return len(line.encode("utf-8", "surrogatepass")[:n_bytes].decode("utf-8", "surrogatepass"))
