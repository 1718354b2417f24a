"""Lines of SQL that SQLite points at."""

from __future__ import annotations

from crlhf.languages.language import BrokenLines
from crlhf.languages.sql.lines import judgeable_lines
from crlhf.schema import Verdict


def broken_lines(code: str, verdict: Verdict, entry_point: str) -> BrokenLines | None:
    """The judgeable line at which the verdict says that `code` cannot be compiled, or None.

    `syntax` for a line at which it stops being SQL; `traceback` for the first line with a table, a column or a function
    that there is not.
    """
    if verdict.verdict != "error" or verdict.line_no is None:
        return None
    judgeable = judgeable_lines(code)
    line_no = max((no for no in judgeable if no <= verdict.line_no), default=judgeable[0])
    return BrokenLines((line_no,), "syntax" if verdict.reason == "syntax error" else "traceback")
