"""Collected batch files, read into the raw table; rows that cannot be read go to the quarantine, none is lost.

The columns are those of `schema.ANNOTATIONS`. A file must have the columns of REQUIRED; the others have the defaults of
DEFAULTS. `source_file` and `source_row` are set here to the batch file's own name and row, whatever the file says.
A file that lacks a required column in every row, or has a column that is not known, is refused whole: a wrong column is
one mistake, not thousands. Whether the values make sense is asked by `rules`, against the completions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from crlhf.annotations.quarantine import Fault, n_rows, quarantine_frame, row_json
from crlhf.annotations.raw_formats import RawRows, read_csv, read_jsonl, read_parquet
from crlhf.annotations.raw_values import ValueFault, converter
from crlhf.errors import InputError, MissingInputError
from crlhf.schema import ANNOTATIONS, Column

if TYPE_CHECKING:
    import pandas as pd

REQUIRED: tuple[str, ...] = (
    "problem_id",
    "completion_id",
    "code_sha256",
    "annotator_id",
    "line_no",
    "verdict",
    "is_honeypot",
    "submitted_at",
    "duration_s",
)
"""Columns that every batch file must have: without one of them a verdict cannot be trusted or placed."""

DEFAULTS: dict[str, str] = {"error_type": "", "status": "unknown", "started_at": "", "source": "collected"}
"""What an absent column, a null or an empty CSV cell of the other columns means; `batch_id` becomes the file's name."""

FORMATS: dict[str, Callable[[bytes, str], RawRows]] = {
    ".jsonl": read_jsonl,
    ".csv": read_csv,
    ".parquet": read_parquet,
}
"""The readers, by the ending of the file's name."""

_POSITION = ("source_file", "source_row")
_PANDAS: dict[str, Any] = {"string": "object", "int64": "int64", "float64": "float64", "bool": "bool"}


class ReadBatches(NamedTuple):
    """What the batch files held: `n_rows` is the good rows plus the distinct rows of the quarantine.

    `annotations` is under the schema ANNOTATIONS, `quarantine` under QUARANTINE; both in order of file and row.
    """

    annotations: pd.DataFrame
    quarantine: pd.DataFrame
    n_rows: int


def read_batches(paths: Sequence[Path]) -> ReadBatches:
    """Read batch files (.jsonl, .csv, .parquet) into one raw table, in order of their names.

    Files are called by their names in `source_file`; where two names are equal, by as much of their folders as tells
    them apart. Rows that cannot be read are quarantined with the rule that they break. No path gives empty tables.

    Raises:
        MissingInputError: there is no such file.
        InputError: a file is unusable as a whole (empty, of no known form, cut Parquet, wrong columns) or given twice.
    """
    import pandas as pd

    frames: list[pd.DataFrame] = []
    faults: list[Fault] = []
    for name, path in sorted(_names(paths).items()):
        rows = _take_apart(path, name)
        _require_columns(rows, name)
        faults += [Fault(name, row_no, rule, reason, row_json(text)) for row_no, rule, reason, text in rows.broken]
        frame, wrong = _typed(rows, name)
        frames.append(frame)
        faults += wrong
    annotations = pd.concat(frames, ignore_index=True) if frames else _typed(_NOTHING, "")[0]
    quarantine = quarantine_frame(faults)
    return ReadBatches(annotations, quarantine, len(annotations) + n_rows(quarantine))


_NOTHING = RawRows((), [], [], [], is_text=False)


def _names(paths: Sequence[Path]) -> dict[str, Path]:
    """The shortest ends of the paths that tell them apart, each with its path."""
    whole = [path.resolve() for path in paths]
    twice = next((path for path in whole if whole.count(path) > 1), None)
    if twice is not None:
        raise InputError(f"{twice.name}: the file is given twice; its rows would count twice")
    depth = dict.fromkeys(whole, 1)
    while True:
        names = {path: Path(*path.parts[-depth[path] :]).as_posix() for path in whole}
        alike = [path for path in whole if list(names.values()).count(names[path]) > 1]
        if not alike:
            return {names[path]: path for path in whole}
        for path in alike:
            depth[path] += 1


def _take_apart(path: Path, name: str) -> RawRows:
    reader = FORMATS.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{name}: no known form of batch file; its name must end in {', '.join(FORMATS)}")
    return reader(read_whole(path, name), name)


def read_whole(path: Path, name: str) -> bytes:
    """The bytes of a file that a user gave.

    Raises:
        MissingInputError: there is no such file.
        InputError: it cannot be read, is empty, or is UTF-16 text; the message calls it `name`.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise MissingInputError(f"{name}: no such file ({path})") from None
    except OSError as error:
        raise InputError(f"{name}: cannot be read: {error.strerror}") from None
    if not data.removeprefix(b"\xef\xbb\xbf").strip():
        raise InputError(f"{name}: the file is empty; fetch it again, or remove it if nothing was collected")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError(f"{name}: the file is UTF-16 text; save it as UTF-8")
    return data


def _require_columns(rows: RawRows, name: str) -> None:
    """Refuse a file that as a whole has the wrong columns.

    A JSONL file declares no columns: missing there is what no row has, unknown what every row has. A single row that
    differs is left to the quarantine.
    """
    if rows.columns is None and not rows.cells:
        return
    if rows.columns is None:
        some = set().union(*rows.cells)
        every = set(rows.cells[0]).intersection(*rows.cells[1:])
    else:
        some = every = set(rows.columns)
    missing = [column for column in REQUIRED if column not in some]
    unknown = sorted(ascii(column) for column in every if column not in ANNOTATIONS.column_names)
    if missing or unknown:
        parts = [f"these columns are missing: {', '.join(missing)}"] if missing else []
        parts += [f"these columns are not known: {', '.join(unknown)}"] if unknown else []
        raise InputError(f"{name}: {'; '.join(parts)} (known are {', '.join(ANNOTATIONS.column_names)})")


def _typed(rows: RawRows, name: str) -> tuple[pd.DataFrame, list[Fault]]:
    """The rows as the raw table, and the faults of those that do not fit."""
    import pandas as pd

    wrong: list[tuple[int, str, str]] = []  # (index of the row, rule, reason)
    known = set(ANNOTATIONS.column_names)
    for index, cells in enumerate(rows.cells):
        if not cells.keys() <= known:
            unknown = ", ".join(ascii(column) for column in cells if column not in known)
            wrong.append((index, "columns_known", f"the columns {unknown} are not known"))
    values = {
        column.name: _typed_column(column, rows, name, wrong)
        for column in ANNOTATIONS.columns
        if column.name not in _POSITION
    }
    bad = {index for index, _, _ in wrong}
    kept = [index for index in range(len(rows.cells)) if index not in bad]
    values["source_file"] = [name] * len(rows.cells)
    values["source_row"] = rows.row_nos
    frame = pd.DataFrame(
        {
            column.name: pd.Series([values[column.name][index] for index in kept], dtype=_PANDAS[column.dtype])
            for column in ANNOTATIONS.columns
        }
    )
    text = {index: row_json(rows.cells[index]) for index in bad}
    return frame, [Fault(name, rows.row_nos[index], rule, reason, text[index]) for index, rule, reason in wrong]


def _typed_column(column: Column, rows: RawRows, name: str, wrong: list[tuple[int, str, str]]) -> list[Any]:
    """One column's values; a value that does not fit is None, and its fault is added to `wrong`."""
    convert = converter(column.dtype, rows.is_text)
    default = name if column.name == "batch_id" else DEFAULTS.get(column.name)
    empty_is_absent = rows.is_text and (default is not None or column.dtype != "string")
    values: list[Any] = []
    for index, cells in enumerate(rows.cells):
        value = cells.get(column.name)
        if value is None or (empty_is_absent and value == ""):
            if default is None:
                wrong.append((index, "values_present", f"{column.name} has no value"))
            values.append(default)
            continue
        try:
            values.append(convert(value))
        except ValueFault as fault:
            wrong.append((index, fault.rule, f"{column.name}: {fault}"))
            values.append(None)
    return values
