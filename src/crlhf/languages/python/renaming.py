"""A second look for a correct program: its local variables renamed, everything else as it was."""

from __future__ import annotations

import ast
import builtins
import io
import keyword
import re
import tokenize
from typing import TYPE_CHECKING

from crlhf.languages.python.source import Source, bound_names

if TYPE_CHECKING:
    import numpy as np

_USUAL_NAMES = (
    "values items data seq elems entries res output answer ans ret total acc count cnt num val value item "
    "elem entry cur current prev left right first second low high idx pos key part parts text chars word "
    "words temp tmp x y z a b c d i j k m n p q r s t u v w"
)


def renamed(code: str, rng: np.random.Generator) -> str | None:
    """`code` with every local variable that can safely be renamed under another usual name.

    Left alone: names that are also attributes, keyword arguments, global or builtin names, or words of a string
    (an f-string may use them). Whether the program still passes is for the caller to run. None when the program does
    not parse or no variable can be renamed.
    """
    source = Source.of(code)
    if source is None:
        return None
    tokens = list(tokenize.generate_tokens(io.StringIO(code).readline))
    fixed = _fixed_names(source.tree, tokens)
    names = [name for name in _local_names(source.tree) if name not in fixed]
    taken = {token.string for token in tokens if token.type == tokenize.NAME} | fixed
    free = [name for name in _USUAL_NAMES.split() if name not in taken]
    fresh = [free[i] for i in rng.permutation(len(free))]
    mapping = dict(zip(names, fresh, strict=False))
    return _substitute(source.lines, tokens, mapping) if mapping else None


def _local_names(tree: ast.Module) -> list[str]:
    """Names bound in functions and comprehensions, in the order of the text."""
    names: dict[str, None] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            names.update(dict.fromkeys(bound_names(node)))
        elif isinstance(node, ast.comprehension):
            names.update(dict.fromkeys(part.id for part in ast.walk(node.target) if isinstance(part, ast.Name)))
    return list(names)


def _fixed_names(tree: ast.Module, tokens: list[tokenize.TokenInfo]) -> set[str]:
    """Names that mean something besides a local variable."""
    fixed = {"self", "cls", "_", *dir(builtins), *keyword.kwlist, *keyword.softkwlist}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            fixed.add(node.attr)
        elif isinstance(node, ast.keyword) and node.arg:
            fixed.add(node.arg)
        elif isinstance(node, ast.Global | ast.Nonlocal):
            fixed.update(node.names)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            fixed.add(node.name)
        elif isinstance(node, ast.alias):
            fixed.update((node.asname or node.name).split("."))
    for statement in tree.body:
        if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            fixed.update(node.id for node in ast.walk(statement) if isinstance(node, ast.Name))
    for token in tokens:
        if token.type != tokenize.NAME:
            fixed.update(re.findall(r"\w+", token.string))
    return fixed


def _substitute(lines: list[str], tokens: list[tokenize.TokenInfo], mapping: dict[str, str]) -> str:
    """The program with each name token in `mapping` replaced, from the end so that columns stay true."""
    changed = list(lines)
    for token in reversed(tokens):
        if token.type == tokenize.NAME and token.string in mapping:
            line_no, start = token.start
            line = changed[line_no - 1]
            changed[line_no - 1] = line[:start] + mapping[token.string] + line[token.end[1] :]
    return "\n".join(changed)
