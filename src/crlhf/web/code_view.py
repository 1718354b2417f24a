"""A program as lines of safe HTML: every character escaped, highlighted on the server, nothing hidden.

Control characters and those that turn the direction of text (CVE-2021-42574) are shown by their code points; the
character itself stays in the text, closed in, so that what is copied is what was written. NUL, which HTML cannot hold,
becomes its picture.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import NamedTuple

from markupsafe import Markup, escape

from crlhf.lines import split_lines

_LONGEST = 100_000
_SHOWN = {"\t"}


class CodeLine(NamedTuple):
    """One line: its number, whether it is judged, and its text as HTML."""

    no: int
    is_judged: bool
    html: Markup


@cache  # a cache that forgets would draw what is shown rarely more slowly
def code_lines(code: str, language: str, line_nos: tuple[int, ...]) -> tuple[CodeLine, ...]:
    """Every line of `code`, in order, but the empty one after a last newline.

    Args:
        code: the program.
        language: a name that Pygments knows; others are not highlighted.
        line_nos: the judgeable lines.
    """
    judged = set(line_nos)
    parts: list[list[Markup]] = [[]]
    for css, text in _tokens(code, language):
        for n, piece in enumerate(split_lines(text)):
            if n:
                parts.append([])
            if not parts[-1]:
                indent, piece = _indent_apart(piece)  # noqa: PLW2901
                parts[-1] += [Markup('<span class="indent">{}</span>').format(indent)] if indent else []
            if piece:
                html = safe_text(piece)
                parts[-1].append(Markup('<span class="{}">{}</span>').format(css, html) if css else html)
    if code.endswith("\n"):
        parts.pop()  # what follows the last newline is no line to look at
    return tuple(CodeLine(no, no in judged, Markup("").join(line)) for no, line in enumerate(parts, 1))


def highlighted(text: str, language: str) -> Markup:
    """`text` highlighted like a program, without line numbers."""
    return Markup("\n").join(line.html for line in code_lines(text, language, ()))


def prose(text: str) -> Markup:
    """The page's own sentences: what stands between backticks is code."""
    parts = text.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if n % 2 else escape(part) for n, part in enumerate(parts)
    )


def _indent_apart(text: str) -> tuple[str, str]:
    rest = text.lstrip(" \t")
    return text[: len(text) - len(rest)], rest


def safe_text(text: str) -> Markup:
    """`text` escaped, with its invisible characters made visible."""
    if not any(_is_hidden(character) for character in text):
        return escape(text)
    return Markup("").join(_visible(character) if _is_hidden(character) else escape(character) for character in text)


def _is_hidden(character: str) -> bool:
    return character not in _SHOWN and character != "\n" and unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp")


def _visible(character: str) -> Markup:
    name = f"U+{ord(character):04X}"
    if character == "\0":
        return Markup('<span class="hidden-character" data-code="{}">\u2400</span>').format(name)
    reference = Markup(f"&#{ord(character)};")  # a bare carriage return would become a newline
    return Markup('<span class="hidden-character" data-code="{}">{}</span>').format(name, reference)


def _tokens(code: str, language: str) -> list[tuple[str, str]]:
    """CSS class and text of each token; one token without a class where Pygments cannot help."""
    from pygments.lexers import get_lexer_by_name
    from pygments.token import STANDARD_TYPES
    from pygments.util import ClassNotFound

    plain = [("", code)]
    if len(code) > _LONGEST:
        return plain
    try:
        lexer = get_lexer_by_name(language)
    except ClassNotFound:
        return plain
    found = []
    for _, kind, text in lexer.get_tokens_unprocessed(code):
        known = kind
        while known not in STANDARD_TYPES:
            known = known.parent
        found.append((STANDARD_TYPES[known], text))
    return found if "".join(text for _, text in found) == code else plain
