"""The verb `import`: annotations from other tools become a batch of the raw table.

Every file is read before anything is written. What is new of it becomes one numbered batch (see `batches`); rows that
are there already are left out, so a file that is imported twice, or an export that holds the last one, adds only what
is new. Bad rows go to `data/quarantine`, with file, row, rule and reason.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from crlhf.annotations.pseudonyms import Pseudonyms
from crlhf.annotations.quarantine import N_SHOWN
from crlhf.annotations.rule_names import CONTENT, COUNTED, LINE
from crlhf.errors import InputError
from crlhf.params import load_params
from crlhf.progress import progress_bar
from crlhf.schema import QUARANTINE
from crlhf.stages.annotator_key import lost_key, read_key
from crlhf.stages.batches import read_ledger, write_batch
from crlhf.stages.collection import batch_files
from crlhf.stages.crowd_record import shown_items
from crlhf.store import Store, atomic_write, held, records, write_table

if TYPE_CHECKING:
    import pandas as pd

    from crlhf.annotations.importers.contract import Importer, Record
    from crlhf.annotations.importers.opened import Opened
    from crlhf.annotations.importers.resolving import Gold, Resolved

QUARANTINE_FOLDER = "data/quarantine"
LARGE_BYTES = 10_000_000
"""Larger files are imported under a progress bar."""
BARE = "crowd_kit"
"""The source of the format that has nothing but verdicts: neither times nor statuses."""
WRITTEN_TOO = ("collected", BARE)
"""Sources of formats that `export` writes: their files may hold this project's own pseudonyms."""


class Options(NamedTuple):
    """What the user asked for.

    Attributes:
        format: an importer's name, or auto.
        quarantine: where bad rows go instead of data/quarantine.
        gold: where honeypots' keys go, as crowd-kit's `task, label`.
        keep_ids: annotator ids are pseudonyms already.
        accept_new_key: go on although earlier imports used another key.
        dry_run: write nothing.
    """

    format: str = "auto"
    quarantine: Path | None = None
    gold: Path | None = None
    keep_ids: bool = False
    accept_new_key: bool = False
    dry_run: bool = False


class _Read(NamedTuple):
    file: Opened
    importer: Importer
    found: Resolved


def import_files(root: Path, paths: Sequence[Path], options: Options) -> tuple[list[str], bool]:
    """Import annotation files of other tools: lines for a person, and whether no row is bad.

    Raises:
        MissingInputError: a file is not there, or the project has no items yet.
        InputError: a file is unusable as a whole or of no known form, or the key for pseudonyms is another; nothing
            was written.
        IntegrityError: the ledger's chain is broken.
    """
    from crlhf.annotations.importers import importer_of
    from crlhf.annotations.importers.opened import Opened
    from crlhf.annotations.importers.resolving import resolve

    items = shown_items(root)
    files = [Opened.of(path) for path in paths]
    chosen = [importer_of(file, options.format) for file in files]
    with imports_locked(root):
        pseudonyms = _pseudonyms(root, options.accept_new_key)
        known = _Known(root, pseudonyms)
        read = []
        for file, importer in zip(files, chosen, strict=True):
            stays = _stays(importer, known, options.keep_ids)
            found = resolve(_watched(importer.read(file), file), items, file.name, importer.source, pseudonyms, stays)
            read.append(_Read(file, importer, known.without_forgotten(found)))
        bad = _keep_quarantine(root, read, options)
        lines = [line for one in read for line in _write(root, one, known, pseudonyms.fingerprint, options)]
        lines += bad
        lines += _keep_gold(items, [gold for one in read for gold in one.found.gold], options)
    return lines, all(one.found.quarantine.empty for one in read)


def imports_locked(root: Path) -> AbstractContextManager[None]:
    """Hold imports and forgetting apart from each other, on this machine."""
    return held(root, "imports")


def _watched(records: Iterator[Record], file: Opened) -> Iterator[Record]:
    """The records, with a progress bar when there are many."""
    if len(file.data) < LARGE_BYTES:
        yield from records
        return
    listed = list(records)
    with progress_bar(f"import: {file.name}", len(listed), "record") as bar:
        for record in listed:
            yield record
            bar.update()


def _stays(importer: Importer, known: _Known, keep_ids: bool) -> Callable[[str], bool]:
    """Which annotators' ids stay: in formats that we write too, those that the project has already."""
    if keep_ids:
        return lambda annotator: True
    annotators = known.annotators if importer.source in WRITTEN_TOO else frozenset[str]()
    return lambda annotator: annotator in annotators


def _pseudonyms(root: Path, accept_new_key: bool) -> Pseudonyms:
    lost = lost_key(root)
    if lost and not accept_new_key:
        raise InputError(
            f"{lost}, so annotators who come again would get a second pseudonym; restore the key, or give "
            "--accept-new-key"
        )
    return Pseudonyms(read_key(root))


class _Known:
    """The rows that the project has already, and the annotators who are forgotten.

    Those are the rows of its batches. The verdicts of its simulated crowd are known too: a format that does not say
    where they come from must not make them people's.
    """

    def __init__(self, root: Path, pseudonyms: Pseudonyms) -> None:
        from crlhf.annotations.raw_files import read_batches

        self.pseudonyms = pseudonyms
        self.hashes: set[int] = set()
        self.verdicts: set[int] = set()
        self.statuses: dict[int, str] = {}
        annotations = read_batches(batch_files(root)).annotations
        self.add(annotations)
        simulated = _simulated(root)
        self.verdicts |= set(_hashes(simulated, _VERDICT))
        self.annotators = frozenset(annotations["annotator_id"]) | frozenset(simulated["annotator_id"])
        gone = (event["annotators"] for event in read_ledger(root) if event["event"] == "forgotten")
        self.forgotten = {annotator for event in gone for annotator in event}

    def split(self, rows: pd.DataFrame) -> tuple[pd.DataFrame, int, int]:
        """The new rows, how many were left out because their annotator is forgotten, and how many changed status.

        A row that counts is not new when it is there already as one that counts, be its status known by now or not. A
        row of a format that has nothing but verdicts is not new when its verdict is there.
        """
        allowed = rows[~rows["annotator_id"].isin(self._gone(rows["annotator_id"].unique()))]
        old = [self.statuses.get(one) for one in _hashes(allowed, _BUT_STATUS)]
        bare = [source == BARE and one in self.verdicts
                for source, one in zip(allowed["source"], _hashes(allowed, _VERDICT), strict=True)]  # fmt: skip
        same = [
            whole in self.hashes or has_verdict or (status in COUNTED and before in COUNTED)
            for whole, has_verdict, status, before in zip(
                _hashes(allowed, CONTENT), bare, allowed["status"], old, strict=True
            )
        ]
        new = allowed.loc[[not one for one in same]]
        changed = sum(before in COUNTED and not one for before, one in zip(old, same, strict=True))
        return new, len(rows) - len(allowed), changed

    def without_forgotten(self, found: Resolved) -> Resolved:
        """What a file gave, without quarantined rows of annotators who are forgotten."""
        from crlhf.annotations.forgetting import forget_in_quarantine

        return found._replace(quarantine=forget_in_quarantine(found.quarantine, self._gone(found.annotators)))

    def _gone(self, annotators: Iterable[str]) -> set[str]:
        return {one for one in annotators if self.pseudonyms.of(one, "collected") in self.forgotten}

    def add(self, rows: pd.DataFrame) -> None:
        """Rows of a batch."""
        self.hashes |= set(_hashes(rows, CONTENT))
        self.verdicts |= set(_hashes(rows, _VERDICT))
        for bare, status in zip(_hashes(rows, _BUT_STATUS), rows["status"], strict=True):
            if status in COUNTED or bare not in self.statuses:
                self.statuses[bare] = status


_BUT_STATUS = tuple(name for name in CONTENT if name != "status")
_VERDICT = (*LINE, "verdict")


def _hashes(rows: pd.DataFrame, columns: Sequence[str]) -> list[int]:
    """A 64-bit hash of what each row says; among a million rows two meet with a probability below 3e-8."""
    import pandas as pd

    hashes: list[int] = pd.util.hash_pandas_object(rows[list(columns)], index=False).tolist()
    return hashes


def _simulated(root: Path) -> pd.DataFrame:
    """The verdicts of the simulated crowd that the tables of rounds hold."""
    import pandas as pd

    store, rounds = Store(root), load_params(root / "params.yaml").rounds
    tables = [store.read(name, one) for one in rounds for name in ("annotations", "validated") if store.has(name, one)]
    columns = [*_VERDICT, "source"]
    rows = pd.concat([table[columns] for table in tables]) if tables else pd.DataFrame(columns=columns)
    return rows[rows["source"] == "simulated"]


def _write(root: Path, one: _Read, known: _Known, fingerprint: str, options: Options) -> list[str]:
    """Write what is new of one file as a batch; lines for a person."""
    file, importer, found = one
    new, n_forgotten, n_changed = known.split(found.rows)
    known.add(new)
    lines = [_counts(one)]
    lines += [f"  warning: {sentence}" for sentence in importer.warnings(file)]
    lines += [f"  {n} {what}" for what, n in _notes(found, n_forgotten, n_changed) if n]
    if new.empty:
        return [*lines, f"  nothing to add: {_why_nothing(root, one, n_forgotten)}"]
    n_old = len(found.rows) - n_forgotten - len(new)
    told = f"{len(new)} new verdicts" + (f", {n_old} are there already" if n_old else "")
    if options.dry_run:
        return [*lines, f"  {told}; nothing was written (--dry-run)"]
    cells = [{key: value for key, value in row.items() if value != "" or key != "batch_id"} for row in records(new)]
    facts = {
        "format": importer.name,
        "inputs": [{"file": file.name, "sha256": hashlib.sha256(file.data).hexdigest()}],
        "key": fingerprint,
    }
    path = write_batch(root, cells, importer.source, name=importer.name, facts=facts)
    return [*lines, f"  {told} -> {path.relative_to(root.resolve())}"]


def _why_nothing(root: Path, one: _Read, n_forgotten: int) -> str:
    if len(one.found.rows) == n_forgotten:
        return "no verdict is left"
    digest = hashlib.sha256(one.file.data).hexdigest()
    before = [
        event["file"]
        for event in read_ledger(root)
        if any(given["sha256"] == digest for given in event.get("inputs", ()))
    ]
    told = f"; this very file was imported as {before[-1]}" if before else ""
    return f"all of its verdicts are there already{told}"


def _counts(one: _Read) -> str:
    rows = one.found.rows
    answers = one.found.counts["answers"]
    whole = f"{answers} answers, " if answers else ""
    return (
        f"{one.file.name} ({one.importer.title}): {whole}{len(rows)} verdicts of {rows['annotator_id'].nunique()} "
        f"annotators on {rows['completion_id'].nunique()} programs"
    )


def _notes(found: Resolved, n_forgotten: int, n_changed: int) -> list[tuple[str, int]]:
    counts = found.counts
    statuses = found.rows["status"].value_counts().sort_index()
    kept = [(f"verdicts are kept as {status} and do not count", int(n)) for status, n in statuses.items()
            if status not in COUNTED]  # fmt: skip
    return [
        ("skipped answers give no verdicts", counts["skipped"]),
        ("honeypots' keys are no opinions and give no verdicts", counts["gold"]),
        ("answers without an annotator; each counts as an annotator of its own", counts["anonymous"]),
        (
            "marks lie on lines that are not judged (blank, comment) and say nothing",
            counts["unjudged marks"],
        ),
        *kept,
        ("verdicts of annotators who were forgotten are left out", n_forgotten),
        ("verdicts have another status than when they were imported; the earlier rows still count", n_changed),
    ]


def _keep_quarantine(root: Path, read: Sequence[_Read], options: Options) -> list[str]:
    """Write the bad rows of all files; lines for a person."""
    import pandas as pd

    from crlhf.annotations.quarantine import describe_quarantine, n_rows, quarantine_frame

    lines = []
    for one in read:
        lines += describe_quarantine(one.found.quarantine)
        if options.quarantine is not None or options.dry_run:
            continue
        path = root / QUARANTINE_FOLDER / _quarantine_name(one.file)
        if one.found.quarantine.empty:
            path.unlink(missing_ok=True)  # of an earlier import of this very file, whose programs are known by now
            continue
        write_table(path, QUARANTINE, one.found.quarantine)
        lines.append(f"{one.file.name}: {n_rows(one.found.quarantine)} bad rows -> {path.relative_to(root)}")
    if options.quarantine is not None:
        frames = [one.found.quarantine for one in read if not one.found.quarantine.empty]
        whole = pd.concat(frames, ignore_index=True) if frames else quarantine_frame([])
        write_table(options.quarantine, QUARANTINE, whole.drop_duplicates(list(QUARANTINE.key), ignore_index=True))
        lines.append(f"{n_rows(whole)} bad rows -> {options.quarantine}")
    return lines


def _quarantine_name(file: Opened) -> str:
    stem = re.sub(r"[^A-Za-z0-9_.-]", "_", file.path.stem)[:40]
    return f"{stem}-{hashlib.sha256(file.data).hexdigest()[:12]}.parquet"


def _keep_gold(items: pd.DataFrame, gold: Sequence[Gold], options: Options) -> list[str]:
    """Compare the tool's honeypot keys with the project's, and write them down when asked."""
    rows = {row["completion_id"]: row for row in records(items)}
    lines = [line for key in dict.fromkeys(gold) if (line := _gold_differs(key, rows[key.completion_id]))]
    if len(lines) > N_SHOWN:
        lines[N_SHOWN:] = [f"warning: ... and {len(lines) - N_SHOWN} more honeypots' keys that differ"]
    if options.gold is not None:
        told = [
            f"{key.completion_id}:{line_no},{int(line_no in key.wrong_line_nos)}\n"
            for key in dict.fromkeys(gold)
            for line_no in rows[key.completion_id]["line_nos"]
        ]
        with atomic_write(options.gold, "w") as file:
            file.write("task,label\n" + "".join(told))
        lines.append(f"{len(set(gold))} honeypots' keys -> {options.gold}")
    return lines


def _gold_differs(key: Gold, item: Mapping[str, Any]) -> str | None:
    """A warning where the tool's key of a honeypot is not the project's."""
    if not item["is_honeypot"]:
        return f"warning: {key.completion_id} has a honeypot's key in the tool, and is no honeypot here"
    ours = sorted(item["wrong_line_nos"])
    if list(key.wrong_line_nos) == ours:
        return None
    told = f"the key in the tool has wrong lines {list(key.wrong_line_nos)}, the project's {ours}"
    return f"warning: {key.completion_id}: {told}; the project's counts"
