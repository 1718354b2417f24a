"""Broken rules put into words: what was found in a row and what was expected."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

from crlhf.annotations.quarantine import Fault, row_json, shown
from crlhf.annotations.rule_names import LINE, RULES
from crlhf.lines import split_lines
from crlhf.schema import ANNOTATIONS

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


_COLUMNS = {
    "completion_known": "completion_id",
    "problem_matches": "problem_id",
    "code_matches": "code_sha256",
    "honeypot_flag_matches": "is_honeypot",
    "line_exists": "line_no",
    "line_judgeable": "line_no",
    "verdict_known": "verdict",
    "status_known": "status",
    "duration_valid": "duration_s",
}
"""The column whose value breaks a rule."""


def explain(rows: pd.DataFrame, items: pd.DataFrame, item: np.ndarray[Any, Any], faults: pd.DataFrame) -> list[Fault]:
    """One fault for each broken rule of each row.

    `faults` has one boolean column a rule, True where it is broken; `item` is the position of each row's item, or -1.
    """
    import numpy as np

    broken = faults.to_numpy(dtype=bool)
    bad_rows = np.flatnonzero(broken.any(axis=1))
    part = rows.loc[faults["answer_complete"], LINE]
    covered = {key: set(lines) for key, lines in part.groupby(LINE[:2], sort=False)["line_no"]}
    shown_items = items.to_dict("records")
    found: list[Fault] = []
    for index, row in zip(bad_rows, rows.iloc[bad_rows].to_dict("records"), strict=True):
        text = row_json(row)
        shown_item = shown_items[item[index]] if item[index] >= 0 else None
        for rule in faults.columns[broken[index]]:
            reason = _reason(rule, row, shown_item, covered)
            found.append(Fault(row["source_file"], int(row["source_row"]), rule, reason, text))
    return found


def _reason(rule: str, row: dict[Hashable, Any], item: dict[Hashable, Any] | None, covered: dict[Any, set[int]]) -> str:
    """One sentence: what was found and what was expected."""
    import pandas as pd

    if rule in _COLUMNS:
        reason = f"{_COLUMNS[rule]} is {shown(row[_COLUMNS[rule]])}; the rule: {RULES[rule]}"
        if item is not None and rule in ("problem_matches", "code_matches"):
            reason += f" ({item[_COLUMNS[rule]]})"
        if item is not None and rule == "line_exists":
            reason += f" (it has {len(split_lines(item['code']))})"
        return reason
    if rule == "values_present":
        empty = [name for name in ANNOTATIONS.column_names if pd.isna(row[name])]
        return f"no value in {', '.join(empty)}"
    if rule == "times_valid":
        found = f"started_at is {shown(row['started_at'])}, submitted_at {shown(row['submitted_at'])}"
        return f"{found}; the rule: {RULES[rule]}"
    if rule == "answer_complete" and item is not None:
        absent = sorted(set(item["line_nos"]) - covered[row["annotator_id"], row["completion_id"]])
        return f"no verdict on {_lines(absent)} of the {len(item['line_nos'])} judged lines; the rule: {RULES[rule]}"
    return f"the rule is broken: {RULES[rule]}"


def _lines(line_nos: list[int]) -> str:
    listed = ", ".join(map(str, line_nos[:10])) + (", ..." if len(line_nos) > 10 else "")
    return f"{'line' if len(line_nos) == 1 else 'lines'} {listed}"
