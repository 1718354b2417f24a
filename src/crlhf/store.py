"""Atomic reading and writing of the pipeline's tables and files; the only core module that knows paths.

Every write goes to a temporary file beside its target, is flushed to disk (fsync) and renamed: a reader sees the old
file or the new one, never a half. Bytes depend on content only, so equal tables have equal hashes.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from crlhf.errors import DiskFullError, IntegrityError, MissingInputError
from crlhf.schema import TABLES, Column, Table

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

TABLE_PATHS: dict[str, str] = {
    "problems": "data/tables/problems.parquet",
    "completions": "data/rounds/{round}/completions.parquet",
    "items": "data/rounds/{round}/items.parquet",
    "line_truths": "data/rounds/{round}/line_truths.parquet",
    "annotations": "data/rounds/{round}/annotations.parquet",
    "unreadable": "data/rounds/{round}/unreadable.parquet",
    "validated": "data/rounds/{round}/validated.parquet",
    "quarantine": "data/rounds/{round}/quarantine.parquet",
    "reliabilities": "data/rounds/{round}/reliabilities.parquet",
    "known_reliabilities": "data/rounds/{round}/crowd/reliabilities.parquet",
    "known_items": "data/rounds/{round}/crowd/items.parquet",
    "known_verdicts": "data/rounds/{round}/crowd/verdicts.parquet",
    "line_posteriors": "data/rounds/{round}/line_posteriors.parquet",
    "scores": "data/rounds/{round}/scores.parquet",
    "ppo_steps": "data/rounds/{round}/ppo_steps.parquet",
    "humaneval": "data/tables/humaneval/{round}.parquet",
    "mbpp": "data/tables/mbpp/{round}.parquet",
    "sql": "data/tables/sql/{round}.parquet",
}
"""Where each table lies below the project's root; `{round}` is a round's name, and that of the policy it trained.

Some tables share a schema: see `table_schema`.
"""

_SHARED = {
    "unreadable": "quarantine",
    "known_reliabilities": "reliabilities",
    "known_items": "items",
    "known_verdicts": "validated",
    "humaneval": "benchmark_samples",
    "mbpp": "benchmark_samples",
    "sql": "benchmark_samples",
}


def table_schema(name: str) -> Table:
    """The declared schema of the table called `name` in `TABLE_PATHS`."""
    return next(table for table in TABLES if table.name == _SHARED.get(name, name))


@contextmanager
def atomic_write(path: Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a temporary file beside `path`; on success fsync and rename it to `path`, on any error remove it.

    Raises:
        DiskFullError: the disk has no room; what stood at `path` before is untouched.
        OSError: `path` is a folder, or may not be written; its `filename` is `path`.
    """
    if path.is_dir():
        raise _refusal(errno.EISDIR, path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except FileNotFoundError:  # of what is about to be made: the system makes nothing there, as in /proc
        raise _refusal(errno.EACCES, path.parent) from None
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open(
            mode, encoding=None if "b" in mode else "utf-8", newline=None if "b" in mode else ""
        ) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        fsync_folder(path.parent)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(
                f"{path}: no space left on the disk; free some and run again, nothing was lost"
            ) from None
        if error.errno is not None and error.filename == str(temporary):
            raise _refusal(errno.EACCES if error.errno == errno.ENOENT else error.errno, path) from error
        raise
    finally:
        with suppress(OSError):
            temporary.unlink()


class _RehearsalError(Exception):
    """Leaves `atomic_write` before anything is put in place."""


def require_writable(path: Path) -> None:
    """Raise at once what `atomic_write` would raise after long work."""
    with suppress(_RehearsalError), atomic_write(path):
        raise _RehearsalError


def _refusal(number: int, path: Path) -> OSError:
    return OSError(number, os.strerror(number), str(path))


@contextmanager
def held(root: Path, name: str) -> Iterator[None]:
    """Hold the project's lock `name` against all other processes of this machine; it is free again when ours ends."""
    lock = root / ".crlhf" / f"{name}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def fsync_folder(folder: Path) -> None:
    """Flush the folder's entry for a renamed file, where the system allows it."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)


def json_records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """One dict a row, None for what is missing."""
    import pandas as pd

    rows = frame.to_dict("records")
    return [{str(name): None if pd.isna(value) else value for name, value in row.items()} for row in rows]


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON: sorted keys, two spaces, a final newline; NaN and infinity are refused."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    with atomic_write(path, "w") as file:
        file.write(text + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        MissingInputError: there is no such file.
        IntegrityError: it is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MissingInputError(f"{path}: no such file") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise IntegrityError(f"{path}: not JSON: {error}") from None


class Store:
    """The pipeline's tables below one root folder.

    Attributes:
        root: the project's folder, absolute.
        round: the round whose tables are read and written where no other is named; None for tables of no round.
    """

    def __init__(self, root: Path, round_name: str | None = None) -> None:
        self.root = root.resolve()
        self.round = round_name

    def path(self, relative: str) -> Path:
        """The absolute path of `relative`, a path below the root."""
        return self.root / relative

    def table_path(self, name: str, round_name: str | None = None) -> Path:
        """The absolute path of the table called `name`, of that round or else of the store's own.

        Raises:
            ValueError: the table is one of a round, and no round is named.
        """
        template, one = TABLE_PATHS[name], round_name or self.round
        if one is None and "{round}" in template:
            raise ValueError(f"{name} is a table of a round: name the round")
        return self.path(template.format(round=one))

    def has(self, name: str, round_name: str | None = None) -> bool:
        """True when the table called `name` has been made."""
        return self.table_path(name, round_name).exists()

    def read(self, name: str, round_name: str | None = None) -> pd.DataFrame:
        """Read the table called `name`, of that round or else of the store's own, and check it against its schema.

        Raises:
            MissingInputError: the table has not been made yet; the message names the file.
            IntegrityError: the file is damaged or has another schema.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.table_path(name, round_name)
        if not path.exists():
            raise MissingInputError(f"{path}: no such file; run the stage that makes it, or `dvc repro`")
        try:
            table = pq.read_table(path)
        except (pa.ArrowInvalid, OSError) as error:
            raise IntegrityError(f"{path}: not a whole Parquet file: {error}") from None
        expected = arrow_schema(table_schema(name))
        if not table.schema.remove_metadata().equals(expected.remove_metadata()):
            raise IntegrityError(
                f"{path}: columns {table.schema.names} are not those of the table {name}; run its stage again"
            )
        return _to_pandas(table)

    def write(self, name: str, frame: pd.DataFrame) -> Path:
        """Write `frame` as the table called `name`: the declared columns in the declared order, rows as they come.

        Raises:
            IntegrityError: a column is missing, has another type, holds a null where none may be, or the key repeats.
        """
        path = self.table_path(name)
        write_table(path, table_schema(name), frame)
        return path


def write_table(path: Path, table: Table, frame: pd.DataFrame) -> None:
    """Write `frame` to `path` as Parquet under the schema of `table`; raises IntegrityError as `Store.write` does."""
    import pyarrow.parquet as pq

    arrow = to_arrow(table, frame)
    with atomic_write(path) as file:
        pq.write_table(arrow, file, compression="zstd", store_schema=False, version="2.6")


def to_arrow(table: Table, frame: pd.DataFrame) -> pa.Table:
    """Turn `frame` into an Arrow table of exactly the schema of `table`; raises IntegrityError where it cannot."""
    import pyarrow as pa

    missing = [name for name in table.column_names if name not in frame.columns]
    extra = [name for name in frame.columns if name not in table.column_names]
    if missing or extra:
        raise IntegrityError(f"table {table.name}: columns missing {missing}, not declared {extra}")
    arrays = []
    for column in table.columns:
        try:
            array = pa.array(frame[column.name].tolist(), type=_arrow_type(column), from_pandas=True)
        except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError, OverflowError) as error:
            raise IntegrityError(f"table {table.name}, column {column.name}: {error}") from None
        if array.null_count and not column.nullable:
            raise IntegrityError(
                f"table {table.name}, column {column.name}: {array.null_count} nulls where none may be"
            )
        arrays.append(array)
    repeated = frame.duplicated(list(table.key)) if len(frame) else None
    if repeated is not None and repeated.any():
        first = frame.loc[repeated, list(table.key)].iloc[0].to_dict()
        raise IntegrityError(f"table {table.name}: {int(repeated.sum())} rows repeat a key, the first is {first}")
    return pa.Table.from_arrays(arrays, schema=arrow_schema(table))


def arrow_schema(table: Table) -> pa.Schema:
    """The Arrow schema of `table`."""
    import pyarrow as pa

    return pa.schema([pa.field(column.name, _arrow_type(column), column.nullable) for column in table.columns])


def _arrow_type(column: Column) -> pa.DataType:
    import pyarrow as pa

    simple = {
        "string": pa.string(),
        "int64": pa.int64(),
        "float64": pa.float64(),
        "bool": pa.bool_(),
        "list<string>": pa.list_(pa.field("element", pa.string())),
        "list<int64>": pa.list_(pa.field("element", pa.int64())),
        "list<float32>": pa.list_(pa.field("element", pa.float32())),
    }
    return simple[column.dtype]


def _to_pandas(table: pa.Table) -> pd.DataFrame:
    """Arrow to pandas; list columns become Python lists (or None), everything else its natural dtype."""
    import pyarrow as pa

    frame: pd.DataFrame = table.to_pandas()
    for field in table.schema:
        if pa.types.is_list(field.type):
            frame[field.name] = table.column(field.name).to_pylist()
    return frame


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of `frame` as dicts, in their order."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


class Journal:
    """Finished pieces of long work, kept across Ctrl-C and kill -9.

    A journal is a file of JSON lines, each handed to the system before `append` returns. It belongs to one `key` (a
    hash of everything the work depends on); opened with another key it starts anew. A last line that was cut is
    dropped.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path = path
        self.key = key
        self.entries: dict[str, Any] = {}
        self._load()

    def _load(self) -> None:
        whole: list[str] = []
        if self.path.exists():
            for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
                if not line.endswith("\n"):
                    break
                try:
                    entry = json.loads(line)
                except ValueError:
                    break
                if not whole and entry != {"key": self.key}:
                    break
                if whole:
                    self.entries[entry["name"]] = entry["value"]
                whole.append(line)
        with atomic_write(self.path, "w") as file:
            file.write("".join(whole) or json.dumps({"key": self.key}) + "\n")

    def append(self, name: str, value: Any, *, is_cheap: bool = False) -> None:
        """Keep `value` (anything JSON holds) as the finished piece `name`.

        A kill takes nothing; a loss of power takes the last pieces that are cheap to make again (`is_cheap`), for
        which the disk is not waited for.
        """
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"name": name, "value": value}) + "\n")
            file.flush()
            if not is_cheap:
                os.fsync(file.fileno())
        self.entries[name] = value

    def finish(self) -> None:
        """Remove the journal: the work it served is written whole elsewhere."""
        self.path.unlink(missing_ok=True)
