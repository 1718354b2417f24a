"""Collected verdicts by rounds: which rows belong to a round, whether it has enough, and the event that closes it.

A round of people is open from when its items are made until every completion has the verdicts it needs. Then it is
closed by an event in the ledger of the batch files: `{"event": "closed", "round": "r1", "items_sha256": ...,
"files": [...]}`. The batches that the event lists are the round's, for ever: run again, the stage reads the same ones.

A row counts in the first closed round that lists its file, and only in the round of its completion or a later one: what
comes late for round r joins round r + 1. The event belongs to the items it names; new items open the round anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from crlhf.errors import IntegrityError, MissingInputError, ParamsError, WaitingError
from crlhf.fetch import sha256_file
from crlhf.params import Params, load_params
from crlhf.stages import BASE
from crlhf.stages.batches import FOLDER, append_event, batches_locked, changed_batches, read_ledger
from crlhf.stages.crowd_record import joined, read_record
from crlhf.store import Store

if TYPE_CHECKING:
    import pandas as pd

BATCH_SUFFIXES = (".jsonl", ".csv", ".parquet")
CLOSED = "closed"


class Progress(NamedTuple):
    """How far the crowd of a round is: of `n` completions `n_done` have `k` verdicts, from as many annotators."""

    n_done: int
    n: int
    k: int

    @property
    def is_enough(self) -> bool:
        """True when every completion has its verdicts."""
        return self.n_done == self.n

    def __str__(self) -> str:
        return f"{self.n_done} of {self.n} completions have the {self.k} verdicts they need"


class Collected(NamedTuple):
    """The rows that count in a round, late ones of earlier rounds among them, and the rows that cannot be read.

    `annotations` is under ANNOTATIONS, `unreadable` under QUARANTINE, `files` are the batches they came from.
    """

    annotations: pd.DataFrame
    unreadable: pd.DataFrame
    files: tuple[Path, ...]


def collect(store: Store, params: Params) -> Collected:
    """The rows of the store's round, which is closed now if it has enough and was not closed before.

    Raises:
        WaitingError: some completion lacks verdicts; nothing was written.
        IntegrityError: a batch is not as the ledger says.
        InputError: a batch file is unusable as a whole.
    """
    assert store.round
    _require_unchanged(store.root)
    event = closing(store)
    if event is not None:
        listed = [store.path(f"{FOLDER}/{entry['file']}") for entry in event["files"]]
        return _read(store, params, [path for path in listed if path.exists()])  # one may have been forgotten whole
    files = batch_files(store.root)
    collected = _read(store, params, files)
    progress = _progress(store, params, collected)
    if not progress.is_enough:
        raise WaitingError(
            f"round {store.round}: waiting: {progress}; run again when more batches are in {FOLDER} "
            f"(`crlhf close {store.round}` goes on with what is there)"
        )
    _close(store, files, progress)
    return collected


def closing(store: Store, round_name: str | None = None) -> dict[str, Any] | None:
    """The event that closed a round (the store's own by default) on its present items; None while it is open."""
    name = round_name or store.round
    if not store.has("items", name):
        return None
    items = sha256_file(store.table_path("items", name))
    events = read_ledger(store.root)
    return next((e for e in reversed(events) if _closes(e, name) and e["items_sha256"] == items), None)


def progress_of(root: Path, round_name: str) -> Progress:
    """How far the crowd of a round is.

    Raises:
        MissingInputError: the round has no items yet.
    """
    store, params = Store(root, round_name), load_params(root / "params.yaml")
    return _progress(store, params, _read(store, params, batch_files(root)))


def close_round(root: Path, round_name: str) -> Progress:
    """Close a round by hand with the verdicts that are there; a round that is closed stays as it is.

    Raises:
        MissingInputError: the round has no items yet, or no verdict at all.
    """
    if round_name not in load_params(root / "params.yaml").rounds:
        raise ParamsError(f"params.yaml has no round {round_name}")
    store = Store(root, round_name)
    _require_unchanged(root)
    progress = progress_of(root, round_name)
    if closing(store) is None:
        files = batch_files(root)
        if not files:
            raise MissingInputError(f"{root / FOLDER}: no batch file, so round {round_name} cannot be closed")
        _close(store, files, progress)
    return progress


def batch_files(root: Path) -> tuple[Path, ...]:
    """The batch files that are there now, by name."""
    folder = root / FOLDER
    return tuple(sorted(path for path in folder.iterdir() if path.suffix in BATCH_SUFFIXES)) if folder.is_dir() else ()


def awaited_rounds(root: Path) -> list[str]:
    """Rounds of a project that collects whose items are made and which are not closed on them, or not annotated yet.

    An annotations table of another crowd, or of other programs, does not make a round one that no longer waits.
    """
    params, store = load_params(root / "params.yaml"), Store(root)
    if params.crowd.source != "collected":
        return []
    made = [name for name in params.rounds if store.has("items", name)]
    return [name for name in made if closing(store, name) is None or not store.has("annotations", name)]


def is_ready(root: Path, round_name: str) -> bool:
    """True when the stage `annotations` of the round would go on."""
    return closing(Store(root, round_name)) is not None or progress_of(root, round_name).is_enough


def state_of_files(root: Path, round_name: str) -> str:
    """16 hex digits that change when a batch, the ledger, the round's items or the number of verdicts it needs does."""
    paths = [*sorted((root / FOLDER).glob("*")), Store(root).table_path("items", round_name)]
    stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in paths if path.exists()]
    needed = load_params(root / "params.yaml").crowd.verdicts_per_completion
    return hashlib.sha256(repr((stats, needed)).encode()).hexdigest()[:16]


def _read(store: Store, params: Params, files: tuple[Path, ...] | list[Path]) -> Collected:
    """The rows of the files that have not counted in an earlier round."""
    from crlhf.annotations.raw_files import read_batches

    assert store.round
    read = read_batches(files)
    own = store.read("items")["completion_id"]
    old_files = _files_before(store, params)
    is_fresh = ~read.annotations["source_file"].isin(old_files) | read.annotations["completion_id"].isin(own)
    fresh = read.annotations[is_fresh].reset_index(drop=True)
    unreadable = read.quarantine[~read.quarantine["source_file"].isin(old_files)].reset_index(drop=True)
    return Collected(fresh, unreadable, tuple(files))


def _files_before(store: Store, params: Params) -> set[str]:
    """Names of the batches that rounds before this one have counted."""
    assert store.round
    names: set[str] = set()
    events, name = read_ledger(store.root), params.rounds[store.round].prev
    while name != BASE:
        newest = next((e for e in reversed(events) if _closes(e, name)), None)
        names |= {entry["file"] for entry in newest["files"]} if newest else set()
        name = params.rounds[name].prev
    return names


def _progress(store: Store, params: Params, collected: Collected) -> Progress:
    from crlhf.annotations.rules import split_rows

    assert store.round
    items, k = store.read("items"), params.crowd.verdicts_per_completion
    earlier = read_record(store, params.rounds[store.round].prev).items
    good = split_rows(collected.annotations, joined(earlier, items), unread=collected.unreadable).good
    n_annotators = good.groupby("completion_id")["annotator_id"].nunique()
    completions = items.loc[~items["is_honeypot"].astype(bool), "completion_id"]
    n_done = int((completions.map(n_annotators).fillna(0) >= k).sum())
    return Progress(n_done, len(completions), k)


def _close(store: Store, files: tuple[Path, ...], progress: Progress) -> None:
    with batches_locked(store.root):
        listed = [{"file": path.name, "sha256": sha256_file(path)} for path in files]
        items = sha256_file(store.table_path("items"))
        about = {"event": CLOSED, "round": store.round, "items_sha256": items, **progress._asdict()}
        append_event(store.root, {**about, "files": listed})


def _closes(event: Mapping[str, Any], round_name: str | None) -> bool:
    return bool(event.get("event") == CLOSED and event.get("round") == round_name)


def _require_unchanged(root: Path) -> None:
    if found := changed_batches(root):
        raise IntegrityError("; ".join(found))
