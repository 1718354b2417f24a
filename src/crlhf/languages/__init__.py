"""Languages that programs are written in: which lines are judged, how a fault is made, how two programs compare.

One package a language; the column `language` of PROBLEMS names it. Nothing here runs a program.
"""

from __future__ import annotations

from crlhf.languages import python, sql
from crlhf.languages.language import BrokenLines, Fault, Language, Line

__all__ = ["LANGUAGES", "BrokenLines", "Fault", "Language", "Line", "get_language"]

LANGUAGES: dict[str, Language] = {language.name: language for language in (python, sql)}


def get_language(name: str) -> Language:
    """The language that PROBLEMS calls `name`; raises ValueError with the known names when there is none."""
    try:
        return LANGUAGES[name]
    except KeyError:
        raise ValueError(f"no language {name!r}; known are {', '.join(LANGUAGES)}") from None
