"""The verb `forget`: everything that raw data holds of one annotator goes, and the ledger says so.

The event comes first, with the hashes that the files will have, then a line in `forgotten.txt`, on which every round
depends, then the files: who is interrupted runs the command again. The ledger keeps the pseudonym of a forgotten
annotator, and `import` leaves that annotator's answers out for ever; the name itself is kept nowhere.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from crlhf.annotations.pseudonyms import Pseudonyms, is_pseudonym
from crlhf.errors import InputError, MissingInputError
from crlhf.fetch import sha256_file
from crlhf.stages import BASE
from crlhf.stages.annotator_key import key_path, lost_key, read_key
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
        MissingInputError: raw data holds no such annotator, or an id in a tool is given and the project's key is lost.
        InputError: annotators of several tools have this id, or there is no such tool; the message names the tools.
        IntegrityError: the ledger's chain is broken.
    """
    from crlhf.annotations.importers import IMPORTERS

    if not annotator.strip():
        raise InputError("an annotator has a name; give the pseudonym, or the id in the tool")
    sources = sorted({importer.source for importer in IMPORTERS})
    if source is not None and source not in sources:
        raise InputError(f"{source!r} is no known source; choose one of {', '.join(sources)}")
    if not [*batch_files(root), *_quarantines(root), *_of_earlier_projects(root)]:
        raise _nobody(annotator)  # before the locks make their folders: this may be no project at all
    with imports_locked(root), batches_locked(root):
        lost = lost_key(root)
        names = _names_of(root, annotator, sources if source is None else [source], lost)
        batches = _batch_changes(root, names)
        tables = [*_quarantine_changes(root, names, annotator), *_earlier_changes(root, names)]
        if not batches and not tables:
            raise _nobody(annotator)
        remembered = _remembered(root, names, lost)
        append_event(root, _event(batches, remembered))
        _note(root)
        lines = [_replace(root, path, *remaining) for path, remaining in [*batches, *tables]]
    if not remembered:
        lines.append(f"{lost}, so the ledger cannot remember who this was: do not import these answers again")
    return [*lines, *_still_to_do(root)]


def _nobody(annotator: str) -> MissingInputError:
    return MissingInputError(f"{FOLDER}: no batch and no quarantined row is of the annotator {annotator!r}")


def _names_of(root: Path, annotator: str, sources: list[str], lost: str | None) -> set[str]:
    """The names that the annotator has in raw data: as given, or pseudonyms under the project's key."""
    present = _present(root)
    if len(sources) > 1 and (annotator in present or is_pseudonym(annotator)):
        return {annotator}
    if lost or not key_path(root).exists():
        raise MissingInputError(
            f"{lost or f'{key_path(root)}: there is no key for pseudonyms'}, so nobody can be found by an id in a tool "
            f"({annotator!r}); restore the key, or give the pseudonym (a_...) that the tables have"
        )
    pseudonyms = Pseudonyms(read_key(root))
    found = {one: pseudonyms.of(annotator, one) for one in sources}
    there = {one: name for one, name in found.items() if name in present}
    if len(there) > 1:
        raise InputError(f"annotators of {', '.join(there)} have the id {annotator!r}; say which with --source")
    return set(there.values()) or set(found.values())


def _present(root: Path) -> set[str]:
    """Everybody whom raw data names."""
    import pandas as pd

    from crlhf.annotations.forgetting import annotators_in, annotators_in_quarantine

    batches = [*batch_files(root), *_of_earlier_projects(root)]
    named = [annotators_in(path.read_bytes(), path.name) for path in batches]
    named += [annotators_in_quarantine(pd.read_parquet(path)) for path in _quarantines(root)]
    return set().union(*named)


def _remembered(root: Path, names: set[str], lost: str | None) -> set[str]:
    """What the ledger keeps of the names: the project's pseudonyms of them; without its key what are pseudonyms."""
    ours = {name for name in names if is_pseudonym(name)}
    if lost:
        return ours
    pseudonyms = Pseudonyms(read_key(root))
    return ours | {pseudonyms.of(name, "collected") for name in names}


def _quarantines(root: Path) -> list[Path]:
    return sorted((root / QUARANTINE_FOLDER).glob("*.parquet"))


def _batch_changes(root: Path, names: set[str]) -> list[_Change]:
    from crlhf.annotations.forgetting import forget_in_batch

    found = [_Change(path, forget_in_batch(path.read_bytes(), path.name, names)) for path in batch_files(root)]
    return [change for change in found if change.remaining.n_removed]


def _quarantine_changes(root: Path, names: set[str], annotator: str) -> list[_Change]:
    import io

    import pandas as pd

    from crlhf.annotations.forgetting import Remaining, forget_in_quarantine

    changes = []
    for path in _quarantines(root):
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
