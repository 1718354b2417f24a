r"""The three forms of a batch file, taken apart into rows: JSON lines, CSV, Parquet. Values are not judged here.

Row n of a JSONL file is its line n, row n of a CSV file its line n + 1 (the header is not counted), row n of a Parquet
file its n-th row. Blank lines are counted and are no rows. A CSV row is one line: a quoted cell must not hold a line
break. So a quote that is never closed costs one row, not the rest of the file.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from crlhf.annotations.quarantine import shown
from crlhf.errors import InputError

_LONGEST_CELL = 2**31 - 1


class Broken(NamedTuple):
    """A row that could not be taken apart: `text` is all that is known of it."""

    row_no: int
    rule: str
    reason: str
    text: str


class RawRows(NamedTuple):
    """A batch file in rows.

    Attributes:
        columns: the columns that the file declares; None for JSON lines, where every row has its own.
        row_nos: 1-based number of each row that could be taken apart.
        cells: the cells of each of those rows by column name.
        broken: the other rows.
        is_text: True when every cell is text that still has to be read as its type.
    """

    columns: tuple[str, ...] | None
    row_nos: list[int]
    cells: list[dict[str, Any]]
    broken: list[Broken]
    is_text: bool


def read_jsonl(data: bytes, name: str) -> RawRows:
    """Take a JSON lines file apart: one JSON object a line. `name` is not used: no line can spoil the file."""
    rows = RawRows(None, [], [], [], is_text=False)
    decoder = json.JSONDecoder(object_pairs_hook=_unique_pairs)
    cut_line = data.count(b"\n") + 1 if not data.endswith(b"\n") else None
    for row_no, text, broken in _lines(data):
        if broken is not None:
            rows.broken.append(broken)
            continue
        try:
            value = decoder.decode(text)
        except _RepeatedKeyError as error:
            rows.broken.append(Broken(row_no, "keys_not_repeated", f"the key {error} occurs twice", text))
        except (ValueError, RecursionError) as error:
            cut = "; the file is cut in the middle of this line" if row_no == cut_line else ""
            rows.broken.append(Broken(row_no, "json_object", f"not JSON ({error}){cut}", text))
        else:
            reason = _not_flat(value, text)
            if reason is None:
                rows.row_nos.append(row_no)
                rows.cells.append(value)
            else:
                rows.broken.append(Broken(row_no, "json_object", reason, text))
    return rows


def _not_flat(value: Any, text: str) -> str | None:
    """Why a JSON value is not an object of plain values, or None."""
    if not isinstance(value, dict):
        return f"JSON, but not an object with the columns of the raw table: {shown(text)}"
    if "[" in text or text.count("{") > 1:
        nested = [key for key, item in value.items() if isinstance(item, dict | list)]
        return f"{shown(nested[0])} holds a list or an object, expected a plain value" if nested else None
    return None


class _RepeatedKeyError(Exception):
    """One JSON object has the same key twice."""


def _unique_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _RepeatedKeyError(ascii(next(key for key in keys if keys.count(key) > 1)))
    return found


def read_csv(data: bytes, name: str) -> RawRows:
    """Take a CSV file apart: comma, double quotes, a header line.

    Raises:
        InputError: the header cannot be read or names a column twice; the message names the file.
    """
    limit = csv.field_size_limit(_LONGEST_CELL)
    try:
        lines = _lines(data)
        header = _csv_header(lines, name)
        rows = RawRows(tuple(header), [], [], [], is_text=True)
        for line_no, text, broken in lines:
            row_no = line_no - 1
            if broken is not None:
                rows.broken.append(broken._replace(row_no=row_no))
                continue
            try:
                cells = _csv_cells(text)
            except csv.Error as error:
                reason = f"not a row of CSV ({error}); a row is one line, and a quoted cell holds no line break"
                rows.broken.append(Broken(row_no, "quotes_closed", reason, text))
                continue
            if len(cells) != len(header):
                reason = f"{len(cells)} cells, expected {len(header)} as in the header"
                rows.broken.append(Broken(row_no, "cell_count", reason, text))
            elif cells == header:
                rows.broken.append(Broken(row_no, "header_once", "the header again: files were joined", text))
            else:
                rows.row_nos.append(row_no)
                rows.cells.append(dict(zip(header, cells, strict=True)))
        return rows
    finally:
        csv.field_size_limit(limit)


def _csv_header(lines: Iterator[tuple[int, str, Broken | None]], name: str) -> list[str]:
    line_no, text, broken = next(lines, (0, "", None))
    try:
        header = _csv_cells(text) if broken is None else []
    except csv.Error as error:
        raise InputError(f"{name}: the header is not a line of CSV ({error})") from None
    if broken is not None:
        raise InputError(f"{name}: the header is not UTF-8 text; save the file as CSV in UTF-8")
    if line_no > 1:
        raise InputError(f"{name}: the first line is blank; it must be the header")
    repeated = sorted({column for column in header if header.count(column) > 1})
    if repeated:
        raise InputError(f"{name}: the header names these columns twice: {_names(repeated)}")
    return header


def _csv_cells(line: str) -> list[str]:
    return next(csv.reader([line], strict=True), [])


def read_parquet(data: bytes, name: str) -> RawRows:
    """Take a Parquet file apart.

    Raises:
        InputError: it is not a whole Parquet file, or names a column twice; the message names the file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(io.BytesIO(data)).read()
        table.validate(full=True)
        columns = tuple(table.column_names)
        cells = table.to_pylist() if len(set(columns)) == len(columns) else []
    except (pa.ArrowException, OSError, ValueError, TypeError, OverflowError, MemoryError, KeyError) as error:
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{name}: not a whole Parquet file ({why}); fetch it again") from None
    repeated = sorted({column for column in columns if columns.count(column) > 1})
    if repeated:
        raise InputError(f"{name}: the file names these columns twice: {_names(repeated)}")
    return RawRows(columns, list(range(1, len(cells) + 1)), cells, [], is_text=False)


def _lines(data: bytes) -> Iterator[tuple[int, str, Broken | None]]:
    r"""The lines of a text file with their 1-based numbers; blank ones are left out.

    Lines end at `\n` or `\r\n`. A line that is not UTF-8 comes with its fault, its bytes escaped.
    """
    for line_no, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        stripped = line.removesuffix(b"\r")
        if not stripped.strip(b" \t"):
            continue
        try:
            yield line_no, stripped.decode("utf-8"), None
        except UnicodeDecodeError as error:
            text = stripped.decode("utf-8", "backslashreplace")
            yield line_no, text, Broken(line_no, "utf8_text", f"not UTF-8 at byte {error.start + 1} of the line", text)


def _names(names: list[str]) -> str:
    return ", ".join(ascii(name) for name in names)
