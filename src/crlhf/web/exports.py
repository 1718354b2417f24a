"""Exports of all answers: the raw table exactly, and a spreadsheet in which nothing is taken for a formula."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator

from crlhf.web.answers import annotation_rows, submitted, utc
from crlhf.web.database import Database
from crlhf.web.progress import costs

_COLUMNS = (
    "annotator_id",
    "round_name",
    "problem_id",
    "completion_id",
    "is_honeypot",
    "wrong_line_nos",
    "error_type",
    "comment",
    "submitted_at",
    "duration_s",
    "cost",
)
_FORMULA = re.compile(r"""(\A(?=[\t\r\n])|(?:\A|[;\t\r\n])[\s"]*(?=[-=+@\uff1d\uff0b\uff0d\uff20]))""")


def jsonl(database: Database) -> Iterator[str]:
    """Rows under `schema.ANNOTATIONS`, one JSON object a line, as `crlhf collect` would write them."""
    with database.read() as connection:
        found = submitted(connection)
    for row in annotation_rows(found):
        yield json.dumps(row, ensure_ascii=False) + "\n"


def spreadsheet(database: Database) -> Iterator[str]:
    """One answer a line, with its comment; a text that begins like a formula gets an apostrophe before it."""
    with database.read() as connection:
        found = submitted(connection)
    yield _csv_line(_COLUMNS)
    for answer in found:
        shown = {**answer, "wrong_line_nos": " ".join(map(str, answer["wrong_line_nos"]))}
        shown["submitted_at"] = utc(answer["submitted_at"])
        yield _csv_line([disarmed(shown[name]) for name in _COLUMNS])


def disarmed(value: object) -> object:
    """A cell that no spreadsheet computes; numbers stay numbers.

    An apostrophe goes before what begins like a formula: the cell, and inside it what follows a semicolon, a tab or a
    newline, because programs that split lines there see cells of their own.
    """
    return _FORMULA.sub(r"\1'", value) if isinstance(value, str) else value


def _csv_line(cells: tuple[str, ...] | list[object]) -> str:
    out = io.StringIO()
    csv.writer(out).writerow(cells)
    return out.getvalue()


def cost_table(database: Database) -> Iterator[str]:
    """Verdicts, seconds and cost of each completion, as CSV."""
    columns = ("completion_id", "n_verdicts", "seconds", "cost")
    with database.read() as connection:
        found = costs(connection)
    yield _csv_line(columns)
    for row in found:
        yield _csv_line([disarmed(row[name]) for name in columns])


EXPORTS: dict[str, Callable[[Database], Iterator[str]]] = {
    "rows": jsonl,
    "spreadsheet": spreadsheet,
    "costs": cost_table,
}
"""By the name that the command line knows."""
