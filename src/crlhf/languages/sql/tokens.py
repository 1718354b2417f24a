"""SQLite's SQL as tokens with their places in the text.

The grammar of tokens is SQLite's (https://sqlite.org/lang_keywords.html, https://sqlite.org/lang_comment.html):
strings in single quotes with `''` inside, names in double quotes, backquotes or brackets, comments from `--` to the end
of the line and from `/*` to `*/` or to the end of the text. Every text has tokens; a quote never closed takes the rest.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

_PATTERN = re.compile(
    r"""(?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z))"""
    r"""|(?P<string>[xX]?'(?:[^']|'')*(?:'|\Z))"""
    r"""|(?P<quoted>"(?:[^"]|"")*(?:"|\Z)|`[^`]*(?:`|\Z)|\[[^\]]*(?:\]|\Z))"""
    r"""|(?P<number>0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"""
    r"""|(?P<word>[^\W\d][\w$]*)"""
    r"""|(?P<operator>->>|->|<>|<=|>=|!=|==|\|\||<<|>>|\S)""",
    re.DOTALL,
)
_KEYWORD_TEXT = """
    ALL ALTER AND AS ASC BEGIN BETWEEN BY CASE CAST CHECK COLLATE COMMIT CONFLICT CONSTRAINT CREATE CROSS CURRENT
    DEFAULT DELETE DESC DISTINCT DO DROP ELSE END ESCAPE EXCEPT EXCLUDE EXISTS FALSE FILTER FIRST FOLLOWING FOREIGN FROM
    FULL GLOB GROUP GROUPS HAVING IF IGNORE IN INDEX INNER INSERT INTERSECT INTO IS ISNULL JOIN KEY LAST LEFT LIKE
    LIMIT MATERIALIZED NATURAL NOT NOTHING NOTNULL NULL NULLS OFFSET ON OR ORDER OUTER OVER PARTITION PRECEDING
    PRIMARY RANGE RECURSIVE REFERENCES REPLACE RETURNING RIGHT ROLLBACK ROW ROWS SELECT SET TABLE TEMP TEMPORARY
    THEN TIES TRIGGER TRUE UNBOUNDED UNION UNIQUE UPDATE USING VALUES VIEW WHEN WHERE WINDOW WITH WITHOUT
"""
KEYWORDS = frozenset(_KEYWORD_TEXT.split())
"""Words that are no names. Words that SQLite also takes for functions (GLOB, LIKE, REPLACE) are among them."""


class Token(NamedTuple):
    """A token: its kind (comment, string, quoted, number, word or operator), its text, and where it begins and ends."""

    kind: str
    text: str
    start: int
    end: int
    line_no: int
    end_line_no: int

    @property
    def word(self) -> str:
        """The keyword or name in capitals, without quotes; the text of any other token."""
        if self.kind == "word":
            return self.text.upper()
        return self.text[1:-1].upper() if self.kind == "quoted" else self.text

    @property
    def is_name(self) -> bool:
        """True for a name, quoted or not a keyword."""
        return self.kind == "quoted" or (self.kind == "word" and self.word not in KEYWORDS)

    def is_one_of(self, *words: str) -> bool:
        """True for one of these keywords or operators, unquoted."""
        return self.kind in ("word", "operator") and self.word in words


def all_tokens(code: str) -> list[Token]:
    """Every token of `code`, comments included."""
    found = []
    line_no, at = 1, 0
    for match in _PATTERN.finditer(code):
        line_no += code.count("\n", at, match.start())
        end_line_no = line_no + match[0].count("\n")
        found.append(Token(str(match.lastgroup), match[0], match.start(), match.end(), line_no, end_line_no))
        line_no, at = end_line_no, match.end()
    return found


def tokens_of(code: str) -> list[Token]:
    """The tokens of `code` without comments."""
    return [token for token in all_tokens(code) if token.kind != "comment"]


def statements(tokens: Sequence[Token], code: str) -> list[list[Token]]:
    """The tokens of each statement, its semicolon not included; a semicolon inside a trigger does not end one."""
    found: list[list[Token]] = []
    current: list[Token] = []
    for token in tokens:
        if token.text != ";" or token.kind != "operator":
            current.append(token)
        elif current and sqlite3.complete_statement(code[current[0].start : token.end]):
            found.append(current)
            current = []
        elif current:
            current.append(token)
    return [*found, current] if current else found
