"""Lines of SQL: which are judged, and how they look without their layout."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from crlhf.languages.language import Line
from crlhf.languages.sql.tokens import Token, tokens_of
from crlhf.lines import split_lines

_SAME = {"!=": "<>", "==": "="}
_TYPE_TEXT = "INT INTEGER REAL TEXT NUMERIC BLOB FLOAT DOUBLE VARCHAR CHAR DECIMAL DATE"
TYPES = frozenset(_TYPE_TEXT.split())
"""Names that stand behind AS in a CAST."""
_SILENT = ("AS", "ASC", "INNER", "OUTER", ";")


def judgeable_lines(code: str) -> list[int]:
    """The 1-based numbers of the lines that are judged, ascending.

    A line is left out when it is blank or holds nothing but comments; a line inside a string that looks like a comment
    counts.
    """
    lines = split_lines(code)
    spoken = {no for token in tokens_of(code) for no in range(token.line_no, token.end_line_no + 1)}
    return sorted(no for no in spoken if lines[no - 1].strip())


def plain_lines(code: str) -> list[Line]:
    """The judgeable lines as tokens: keywords in capitals, names in small letters, words that change nothing left out.

    Those are AS, ASC, INNER, OUTER, the semicolon, and the name that AS gives to a column of the result: what makes
    use of that name stays. A token of several lines stands on its first.
    """
    by_line: dict[int, list[str]] = {line_no: [] for line_no in judgeable_lines(code)}
    tokens = tokens_of(code)
    for at, token in enumerate(tokens):
        if not token.is_one_of(*_SILENT) and not _names_a_column(tokens, at):
            by_line[token.line_no].append(plain(token))
    return [Line(line_no, -1, tuple(words)) for line_no, words in by_line.items()]


def _names_a_column(tokens: Sequence[Token], at: int) -> bool:
    """True for `n` in `SELECT COUNT(*) AS n`, not for the name of a table or of a subquery that columns refer to."""
    if at < 2 or not tokens[at].is_name or tokens[at].word in TYPES or not tokens[at - 1].is_one_of("AS"):
        return False
    if at > 2 and tokens[at - 3].is_one_of("FROM", "JOIN"):
        return False
    pairs = itertools.pairwise(tokens)
    return not any(after.text == "." and before.word == tokens[at].word for before, after in pairs)


def plain(token: Token) -> str:
    """A token as it is compared: spelling that SQLite takes for the same is the same."""
    if token.is_name:
        return token.word.lower()
    return _SAME.get(token.text, token.word)
