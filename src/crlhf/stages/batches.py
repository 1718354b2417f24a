"""Collected batch files: immutable, numbered, and written down in a ledger that nobody can change unnoticed.

A batch is a JSON lines file `data/annotations/<number>-<name>.jsonl` under the contract of `docs/raw-table.md`. It is
written whole or not at all, and never over another file; a number is never used twice, not even after its file is gone.

The ledger `data/annotations/batches.ledger` has one JSON object a line, an event each: a batch was `written`, or rows
were `forgotten`. Every event holds the SHA-256 of the line before it (`previous`), so no earlier line can be changed
without breaking the chain, and the SHA-256 of every file it wrote, so a changed batch is found out. A batch whose
writer died between the file and its event is whole and counts; it is merely not listed. Files that people put into the
folder by hand need no event.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from crlhf.annotations.raw_files import REQUIRED
from crlhf.errors import InputError, IntegrityError
from crlhf.schema import ANNOTATIONS
from crlhf.store import atomic_write, fsync_folder, held

FOLDER = "data/annotations"
LEDGER = f"{FOLDER}/batches.ledger"
FORGOTTEN = f"{FOLDER}/forgotten.txt"
"""One line for each time that rows were forgotten: what makes DVC read the batches of closed rounds again."""
FIRST = "0" * 64
"""What the first event of a ledger holds as `previous`."""

_NUMBERED = re.compile(r"(\d{4,})-.+")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_SET_BY_THE_READER = ("source_file", "source_row")


def write_batch(
    root: Path,
    rows: Iterable[Mapping[str, Any]],
    source: str,
    *,
    name: str | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Path:
    """Write `rows` as the next batch of the project at `root` and return its path.

    Safe to call from several processes at once, and to kill at any time: the folder then holds the whole batch or
    nothing of it.

    Args:
        root: the project's folder.
        rows: one mapping a verdict, with the columns of `schema.ANNOTATIONS`. Those of `raw_files.REQUIRED` must be
            there; a missing `batch_id` becomes the batch's own name, a missing `source` becomes `source`; `source_file`
            and `source_row` are left out, the reader sets them.
        source: the tool or page that the rows came from, for example `page` or `label_studio`.
        name: the batch file's name after its number, by default `source`: letters, digits, `_`, `.`, `-`.
        facts: more for the ledger, for example the hashes of the files that were imported.

    Raises:
        InputError: there are no rows, or the name has other characters.
        IntegrityError: a row lacks a required column or has one that is not known, a value is not JSON, or the ledger's
            chain is broken.
    """
    label = source if name is None else name
    if not _NAME.fullmatch(label):
        raise InputError(f"{label!r}: the name of a batch is 1 to 64 letters, digits, '_', '.' or '-'")
    with batches_locked(root) as folder:
        events = read_ledger(root)
        stem = f"{_next_number(folder, events):04d}-{label}"
        content = b"".join(_line(row, position, source, stem) for position, row in enumerate(rows, 1))
        if not content:
            raise InputError(f"{FOLDER}: a batch needs at least one row; nothing was written")
        path = folder / f"{stem}.jsonl"
        _write_new(path, content)
        written = {"file": path.name, "sha256": hashlib.sha256(content).hexdigest(), "n_rows": content.count(b"\n")}
        append_event(root, {"event": "written", "source": source, **written, **(facts or {})})
    return path


@contextmanager
def batches_locked(root: Path) -> Iterator[Path]:
    """Hold the batch folder (made if need be) against every other writer on this machine."""
    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with held(root, "batches"):
        yield folder


def read_ledger(root: Path) -> list[dict[str, Any]]:
    """The events of the ledger, oldest first; none where there is no ledger yet.

    Raises:
        IntegrityError: a line is not an event, or does not hold the hash of the line before it.
    """
    path = root / LEDGER
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    events: list[dict[str, Any]] = []
    previous = FIRST
    for line_no, line in enumerate(lines, 1):
        try:
            event = json.loads(line)
            is_next = event["previous"] == previous
        except (ValueError, TypeError, KeyError):
            raise IntegrityError(f"{LEDGER}: line {line_no} is not an event; restore the file from a copy") from None
        if not is_next:
            raise IntegrityError(
                f"{LEDGER}: line {line_no} does not follow from the line before it: the ledger was changed by hand; "
                "restore the file from a copy"
            )
        events.append(event)
        previous = hashlib.sha256(line).hexdigest()
    return events


def append_event(root: Path, event: Mapping[str, Any]) -> None:
    """Add an event to the ledger, with its time and the hash of the line before it; hold `batches_locked`."""
    path = root / LEDGER
    old = path.read_bytes() if path.exists() else b""
    lines = old.splitlines(keepends=True)
    previous = hashlib.sha256(lines[-1]).hexdigest() if lines else FIRST
    at = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    line = json.dumps({**event, "at": at, "previous": previous}, ensure_ascii=False, allow_nan=False)
    with atomic_write(path) as file:
        file.write(old + line.encode() + b"\n")


def changed_batches(root: Path) -> list[str]:
    """One sentence for each batch that is not as the ledger says: changed, or gone.

    Raises:
        IntegrityError: the ledger's chain is broken.
    """
    expected: dict[str, str | None] = {}
    for event in read_ledger(root):
        for written in event.get("files", [event]):
            expected[written["file"]] = written["sha256"]
    found = []
    for name, sha256 in expected.items():
        path = root / FOLDER / name
        if not path.exists():
            found += [f"{path.relative_to(root)}: the batch is gone"] if sha256 is not None else []
        elif hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
            found.append(f"{path.relative_to(root)}: the batch is not as it was written; restore it from a copy")
    return found


def _next_number(folder: Path, events: Sequence[Mapping[str, Any]]) -> int:
    names = [path.name for path in folder.iterdir()] + [str(event.get("file", "")) for event in events]
    return 1 + max((int(match[1]) for name in names if (match := _NUMBERED.fullmatch(name))), default=0)


def _line(row: Mapping[str, Any], position: int, source: str, stem: str) -> bytes:
    """One row as a line of JSON: the declared columns in the declared order."""
    whole = {"batch_id": stem, "source": source, **row}
    unknown = sorted(set(whole) - set(ANNOTATIONS.column_names))
    missing = [column for column in REQUIRED if whole.get(column) is None]
    if unknown or missing:
        raise IntegrityError(f"row {position} of a new batch: columns not known {unknown}, without a value {missing}")
    cells = {
        column: whole[column]
        for column in ANNOTATIONS.column_names
        if column in whole and column not in _SET_BY_THE_READER
    }
    try:
        return json.dumps(cells, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    except (TypeError, ValueError) as error:
        raise IntegrityError(f"row {position} of a new batch cannot be written as JSON: {error}") from None


def _write_new(path: Path, content: bytes) -> None:
    """Write a file that must not be there yet: whole, flushed to disk, or not at all."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        with atomic_write(temporary) as file:
            file.write(content)
        os.link(temporary, path)
        fsync_folder(path.parent)
    except FileExistsError:
        raise IntegrityError(f"{path}: there is such a batch already; batches are never written over") from None
    finally:
        temporary.unlink(missing_ok=True)
