"""The project's own raw table as JSON lines, CSV or Parquet: the contract of `docs/raw-table.md`, as we export it.

JSON lines come back value for value. In CSV the apostrophe that our export puts before a formula is taken away again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from crlhf.annotations.importers.contract import Record, Refused, Verdict
from crlhf.annotations.importers.opened import Opened
from crlhf.annotations.raw_files import read_batches
from crlhf.store import records

GUARDED = re.compile(r"'+[=+\-@\t\r]")
"""Text with the apostrophe that keeps a spreadsheet from reading it as a formula."""

_MARKS = {"completion_id", "line_no", "verdict", "annotator_id"}


class _RawTable:
    """What the three forms have in common."""

    source = "collected"

    def read(self, file: Opened) -> Iterator[Record]:
        """A verdict for each row.

        Raises:
            InputError: the file as a whole is not under the contract.
        """
        found = read_batches([file.path])
        for fault in records(found.quarantine):
            yield Refused(fault["source_row"], fault["rule"], fault["reason"], json.loads(fault["row"]))
        frame = found.annotations
        for row_no, row in zip(
            frame["source_row"], records(frame.drop(columns=["source_file", "source_row"])), strict=True
        ):
            yield Verdict(int(row_no), self._cells(row))

    def warnings(self, file: Opened) -> Iterable[str]:
        """None: everything is in the file."""
        return ()

    def _cells(self, row: dict[str, Any]) -> dict[str, Any]:
        return row


class RawJsonLines(_RawTable):
    """The raw table as JSON lines."""

    name, title = "jsonl", "the raw table as JSON lines"

    def recognises(self, file: Opened) -> bool:
        """The first line that is an object has the columns that say what a verdict is."""
        if file.path.suffix.lower() != ".jsonl":
            return False
        for line in file.data.removeprefix(b"\xef\xbb\xbf").split(b"\n"):
            try:
                first = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(first, dict):
                return bool(first.keys() & _MARKS)
        return True


class RawCsv(_RawTable):
    """The raw table as CSV."""

    name, title = "csv", "the raw table as CSV"

    def recognises(self, file: Opened) -> bool:
        """The header has the columns that say what a verdict is."""
        return file.path.suffix.lower() == ".csv" and set(file.header(",")) >= _MARKS

    def _cells(self, row: dict[str, Any]) -> dict[str, Any]:
        return {key: unguarded(value) if isinstance(value, str) else value for key, value in row.items()}


class RawParquet(_RawTable):
    """The raw table as Parquet."""

    name, title = "parquet", "the raw table as Parquet"

    def recognises(self, file: Opened) -> bool:
        """The bytes that every Parquet file begins with."""
        return file.data.startswith(b"PAR1")


def guarded(text: str) -> str:
    """`text` with an apostrophe before it where a spreadsheet would read it as a formula (OWASP, CSV injection)."""
    return f"'{text}" if GUARDED.match(f"'{text}") else text


def unguarded(text: str) -> str:
    """What `guarded` was given."""
    return text[1:] if GUARDED.match(text) else text
