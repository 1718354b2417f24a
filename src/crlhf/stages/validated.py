"""Stage `validated`: the verdicts that count, the quarantine, and the expectations over the raw table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from crlhf.errors import InputError
from crlhf.schema import QUARANTINE, Summary
from crlhf.stages.crowd_record import joined, read_record, shown_items
from crlhf.store import write_table

if TYPE_CHECKING:
    from crlhf.stages.runner import Context

SECTIONS = ("validation",)
DOCS = "reports/data_docs"
"""Each round's Data Docs have a folder here."""


def run(context: Context) -> Summary:
    """Write `validated` and `quarantine`; Data Docs go to reports/data_docs/<round>.

    Rows on the items of earlier rounds are late verdicts and count here, unless they have counted before.

    Raises:
        InputError: no verdict is left that counts; the quarantine table is written all the same.
    """
    import pandas as pd

    from crlhf.annotations.expectations import validate
    from crlhf.annotations.late import split_counted
    from crlhf.annotations.quarantine import describe_quarantine, n_rows
    from crlhf.annotations.rules import split_rows

    store = context.store
    raw, unread, earlier = store.read("annotations"), store.read("unreadable"), read_record(store, context.previous)
    of_round = store.read("items")
    items = joined(earlier.items, of_round)
    split = split_rows(raw, items, unread=unread)
    good, counted_before = split_counted(split.good, earlier.verdicts)
    quarantine = pd.concat([unread, split.quarantine, counted_before], ignore_index=True)
    store.write("quarantine", quarantine)
    for line in describe_quarantine(quarantine):
        context.say(f"validated: {line}")
    if good.empty:
        raise InputError(f"{store.table_path('annotations')}: no row is a verdict that counts; see the lines above")
    store.write("validated", good)
    docs = f"{DOCS}/{context.round}"
    validation = validate(raw, items, context.params.validation, context.path(docs), unread=unread)
    context.run.log_artifact(context.path(docs), "data_docs")
    metrics: dict[str, float] = {
        "n_raw": len(raw) + n_rows(unread),
        "n_validated": len(good),
        "n_late": int((~good["completion_id"].isin(of_round["completion_id"])).sum()),
        "n_set_aside": len(split.set_aside),
        "n_quarantined": n_rows(quarantine),
        "n_annotators": int(good["annotator_id"].nunique()),
        "n_completions": int(good["completion_id"].nunique()),
    }
    is_simulated = bool((good["source"] == "simulated").any())
    return Summary(metrics, {"data_docs": f"{docs}/index.html"}, validation.checks, is_simulated)


def check_files(root: Path, files: Sequence[Path], quarantine_path: Path | None) -> tuple[list[str], bool]:
    """Check raw annotation files against the items of all rounds so far: lines for a person, and whether no row is bad.

    The bad rows are written to `quarantine_path`, if given.

    Raises:
        InputError: a file is missing or unusable as a whole.
        MissingInputError: the project has no items yet.
    """
    import pandas as pd

    from crlhf.annotations.quarantine import describe_quarantine, n_rows
    from crlhf.annotations.raw_files import read_batches
    from crlhf.annotations.rules import split_rows

    items = shown_items(root)
    read = read_batches(files)
    split = split_rows(read.annotations, items, unread=read.quarantine)
    quarantine = pd.concat([read.quarantine, split.quarantine], ignore_index=True)
    if quarantine_path is not None:
        write_table(quarantine_path, QUARANTINE, quarantine)
    n_bad = n_rows(quarantine)
    lines = describe_quarantine(quarantine)
    lines.append(f"{read.n_rows} rows: {len(split.good)} count, {len(split.set_aside)} set aside, {n_bad} quarantined")
    return lines, n_bad == 0
