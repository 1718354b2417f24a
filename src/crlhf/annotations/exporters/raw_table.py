"""The raw table as JSON lines, exact, and as CSV that is safe to open in a spreadsheet.

JSON lines are those of a batch file, so what is exported and imported again is the same to the byte, `source_file` and
`source_row` aside, which the reader sets. In CSV a text that begins with `=`, `+`, `-`, `@` or a tab
gets an apostrophe before it (OWASP, CSV injection), which our import takes away. Line breaks within a cell, a carriage
return among them, become blanks, for a row of the raw table is one line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from crlhf.annotations.exporters.contract import Part
from crlhf.annotations.exporters.crowd_kit import csv_lines
from crlhf.annotations.importers.raw_table import guarded
from crlhf.schema import ANNOTATIONS
from crlhf.store import records

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = tuple(name for name in ANNOTATIONS.column_names if name not in ("source_file", "source_row"))


class JsonLinesExport:
    """The raw table as JSON lines."""

    name, rows = "jsonl", "annotations"
    tables: tuple[str, ...] = ()

    def parts(self, tables: Mapping[str, pd.DataFrame]) -> list[Part]:
        """`annotations.jsonl`."""
        return [Part("annotations.jsonl", ".jsonl", _json_lines(tables["rows"]))]


class CsvExport:
    """The raw table as CSV."""

    name, rows = "csv", "annotations"
    tables: tuple[str, ...] = ()

    def parts(self, tables: Mapping[str, pd.DataFrame]) -> list[Part]:
        """`annotations.csv`."""
        rows = tables["rows"][list(COLUMNS)]
        cells = ([_cell(value) for value in row] for row in rows.itertuples(index=False, name=None))
        return [Part("annotations.csv", ".csv", _csv(cells))]


def _json_lines(rows: pd.DataFrame) -> Iterator[str]:
    for row in records(rows[list(COLUMNS)]):
        yield json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"


def _csv(cells: Iterator[list[Any]]) -> Iterator[str]:
    yield from csv_lines([COLUMNS])
    yield from csv_lines(cells)


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str):
        return value
    return guarded(re.sub(r"\r\n|\r|\n", " ", value))
