"""One annotator taken out of raw files: batches of any form, and quarantine tables. Files are bytes in, bytes out.

Every row of the annotator goes. A line that cannot be read goes too when it holds one of the annotator's names: nobody
could tell later whose it was. All other bytes of a text file stay as they are.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

from crlhf.annotations.pseudonyms import answered_in
from crlhf.annotations.raw_formats import read_csv, read_jsonl, read_parquet

if TYPE_CHECKING:
    import pandas as pd


class Remaining(NamedTuple):
    """A file without the annotator: its bytes (None when no row is left), and how many rows went."""

    data: bytes | None
    n_removed: int


def forget_in_batch(data: bytes, name: str, names: Iterable[str]) -> Remaining:
    """Take the annotator called by any of `names` out of the batch file `name`.

    Raises:
        InputError: the file as a whole cannot be read.
    """
    wanted = frozenset(names)
    if name.lower().endswith(".parquet"):
        return _from_parquet(data, name, wanted)
    if name.lower().endswith(".csv"):
        return _from_csv(data, name, wanted)
    return _from_lines(data, wanted, _json_test(wanted), n_header=0)


def forget_in_quarantine(quarantine: pd.DataFrame, names: Iterable[str], given: str | None = None) -> pd.DataFrame:
    """The quarantine without rows that hold one of the annotator's names as a whole word.

    Rows that could not be taken apart may hold the name in the tool itself, `given`: those go too.
    """
    wanted = frozenset(names)
    in_text = wanted if given is None else wanted | {given}
    gone = [_holds(text, in_text if text.startswith('"') else wanted) for text in quarantine["row"]]
    return quarantine.loc[[not one for one in gone]].reset_index(drop=True)


def annotators_in(data: bytes, name: str) -> set[str]:
    """The annotators that a batch file names."""
    read = (
        read_parquet if name.lower().endswith(".parquet") else read_csv if name.lower().endswith(".csv") else read_jsonl
    )
    return {str(cells.get("annotator_id")) for cells in read(data, name).cells}


def annotators_in_quarantine(quarantine: pd.DataFrame) -> set[str]:
    """The annotators that a quarantine names in rows that could be taken apart."""
    return {name for text in quarantine["row"] for name in answered_in(json.loads(text))}


def _from_lines(data: bytes, wanted: frozenset[str], is_theirs: Callable[[str], bool], n_header: int) -> Remaining:
    lines = data.splitlines(keepends=True) if b"\r" not in data else _split(data)
    kept, n_removed = lines[:n_header], 0
    for line in lines[n_header:]:
        try:
            gone = is_theirs(line.decode("utf-8").removeprefix("\ufeff").rstrip("\r\n"))
        except (UnicodeDecodeError, ValueError, RecursionError, csv.Error):
            gone = _holds(line.decode("utf-8", "backslashreplace"), wanted)
        n_removed += gone
        kept += [] if gone else [line]
    is_empty = not b"".join(kept[n_header:]).strip()
    return Remaining(None if is_empty and n_removed else b"".join(kept), n_removed)


def _split(data: bytes) -> list[bytes]:
    r"""Lines that end at `\n` only, as the reader of batch files splits them."""
    return [line + b"\n" for line in data.split(b"\n")[:-1]] + ([data.split(b"\n")[-1]] if data[-1:] != b"\n" else [])


def _json_test(wanted: frozenset[str]) -> Callable[[str], bool]:
    def is_theirs(line: str) -> bool:
        if not line.strip():
            return False
        row = json.loads(line)
        if not isinstance(row, dict):
            raise ValueError(line)
        return row.get("annotator_id") in wanted if isinstance(row.get("annotator_id"), str) else False

    return is_theirs


def _from_csv(data: bytes, name: str, wanted: frozenset[str]) -> Remaining:
    header = read_csv(data, name).columns or ()
    column = header.index("annotator_id") if "annotator_id" in header else None

    def is_theirs(line: str) -> bool:
        cells = next(csv.reader([line], strict=True), [])
        if column is None or len(cells) != len(header):
            raise ValueError(line)
        return cells[column] in wanted

    return _from_lines(data, wanted, is_theirs, n_header=1)


def _from_parquet(data: bytes, name: str, wanted: frozenset[str]) -> Remaining:
    import pyarrow as pa
    import pyarrow.parquet as pq

    read_parquet(data, name)  # refuses what is not whole
    table = pq.ParquetFile(io.BytesIO(data)).read()
    if "annotator_id" not in table.column_names:
        return Remaining(data, 0)
    is_kept = [str(value) not in wanted for value in table.column("annotator_id").to_pylist()]
    kept = table.filter(pa.array(is_kept, pa.bool_()))
    if kept.num_rows == table.num_rows:
        return Remaining(data, 0)
    buffer = io.BytesIO()
    pq.write_table(kept, buffer)
    return Remaining(buffer.getvalue() if kept.num_rows else None, table.num_rows - kept.num_rows)


def _holds(text: str, wanted: frozenset[str]) -> bool:
    """Whether a text has one of the names between characters that cannot be part of a name."""
    for name in wanted:
        start = text.find(name)
        while start >= 0:
            around = text[max(start - 1, 0) : start] + text[start + len(name) : start + len(name) + 1]
            if not any(character.isalnum() or character in "_-" for character in around):
                return True
            start = text.find(name, start + 1)
    return False
