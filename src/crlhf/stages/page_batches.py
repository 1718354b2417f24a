"""What the annotation page gives back to the project: its answers as batches, each exactly once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from crlhf.annotations.pseudonyms import Pseudonyms
from crlhf.stages.annotator_key import lost_key, read_key
from crlhf.stages.batches import FOLDER, append_event, batches_locked, read_ledger, write_batch
from crlhf.store import held

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from crlhf.web.database import Database


def collecting(root: Path) -> AbstractContextManager[None]:
    """Hold what moves answers into batches against every other process on this machine."""
    return held(root, "page-collect")


def collect(root: Path, database: Database, now: float, say: Callable[[str], None]) -> list[Path]:
    """Write what was accepted since the last time as a new batch; the batches that this call made or finished.

    Exactly once, wherever an earlier call was killed: a collection that was claimed is either in the folder under its
    own name, or it is written now.
    """
    from crlhf.web import audit, collection

    written = []
    with collecting(root):
        with database.write() as connection:
            collection.claim(connection, now)
            waiting = collection.unfinished(connection)
        for collection_id in waiting:
            name = f"page-{collection_id}"
            path = _batch_called(root, name)
            if path is not None:
                say(f"collect: {path.name} was written by a call that was interrupted; it counts once")
            else:
                with database.read() as connection:
                    rows = collection.rows_of(connection, collection_id)
                path = write_batch(root, rows, "page", name=name) if rows else None
            with database.write() as connection:
                collection.mark_written(connection, collection_id, path.name if path else "")
                audit.note(connection, now, audit.COMMAND_LINE, "collect", path.name if path else "")
            if path is not None:
                written.append(path)
    return written


def _batch_called(root: Path, name: str) -> Path | None:
    """The batch of that name, in the folder or, if its rows were forgotten since, in the ledger."""
    found = sorted((root / FOLDER).glob(f"*-{name}.jsonl"))
    if found:
        return found[0]
    listed = [str(event.get("file", "")) for event in read_ledger(root)]
    return next((root / FOLDER / file for file in listed if file.endswith(f"-{name}.jsonl")), None)


@contextmanager
def deletion(root: Path, annotator_id: str) -> Iterator[None]:
    """Tell the ledger whom the page deletes, so that no older backup brings them back; hold collections off meanwhile.

    Without the project's key the ledger cannot name anybody; the deletion goes on.
    """
    with collecting(root):
        if not lost_key(root):
            names = [Pseudonyms(read_key(root)).of(annotator_id, "collected")]
            with batches_locked(root):
                append_event(root, {"event": "forgotten", "annotators": names, "n_rows": 0, "files": []})
        yield


class Reconciled(NamedTuple):
    """After a restore: answers that batches hold already, and annotators who had been forgotten and are again."""

    n_known: int
    n_forgotten: int


def restore(
    root: Path, database: Database, file: Path, now: float, *, replace: bool
) -> tuple[dict[str, int], Reconciled]:
    """Put a backup in the place of what the page holds, and bring it up to date, in one transaction.

    A backup is older than what was done after it: collections, deletions on the page, and `crlhf forget`. So answers
    that the page's batches hold are marked as collected, and who was forgotten is forgotten again.

    Raises:
        MissingInputError, IntegrityError, InputError: as `crlhf.web.backups.restore`.
    """
    from crlhf.web import backups

    found: list[Reconciled] = []
    with collecting(root):
        counts = backups.restore(
            database, file, replace=replace, then=lambda connection: found.append(_reconcile(root, connection, now))
        )
    database.scrub()
    return counts, found[0]


def _reconcile(root: Path, connection: Connection, now: float) -> Reconciled:
    from crlhf.web import audit, collection, privacy

    known: set[tuple[str, str, str]] = set()
    for path in sorted((root / FOLDER).glob("*-page-*.jsonl")):
        rows = map(json.loads, path.read_bytes().splitlines())  # of bytes: a text may hold other ends of lines
        known |= {(row["annotator_id"], row["completion_id"], row["submitted_at"]) for row in rows}
    forgotten = [one for one in privacy.annotator_ids(connection) if _is_forgotten(root, one)]
    for annotator_id in forgotten:
        privacy.forget(connection, annotator_id, now, audit.COMMAND_LINE)
    return Reconciled(collection.mark_known(connection, known, "before the restore"), len(forgotten))


def _is_forgotten(root: Path, annotator_id: str) -> bool:
    gone = {name for event in read_ledger(root) if event["event"] == "forgotten" for name in event["annotators"]}
    return bool(gone) and Pseudonyms(read_key(root)).of(annotator_id, "collected") in gone
