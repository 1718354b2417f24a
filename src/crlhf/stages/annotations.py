"""Stage `annotations`: the raw table, from the simulated crowd or from the collected batch files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from crlhf.errors import MissingInputError
from crlhf.schema import ANNOTATIONS, QUARANTINE, CheckSpec, Summary

if TYPE_CHECKING:
    import pandas as pd

    from crlhf.stages.runner import Context

SECTIONS = ("seed", "crowd")
CHECKS = (CheckSpec("rows_readable", "every row of the raw files can be read", "warning"),)
COLLECTED = "data/annotations"
BATCH_SUFFIXES = (".jsonl", ".csv", ".parquet")


def run(context: Context) -> Summary:
    """Write `annotations`, and `unreadable`: raw rows that could not be read, with file, row and reason."""
    if context.params.crowd.source == "simulated":
        return _simulate(context)
    return _collect(context)


def _simulate(context: Context) -> Summary:
    import pandas as pd

    from crlhf.crowd.simulate import simulate_annotations

    items, truths = context.store.read("items"), context.store.read("line_truths")
    crowd = simulate_annotations(items, truths, context.params.crowd, context.params.seed)
    context.store.write("annotations", crowd.annotations)
    context.store.write("unreadable", pd.DataFrame(columns=list(QUARANTINE.column_names)))
    kinds = crowd.annotators["kind"].value_counts().sort_index()
    facts = {"crowd": "simulated", "simulated_annotators": ", ".join(f"{n} {kind}" for kind, n in kinds.items())}
    return Summary(_metrics(crowd.annotations, 0), facts, (CHECKS[0].result(0),), is_simulated=True)


def _collect(context: Context) -> Summary:
    from crlhf.annotations.quarantine import n_rows
    from crlhf.annotations.raw_files import read_batches

    folder = context.path(COLLECTED)
    paths = sorted(path for path in folder.iterdir() if path.suffix in BATCH_SUFFIXES)
    if not paths:
        raise MissingInputError(
            f"{folder}: no batch file (.jsonl, .csv or .parquet); put the collected annotations there, "
            "or set crowd.source to simulated"
        )
    read = read_batches(paths)
    for path in paths:
        context.say(f"annotations: {Path(COLLECTED) / path.name}")
    n_bad = n_rows(read.quarantine)
    if n_bad:
        context.say(
            f"annotations: {n_bad} of {read.n_rows} rows cannot be read; they go to quarantine with their reasons"
        )
    context.store.write("annotations", read.annotations[list(ANNOTATIONS.column_names)])
    context.store.write("unreadable", read.quarantine)
    is_simulated = bool((read.annotations["source"] == "simulated").any())
    facts = {"crowd": "collected", "files": str(len(paths))}
    return Summary(_metrics(read.annotations, n_bad), facts, (CHECKS[0].result(n_bad),), is_simulated)


def _metrics(annotations: pd.DataFrame, n_unreadable: int) -> dict[str, float]:
    return {
        "n_rows": len(annotations),
        "n_unreadable": n_unreadable,
        "n_annotators": int(annotations["annotator_id"].nunique()),
        "n_completions": int(annotations["completion_id"].nunique()),
        "share_marked_wrong": round(float((annotations["verdict"] == "wrong").mean()), 6) if len(annotations) else 0.0,
    }
