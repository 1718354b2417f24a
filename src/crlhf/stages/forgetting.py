"""The verb `forget`: everything that raw data holds of one annotator goes, and the ledger says so.

The event comes first, with the hashes that the files will have, then a line in `forgotten.txt`, on which every round
depends, then the files: who is interrupted runs the command again. The ledger keeps the pseudonym of a forgotten
annotator, and `import` leaves that annotator's answers out for ever; the name itself is kept nowhere.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from crlhf.annotations.pseudonyms import Pseudonyms
from crlhf.errors import InputError, MissingInputError
from crlhf.fetch import sha256_file
from crlhf.stages import BASE
from crlhf.stages.annotator_key import read_key
from crlhf.stages.batches import FOLDER, FORGOTTEN, LEDGER, append_event, batches_locked
from crlhf.stages.collection import batch_files
from crlhf.stages.imports import QUARANTINE_FOLDER, imports_locked
from crlhf.store import Store, atomic_write, fsync_folder

if TYPE_CHECKING:
    from crlhf.annotations.forgetting import Remaining


class _Change(NamedTuple):
    path: Path
    remaining: Remaining


def forget_annotator(root: Path, annotator: str, source: str | None = None) -> list[str]:
    """Remove one annotator from all raw data: lines for a person, with what is still to do.

    Args:
        root: the project's folder.
        annotator: a pseudonym as the tables have it, or the id in the tool that the annotations came from.
        source: the tool, where several have an annotator of this id.

    Raises:
        MissingInputError: raw data holds no such annotator.
        InputError: annotators of several tools have this id; the message names them.
        IntegrityError: the ledger's chain is broken.
    """
    if not annotator.strip():
        raise InputError("an annotator has a name; give the pseudonym, or the id in the tool")
    with imports_locked(root), batches_locked(root):
        pseudonyms = Pseudonyms(read_key(root))
        names = _names_of(root, annotator, source, pseudonyms)
        batches = _batch_changes(root, names)
        tables = [*_quarantine_changes(root, names, annotator), *_earlier_changes(root, names)]
        if not batches and not tables:
            raise MissingInputError(f"{FOLDER}: no batch and no quarantined row is of the annotator {annotator!r}")
        append_event(root, _event(batches, {pseudonyms.of(name, "collected") for name in names}))
        _note(root)
        lines = [_replace(root, path, *remaining) for path, remaining in [*batches, *tables]]
    return [*lines, *_still_to_do(root)]


def _names_of(root: Path, annotator: str, source: str | None, pseudonyms: Pseudonyms) -> set[str]:
    """The names that the annotator has in raw data: as given, or pseudonyms under the project's key."""
    from crlhf.annotations.forgetting import annotators_in
    from crlhf.annotations.importers import IMPORTERS

    present: set[str] = set()
    for path in batch_files(root):
        present |= annotators_in(path.read_bytes(), path.name)
    for path in _of_earlier_projects(root):
        present |= annotators_in(path.read_bytes(), path.name)
    if source is None and (annotator in present or pseudonyms.is_own(annotator)):
        return {annotator}
    sources = sorted({importer.source for importer in IMPORTERS}) if source is None else [source]
    found = {one: pseudonyms.of(annotator, one) for one in sources}
    there = {one: name for one, name in found.items() if name in present}
    if len(there) > 1:
        raise InputError(f"annotators of {', '.join(there)} have the id {annotator!r}; say which with --source")
    return set(there.values()) or set(found.values())


def _batch_changes(root: Path, names: set[str]) -> list[_Change]:
    from crlhf.annotations.forgetting import forget_in_batch

    found = [_Change(path, forget_in_batch(path.read_bytes(), path.name, names)) for path in batch_files(root)]
    return [change for change in found if change.remaining.n_removed]


def _quarantine_changes(root: Path, names: set[str], annotator: str) -> list[_Change]:
    import io

    import pandas as pd

    from crlhf.annotations.forgetting import Remaining, forget_in_quarantine

    folder = root / QUARANTINE_FOLDER
    changes = []
    for path in sorted(folder.glob("*.parquet")) if folder.is_dir() else []:
        before = pd.read_parquet(path)
        after = forget_in_quarantine(before, names, annotator)
        if len(after) < len(before):
            buffer = io.BytesIO()
            after.to_parquet(buffer, index=False)
            data = buffer.getvalue() if len(after) else None
            changes.append(_Change(path, Remaining(data, len(before) - len(after))))
    return changes


def _of_earlier_projects(root: Path) -> list[Path]:
    """What an earlier project knew of its annotators: tables that people put before the first round."""
    store = Store(root, BASE)
    return [store.table_path(name) for name in ("known_reliabilities", "known_verdicts") if store.has(name)]


def _earlier_changes(root: Path, names: set[str]) -> list[_Change]:
    from crlhf.annotations.forgetting import forget_in_batch

    found = [_Change(path, forget_in_batch(path.read_bytes(), path.name, names)) for path in _of_earlier_projects(root)]
    return [change for change in found if change.remaining.n_removed]


def _event(batches: list[_Change], annotators: set[str]) -> dict[str, Any]:
    """What the ledger is told: whose rows went, and the hashes that the batches will have."""
    files = [
        {"file": path.name, "sha256": None if data is None else hashlib.sha256(data).hexdigest()}
        for path, (data, _) in batches
    ]
    n_rows = sum(change.remaining.n_removed for change in batches)
    return {"event": "forgotten", "annotators": sorted(annotators), "n_rows": n_rows, "files": files}


def _note(root: Path) -> None:
    """Add a line to `forgotten.txt`: the hash of the ledger, which is another one after every event."""
    path = root / FORGOTTEN
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    with atomic_write(path, "w") as file:
        file.write(f"{old}{sha256_file(root / LEDGER)}\n")


def _replace(root: Path, path: Path, data: bytes | None, n_removed: int) -> str:
    """Put what remains in the place of a file; a line for a person."""
    told = f"{path.relative_to(root)}: {n_removed} rows removed"
    if data is None:
        path.unlink()
        fsync_folder(path.parent)
        return f"{told}; none was left, so the file is gone"
    with atomic_write(path) as file:
        file.write(data)
    return told


def _still_to_do(root: Path) -> list[str]:
    """What was computed from the annotator, and where older versions of it lie."""
    lines = [
        "",
        "Run again what was computed from these rows (tables, rewards, the tuned policy, the report):",
        "  dvc repro",
        "",
        "Older versions are still in these places; each command removes other old versions as well:",
        "  the DVC cache      dvc gc --workspace --force",
        "  a DVC remote       dvc gc --workspace --cloud --force",
        "  unfinished work    rm -rf .crlhf/partial",
        "  MLflow             mlflow runs delete --run-id ID (each run before today), then",
        "                     mlflow gc --backend-store-uri sqlite:///mlflow.db",
    ]
    if (root / ".git").exists():
        lines += [
            f"  git history        git filter-repo --invert-paths --path {FOLDER}, if batches were ever committed;",
            "                     then add them again, and everybody clones again",
        ]
    return [
        *lines,
        "  the annotation page, if it serves this project, has a database of its own",
        "  your own copies    the tool's exports, files written by `crlhf export`, backups, published policies",
    ]
