"""Which lines of a failing program differ from the closest program that passes.

Two programs are compared line by line after their layout is taken out: blanks, comments and choices that mean nothing
do not count, indentation counts as depth where it means something, and the other program's free names are called by
the names that stand in the same places. So a wrong variable shows, and another name for the same variable does not.
In a language whose line breaks mean nothing they are compared token by token, and a line is marked for its tokens.

Notation: `P` judgeable lines (or tokens) of the program, `Q` of the other one, `E` that match. Similarity is
`2 E / (P + Q)`, the ratio of Ratcliff and Obershelp (Python's `difflib.SequenceMatcher`).

Departs from the paper: it has people for this. The approach is that of differencing against the nearest correct
program, as in Clara (arXiv:1603.03165), without the matching of control flow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from difflib import SequenceMatcher
from typing import NamedTuple

from crlhf.languages import Language, Line

_HOLE = "\0name"


class Alignment(NamedTuple):
    """Lines of the program that differ from the other one, and how similar the two are (0 to 1)."""

    line_nos: tuple[int, ...]
    similarity: float


def align_with_closest(code: str, others: Iterable[str], entry_point: str, language: Language) -> Alignment | None:
    """Align `code` with the most similar of `others`.

    Args:
        code: a program that fails but parses.
        others: programs that pass. Order does not matter.
        entry_point: the name that must stay, the same in all programs.
        language: of all these programs.

    Returns:
        The alignment of highest similarity, then of fewest lines; None when no other program has a line in common with
        `code`, or every line of `code` matches, so that the comparison says nothing.
    """
    best: Alignment | None = None
    for other in sorted(set(others)):
        found = align(code, other, entry_point, language)
        if found.similarity == 0 or not found.line_nos:
            continue
        if best is None or (-found.similarity, len(found.line_nos)) < (-best.similarity, len(best.line_nos)):
            best = found
    return best


def align(code: str, other: str, entry_point: str, language: Language) -> Alignment:
    """Compare two programs.

    A line that differs is marked. Where the other program has lines that are missing here, the line before the gap is
    marked, or the line after it when the line before opens a block or there is none.
    """
    lines, names = language.plain_lines(code), language.free_names(code, entry_point)
    other_lines = language.plain_lines(other)
    mapping = _same_places(lines, names, other_lines, language.free_names(other, entry_point))
    mine = _units(lines, language.is_layout_free, {})
    theirs = _units(other_lines, language.is_layout_free, mapping)
    matcher = SequenceMatcher(None, [unit[1:] for unit in mine], [unit[1:] for unit in theirs], autojunk=False)
    marked: set[int] = set()
    n_equal = 0
    for tag, begin, end, _, _ in matcher.get_opcodes():
        if tag == "equal":
            n_equal += end - begin
        elif tag == "insert" and mine:
            marked.add(mine[_beside_gap(mine, begin)].line_no)
        else:
            marked.update(unit.line_no for unit in mine[begin:end])
    total = len(mine) + len(theirs)
    return Alignment(tuple(sorted(marked)), 2 * n_equal / total if total else 0.0)


def _units(lines: list[Line], by_token: bool, mapping: dict[str, str]) -> list[Line]:
    """What is compared: the lines, or each token as a line of its own; names changed by `mapping`."""
    renamed = [line._replace(tokens=tuple(mapping.get(token, token) for token in line.tokens)) for line in lines]
    if not by_token:
        return renamed
    return [line._replace(tokens=(token,)) for line in renamed for token in line.tokens]


def _beside_gap(units: list[Line], begin: int) -> int:
    """Index of the unit that is held responsible for what is missing before `units[begin]`."""
    opens_block = begin > 0 and units[begin - 1].tokens[-1:] == (":",)
    return min(begin, len(units) - 1) if begin == 0 or opens_block else begin - 1


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
