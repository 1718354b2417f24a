"""The rules that a row of the raw table must keep, and the split into verdicts that count and quarantine.

`find_faults` is the one source of truth: one boolean column a rule, True where a row breaks it. `split_rows` cuts the
table by it, and `expectations` states the same rules over the same table with the facts of the items beside it.

Which rows count. A row counts when its status is `submitted`, or `unknown` (the tool did not say, so nothing speaks
against it), it breaks no rule, and no later verdict took its place. Rows that are skipped, rejected, a draft or
superseded are set aside: they are in order, they stay in the raw table, but they are no verdicts. The filter sits here
and nowhere else; everything downstream of the validated table may count every row. What supersedes what, and what
becomes of answers that are not whole, is told in `answers`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from crlhf.annotations.answers import find_incomplete, find_repeats
from crlhf.annotations.quarantine import quarantine_frame
from crlhf.annotations.reasons import explain
from crlhf.annotations.rule_names import COUNTED, RULES, STATUSES, VERDICTS
from crlhf.errors import IntegrityError
from crlhf.lines import split_lines
from crlhf.schema import ANNOTATIONS, Column

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

_INFERRED = {
    "string": ("string", "empty"),
    "int64": ("integer", "floating", "empty"),
    "float64": ("floating", "integer", "mixed-integer-float", "empty"),
    "bool": ("boolean", "empty"),
}
"""What pandas may call a column of each declared type; nulls turn whole numbers into floating ones."""


class Findings(NamedTuple):
    """What `find_faults` found, each with one entry a raw row, in the rows' order.

    Attributes:
        faults: one boolean column a rule of RULES, True where the row breaks it.
        is_superseded: sound and counted by its status, but a later verdict took its place.
        counts: the verdict goes on: sound, counted by its status and not superseded.
        item: position of the completion in the items, -1 where it is not known.
    """

    faults: pd.DataFrame
    is_superseded: pd.Series[bool]
    counts: pd.Series[bool]
    item: np.ndarray[Any, Any]


class Split(NamedTuple):
    """The raw table in three parts; every row is in exactly one of them.

    Attributes:
        good: the verdicts that count, under the schema VALIDATED.
        set_aside: rows in order that do not count by their status, under ANNOTATIONS.
        quarantine: the broken rules of the other rows, under QUARANTINE.
    """

    good: pd.DataFrame
    set_aside: pd.DataFrame
    quarantine: pd.DataFrame


def split_rows(annotations: pd.DataFrame, items: pd.DataFrame, *, unread: pd.DataFrame | None = None) -> Split:
    """Split the raw table into the verdicts that count, rows set aside, and the quarantine with reasons.

    Args:
        annotations: the raw table, under ANNOTATIONS.
        items: what the annotators were shown, under ITEMS.
        unread: the quarantine of `read_batches`; its rows stand for lines that would else be missing. They are not
            repeated in the result.

    Raises:
        IntegrityError: `annotations` lacks a column, or one has another type.
    """
    rows = annotations.reset_index(drop=True)
    found = find_faults(rows, items, unread=unread)
    set_aside = rows[~found.faults.any(axis=1) & ~found.counts].copy()
    set_aside.loc[found.is_superseded[set_aside.index], "status"] = "superseded"
    quarantine = quarantine_frame(explain(rows, items, found.item, found.faults))
    return Split(_declared_types(rows[found.counts]), _declared_types(set_aside), quarantine)


def _declared_types(rows: pd.DataFrame) -> pd.DataFrame:
    kept = rows[list(ANNOTATIONS.column_names)].reset_index(drop=True)
    return kept.astype({column.name: column.dtype for column in ANNOTATIONS.columns if column.dtype != "string"})


def column_types(annotations: pd.DataFrame) -> pd.DataFrame:
    """Each declared column with its declared type and the type found: `missing`, or pandas' word where it differs."""
    import pandas as pd

    found = [
        _found_type(annotations[column.name], column) if column.name in annotations.columns else "missing"
        for column in ANNOTATIONS.columns
    ]
    declared = [column.dtype for column in ANNOTATIONS.columns]
    return pd.DataFrame({"column": ANNOTATIONS.column_names, "declared": declared, "found": found}, dtype=object)


def _found_type(values: pd.Series[Any], column: Column) -> str:
    import pandas as pd

    if values.ndim > 1:
        return "there twice"
    inferred = str(pd.api.types.infer_dtype(values, skipna=True))
    if column.name in ("source_file", "source_row") and values.isna().any():
        return "null in places"
    if column.dtype == "int64" and inferred == "floating" and not (values.dropna() % 1 == 0).all():
        return inferred
    return column.dtype if inferred in _INFERRED[column.dtype] else inferred


def find_faults(annotations: pd.DataFrame, items: pd.DataFrame, *, unread: pd.DataFrame | None = None) -> Findings:
    """Find every broken rule of every row; vectorised. Arguments and errors as in `split_rows`.

    A rule is asked only where it can be: a null breaks `values_present` alone (a null completion is not a known one
    either), and what depends on the completion is not asked of a row whose completion is not known.
    """
    import pandas as pd

    types = column_types(annotations)
    wrong = types[types["declared"] != types["found"]]
    if len(wrong):
        parts = [f"{column} is {found}, expected {declared}" for column, declared, found in wrong.to_numpy()]
        raise IntegrityError(f"the raw table breaks its schema: {'; '.join(parts)}")
    rows = annotations.reset_index(drop=True)
    item = pd.Index(items["completion_id"]).get_indexer(pd.Index(rows["completion_id"]))
    submitted = parse_times(rows["submitted_at"])
    counted = rows["status"].isin(COUNTED)
    faults = pd.DataFrame(False, index=rows.index, columns=list(RULES))
    _check_items(faults, rows, items, item)
    _check_lines(faults, rows, items, item)
    _check_values(faults, rows, submitted, counted)
    is_superseded = find_repeats(faults, rows, submitted, counted)
    counts = ~faults.any(axis=1) & counted & ~is_superseded
    incomplete = find_incomplete(faults, rows, items, item=item, counts=counts, counted=counted, unread=unread)
    faults["answer_complete"] = incomplete
    return Findings(faults, is_superseded, counts & ~incomplete, item)


def parse_times(texts: pd.Series[Any]) -> pd.Series[Any]:
    """Times in ISO 8601 as UTC, NaT where a text is none; a date alone is none, a time without a zone is UTC."""
    import pandas as pd

    texts = texts.astype(object)
    if not len(texts) or texts.isna().all():
        return pd.Series(pd.NaT, index=texts.index, dtype="datetime64[ns, UTC]")
    is_iso = texts.str.match(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d", na=False).astype(bool)
    return pd.to_datetime(texts.where(is_iso), utc=True, format="ISO8601", errors="coerce")


def _check_items(faults: pd.DataFrame, rows: pd.DataFrame, items: pd.DataFrame, item: np.ndarray[Any, Any]) -> None:
    """Ask the rules that compare a row with its item."""
    known = item >= 0
    faults["completion_known"] = ~known
    for rule, column in (
        ("problem_matches", "problem_id"),
        ("code_matches", "code_sha256"),
        ("honeypot_flag_matches", "is_honeypot"),
    ):
        expected = items[column].to_numpy(dtype=object)[item[known]]
        found = rows[column].to_numpy(dtype=object)[known]
        faults.loc[known, rule] = (found != expected) & rows[column].notna().to_numpy()[known]


def _check_lines(faults: pd.DataFrame, rows: pd.DataFrame, items: pd.DataFrame, item: np.ndarray[Any, Any]) -> None:
    """Ask whether the line is one of the completion's, and one that is judged."""
    import numpy as np

    line_nos = rows["line_no"].to_numpy(dtype="float64", na_value=np.nan)
    n_lines = lines_of(items)
    most = np.full(len(rows), np.inf)
    most[item >= 0] = n_lines[item[item >= 0]]
    faults["line_exists"] = (line_nos < 1) | (line_nos > most)
    inside = (line_nos >= 1) & (line_nos <= most) & (item >= 0)
    start = np.concatenate([[0], np.cumsum(n_lines)])
    is_judgeable = np.zeros(int(start[-1]), dtype=bool)
    for position, nos in enumerate(items["line_nos"]):
        is_judgeable[start[position] + np.asarray(list(nos), dtype="int64") - 1] = True
    faults.loc[inside, "line_judgeable"] = ~is_judgeable[start[item[inside]] + line_nos[inside].astype("int64") - 1]


def lines_of(items: pd.DataFrame) -> np.ndarray[Any, Any]:
    """The number of lines of each item's code."""
    import numpy as np

    return np.array([len(split_lines(code)) for code in items["code"]], dtype="int64")


def _check_values(
    faults: pd.DataFrame, rows: pd.DataFrame, submitted: pd.Series[Any], counted: pd.Series[bool]
) -> None:
    """Ask the rules that need nothing but the row."""
    import numpy as np

    faults["values_present"] = rows[list(ANNOTATIONS.column_names)].isna().any(axis=1)
    faults["annotator_named"] = rows["annotator_id"].astype(object).map(_is_blank, na_action="ignore").eq(True)
    for rule, column, allowed in (("verdict_known", "verdict", VERDICTS), ("status_known", "status", STATUSES)):
        faults[rule] = ~rows[column].isin(allowed) & rows[column].notna()
    no_start = rows["started_at"].ne("") & rows["started_at"].notna() & parse_times(rows["started_at"]).isna()
    no_end = submitted.isna() & rows["submitted_at"].notna() & (counted | rows["submitted_at"].ne(""))
    faults["times_valid"] = no_start | no_end
    seconds = rows["duration_s"].astype("float64")
    faults["duration_valid"] = seconds.notna() & ~(seconds.ge(0) & np.isfinite(seconds))


def _is_blank(text: str) -> bool:
    return not text.strip()
