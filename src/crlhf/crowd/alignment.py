"""Which lines of a failing program differ from the closest program that passes.

Two programs are compared line by line after their layout is taken out: blanks, comments and quotes do not count,
indentation counts as depth, and the other program's variables are called by the names of the variables that stand in
the same places. So a wrong variable shows, and another name for the same variable does not.

Notation: `P` judgeable lines of the program, `Q` of the other one, `E` lines that match. Similarity is
`2 E / (P + Q)`, the ratio of Ratcliff and Obershelp (Python's `difflib.SequenceMatcher`) over lines.

Departs from the paper: it has people for this. The approach is that of differencing against the nearest correct
program, as in Clara (arXiv:1603.03165), without the matching of control flow.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable
from difflib import SequenceMatcher
from typing import NamedTuple

from crlhf.crowd.source import parse
from crlhf.lines import judgeable_lines, split_lines

_TOKEN = re.compile(
    r"""(?P<string>[rbfuRBFU]{0,2}(?:'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"))|(?P<comment>\#.*)"""
    r"""|\w+(?:\.\d+)?|\*\*=?|//=?|<<=?|>>=?|->|[-+*/%<>=!&|^:]=|[^\s\w]"""
)
_HOLE = "\0name"


class Line(NamedTuple):
    """A judgeable line without its layout. `depth` is its indentation level, or -1 where a bracket is still open."""

    line_no: int
    depth: int
    tokens: tuple[str, ...]


class Alignment(NamedTuple):
    """Lines of the program that differ from the other one, and how similar the two are (0 to 1)."""

    line_nos: tuple[int, ...]
    similarity: float


def align_with_closest(code: str, others: Iterable[str], entry_point: str) -> Alignment | None:
    """Align `code` with the most similar of `others`.

    Args:
        code: a program that fails but parses.
        others: programs that pass. Order does not matter.
        entry_point: the name that must stay, the same in all programs.

    Returns:
        The alignment of highest similarity, then of fewest lines; None when no other program has a line in common with
        `code`, or every line of `code` matches, so that the comparison says nothing.
    """
    lines, names = plain_lines(code), local_names(code, entry_point)
    best: Alignment | None = None
    for other in sorted(set(others)):
        found = align(lines, names, plain_lines(other), local_names(other, entry_point))
        if found.similarity == 0 or not found.line_nos:
            continue
        if best is None or (-found.similarity, len(found.line_nos)) < (-best.similarity, len(best.line_nos)):
            best = found
    return best


def align(lines: list[Line], names: set[str], other: list[Line], other_names: set[str]) -> Alignment:
    """Compare two programs given as lines, with the names that each is free to choose.

    A line that differs is marked. Where the other program has lines that are missing here, the line before the gap is
    marked, or the line after it when the line before opens a block or there is none.
    """
    mapping = _same_places(lines, names, other, other_names)
    mine = [(line.depth, line.tokens) for line in lines]
    theirs = [(line.depth, tuple(mapping.get(token, token) for token in line.tokens)) for line in other]
    marked: set[int] = set()
    n_equal = 0
    for tag, begin, end, _, _ in SequenceMatcher(None, mine, theirs, autojunk=False).get_opcodes():
        if tag == "equal":
            n_equal += end - begin
        elif tag == "insert" and lines:
            marked.add(lines[_beside_gap(lines, begin)].line_no)
        else:
            marked.update(line.line_no for line in lines[begin:end])
    total = len(lines) + len(other)
    return Alignment(tuple(sorted(marked)), 2 * n_equal / total if total else 0.0)


def _beside_gap(lines: list[Line], begin: int) -> int:
    """Index of the line that is held responsible for lines missing before `lines[begin]`."""
    opens_block = begin > 0 and lines[begin - 1].tokens[-1:] == (":",)
    return min(begin, len(lines) - 1) if begin == 0 or opens_block else begin - 1


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


def local_names(code: str, entry_point: str) -> set[str]:
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


def _same_places(lines: list[Line], names: set[str], other: list[Line], other_names: set[str]) -> dict[str, str]:
    """For each free name of the other program the name used here in most of the same places; one to one.

    Places are matched with all free names made alike. Ties go to a pair of equal names, then to the pair that occurs
    first, so parameters decide.
    """
    mine, theirs = _words(lines), _words(other)
    matcher = SequenceMatcher(
        None,
        [_HOLE if word in names else word for word in mine],
        [_HOLE if word in other_names else word for word in theirs],
        autojunk=False,
    )
    pairs: Counter[tuple[str, str]] = Counter()
    for begin, other_begin, size in matcher.get_matching_blocks():
        for word, other_word in zip(mine[begin : begin + size], theirs[other_begin : other_begin + size], strict=True):
            if word in names:
                pairs[other_word, word] += 1
    mapping: dict[str, str] = {}
    for other_word, word in sorted(pairs, key=lambda pair: (-pairs[pair], pair[0] != pair[1])):
        if other_word not in mapping and word not in mapping.values():
            mapping[other_word] = word
    return _without_clashes(mapping, other_names)


def _without_clashes(mapping: dict[str, str], other_names: set[str]) -> dict[str, str]:
    """`mapping` with every name left over that has no partner moved out of the way of the names given away."""
    for name in sorted(other_names - mapping.keys()):
        mapping[name] = f"\0{name}"
    return mapping


def _words(lines: list[Line]) -> list[str]:
    """All tokens in order, with a mark at the end of each line."""
    return [token for line in lines for token in (*line.tokens, "\n")]
