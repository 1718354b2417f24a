"""The rules over the raw table as a Great Expectations suite, with Data Docs; nothing of it is kept or sent.

Three tables are validated, so that each check counts what it speaks of: `annotations` (the raw rows, beside them the
facts of their items and whether they keep to the rules that need other rows), `annotators` (one row an annotator with a
verdict that counts) and `columns` (one row a declared column). A check named like a rule of `rules` fails on exactly
the rows that break it; what can be said by a plain expectation over raw values and the facts of the items is said so,
and the rest asserts the columns that `find_faults` computed.

Data Docs are the pages of Great Expectations' own renderers, without their frame: see `data_docs`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from crlhf.annotations.checks import COMPUTED_RULES, EXPECTATION_CHECKS, CheckSpec
from crlhf.annotations.rules import column_types, find_faults, lines_of
from crlhf.annotations.suite import Outcome, run_suite
from crlhf.params import ValidationParams
from crlhf.schema import Check

if TYPE_CHECKING:
    import pandas as pd


__all__ = ["EXPECTATION_CHECKS", "CheckSpec", "Validation", "validate"]

_STRUCTURE = ("columns_present", "column_types", "has_rows")


class Validation(NamedTuple):
    """What the suite found: a Check for each of EXPECTATION_CHECKS, and the results as deterministic, small JSON."""

    checks: tuple[Check, ...]
    results: dict[str, Any]


def validate(
    annotations: pd.DataFrame,
    items: pd.DataFrame,
    params: ValidationParams,
    docs_folder: Path | None = None,
    *,
    unread: pd.DataFrame | None = None,
) -> Validation:
    """Run the suite over the raw table; write its Data Docs (index.html and a page a table) to `docs_folder`, if given.

    An empty table fails `has_rows` and `verdicts_remain`. Where columns are missing or of another type the other checks
    cannot be asked; they fail and say so. `unread` is the quarantine of `read_batches`, as in `rules.split_rows`.
    """
    tables = {"columns": column_types(annotations), "annotations": annotations.reset_index(drop=True)}
    is_whole = bool((tables["columns"]["declared"] == tables["columns"]["found"]).all())
    if is_whole:
        tables |= _derived_tables(tables["annotations"], items, unread)
    asked = [spec for spec in EXPECTATION_CHECKS if is_whole or spec.name in _STRUCTURE]
    outcomes = run_suite(tables, asked, params)
    checks = tuple(_check(spec, outcomes, len(tables[spec.table])) if spec in asked else _not_asked(spec)
                   for spec in EXPECTATION_CHECKS)  # fmt: skip
    if docs_folder is not None:
        from crlhf.annotations.data_docs import write_data_docs

        write_data_docs(docs_folder, outcomes, checks)
    rows = [_result(check, outcomes) for check in checks]
    return Validation(checks, {"n_rows": len(annotations), "is_passed": _is_passed(checks), "checks": rows})


def _is_passed(checks: tuple[Check, ...]) -> bool:
    return all(check.passed for check in checks if check.severity == "error")


def _derived_tables(rows: pd.DataFrame, items: pd.DataFrame, unread: pd.DataFrame | None) -> dict[str, pd.DataFrame]:
    """The raw rows with the facts of their items and the rules kept, and the annotators with their honeypots."""
    import numpy as np
    import pandas as pd

    found = find_faults(rows, items, unread=unread)
    known = found.item >= 0
    facts = {"item_n_lines": lines_of(items).astype("float64")}
    facts |= {
        f"item_{name}": items[name].to_numpy(dtype=object) for name in ("problem_id", "code_sha256", "is_honeypot")
    }
    columns: dict[str, Any] = {}
    for name, values in facts.items():
        columns[name] = np.full(len(rows), np.nan if name == "item_n_lines" else None, dtype=values.dtype)
        columns[name][known] = values[found.item[known]]
    columns |= {f"keeps_{rule}": ~found.faults[rule] for rule in COMPUTED_RULES}
    counting = rows[found.counts]
    honeypots = counting[counting["is_honeypot"].astype(bool)].groupby("annotator_id")["completion_id"].nunique()
    annotators = pd.Index(sorted(counting["annotator_id"].unique()), name="annotator_id", dtype=object)
    coverage = honeypots.reindex(annotators, fill_value=0).rename("n_honeypots").reset_index()
    raw = rows.drop(columns=["batch_id", "completion_id", "error_type", "started_at", "submitted_at", "source"])
    # the suite copies the table often: only what it looks at, in one piece
    return {"annotations": pd.concat([raw, pd.DataFrame(columns)], axis=1).copy(), "annotators": coverage}


def _check(spec: CheckSpec, outcomes: list[Outcome], n_rows: int) -> Check:
    own = [outcome for outcome in outcomes if outcome.check == spec.name]
    failed = [outcome for outcome in own if not outcome.passed]
    n_unexpected = sum(outcome.n_unexpected for outcome in own)
    description = spec.description
    if failed:
        message = "; ".join(outcome.message for outcome in failed if outcome.message)
        description += f" -- could not be asked: {message}" if message else " -- not so"
        places = [place for outcome in failed for place in outcome.places]
        if places and not message:
            of = "rows" if spec.table == "annotations" else spec.table
            more = ", ..." if len(places) < n_unexpected else ""
            description += f" for {n_unexpected} of {n_rows} {of}: {', '.join(places)}{more}"
    return Check(spec.name, not failed, spec.severity, description, n_unexpected)


def _not_asked(spec: CheckSpec) -> Check:
    description = f"{spec.description} -- could not be asked: columns are missing or of another type"
    return Check(spec.name, False, spec.severity, description, 0)


def _result(check: Check, outcomes: list[Outcome]) -> dict[str, Any]:
    """One check as JSON, with its expectations and examples of what did not meet them."""
    stated = []
    for outcome in outcomes:
        if outcome.check == check.name:
            kind = outcome.result.expectation_config.type
            stated.append({"type": kind, "is_met": outcome.passed, "examples": outcome.examples})
    return {**check._asdict(), "expectations": stated}
