"""Stage `annotations`: the raw table, from the simulated crowd or from the collected batch files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crlhf.schema import ANNOTATIONS, QUARANTINE, CheckSpec, Summary
from crlhf.stages.batches import FOLDER
from crlhf.stages.collection import collect

if TYPE_CHECKING:
    import pandas as pd

    from crlhf.stages.runner import Context

SECTIONS = ("seed", "crowd")
CHECKS = (CheckSpec("rows_readable", "every row of the raw files can be read", "warning"),)


def run(context: Context) -> Summary:
    """Write `annotations`, and `unreadable`: raw rows that could not be read, with file, row and reason.

    Raises:
        WaitingError: the crowd is people, and not every completion has its verdicts yet.
    """
    if context.params.crowd.source == "simulated":
        return _simulate(context)
    return _collect(context)


def _simulate(context: Context) -> Summary:
    import pandas as pd

    from crlhf.crowd.simulate import simulate_annotations

    items, truths = context.store.read("items"), context.store.read("line_truths")
    crowd = simulate_annotations(items, truths, context.params.crowd, context.params.seed, work_seed=context.seed)
    context.store.write("annotations", crowd.annotations)
    context.store.write("unreadable", pd.DataFrame(columns=list(QUARANTINE.column_names)))
    kinds = crowd.annotators["kind"].value_counts().sort_index()
    facts = {"crowd": "simulated", "simulated_annotators": ", ".join(f"{n} {kind}" for kind, n in kinds.items())}
    return Summary(_metrics(crowd.annotations, 0), facts, (CHECKS[0].result(0),), is_simulated=True)


def _collect(context: Context) -> Summary:
    from crlhf.annotations.quarantine import n_rows

    store = context.store
    annotations, unreadable, files = collect(store, context.params)
    for path in files:
        context.say(f"annotations: {FOLDER}/{path.name}")
    n_bad = n_rows(unreadable)
    if n_bad:
        n = len(annotations) + n_bad
        context.say(f"annotations: {n_bad} of {n} rows cannot be read; they go to quarantine with their reasons")
    store.write("annotations", annotations[list(ANNOTATIONS.column_names)])
    store.write("unreadable", unreadable)
    is_simulated = bool((annotations["source"] == "simulated").any())
    facts = {"crowd": "collected", "files": str(len(files))}
    return Summary(_metrics(annotations, n_bad), facts, (CHECKS[0].result(n_bad),), is_simulated)


def _metrics(annotations: pd.DataFrame, n_unreadable: int) -> dict[str, float]:
    return {
        "n_rows": len(annotations),
        "n_unreadable": n_unreadable,
        "n_annotators": int(annotations["annotator_id"].nunique()),
        "n_completions": int(annotations["completion_id"].nunique()),
        "share_marked_wrong": round(float((annotations["verdict"] == "wrong").mean()), 6) if len(annotations) else 0.0,
    }
