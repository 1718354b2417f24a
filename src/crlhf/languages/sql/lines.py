"""Lines of SQL: which are judged, and how they look without their layout."""

from __future__ import annotations

from crlhf.languages.language import Line
from crlhf.languages.sql.tokens import Token, tokens_of
from crlhf.lines import split_lines

_SAME = {"!=": "<>", "==": "="}
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

    Those are AS, ASC, INNER, OUTER and the semicolon. A token of several lines stands on its first.
    """
    by_line: dict[int, list[str]] = {line_no: [] for line_no in judgeable_lines(code)}
    for token in tokens_of(code):
        if not token.is_one_of(*_SILENT):
            by_line[token.line_no].append(plain(token))
    return [Line(line_no, -1, tuple(words)) for line_no, words in by_line.items()]


def plain(token: Token) -> str:
    """A token as it is compared: spelling that SQLite takes for the same is the same."""
    if token.is_name:
        return token.word.lower()
    return _SAME.get(token.text, token.word)
