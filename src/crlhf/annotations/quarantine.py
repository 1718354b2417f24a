"""Rows of the quarantine: one broken rule of one raw row, the row kept whole as JSON text."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from crlhf.schema import QUARANTINE

if TYPE_CHECKING:
    import pandas as pd

N_SHOWN = 3
"""Reasons that `describe_quarantine` prints for each rule of a file."""


class Fault(NamedTuple):
    """One rule that one raw row broke; the fields are those of the table `QUARANTINE`."""

    source_file: str
    source_row: int
    rule: str
    reason: str
    row: str


def quarantine_frame(faults: Iterable[Fault]) -> pd.DataFrame:
    """The faults as a table under the schema QUARANTINE, in order of file, row and rule.

    A rule that one row broke in two columns is one fault with both reasons.
    """
    import pandas as pd

    frame = pd.DataFrame(list(faults), columns=list(QUARANTINE.column_names), dtype=object)
    if frame.duplicated(list(QUARANTINE.key)).any():
        frame = frame.groupby(list(QUARANTINE.key), sort=False, as_index=False).agg({"reason": _joined, "row": "first"})
    frame = frame[list(QUARANTINE.column_names)].astype({"source_row": "int64"})
    return frame.sort_values(list(QUARANTINE.key), kind="stable", ignore_index=True)


def _joined(reasons: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(reasons))


def row_json(row: object) -> str:
    """Any raw row (its cells by name, or its text where it has no cells) as strict JSON.

    Numbers that JSON does not have (NaN, infinity) become their names as text, and so does any other value that is not
    JSON. Text that is not Unicode (a lone surrogate) is escaped, so the result can always be written as UTF-8.
    """
    try:
        text = json.dumps(row, ensure_ascii=False, allow_nan=False, default=str)
    except (ValueError, TypeError):
        text = json.dumps(_plain(row), ensure_ascii=False, default=str)
    return text if _is_unicode(text) else json.dumps(_plain(row), default=str)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def shown(value: object, width: int = 60) -> str:
    """A short, printable form of a raw value for a reason: at most `width` characters and always Unicode."""
    text = ascii(value) if not _is_unicode(str(value)) else repr(value)
    return text if len(text) <= width else text[: width - 3] + "..."


def n_rows(quarantine: pd.DataFrame) -> int:
    """How many distinct raw rows the quarantine holds; a row that broke two rules is one row."""
    return int((~quarantine.duplicated(["source_file", "source_row"])).sum())


def describe_quarantine(quarantine: pd.DataFrame) -> list[str]:
    """Lines for a person: for each file its quarantined rows by rule, then the first few reasons of every rule.

    An empty quarantine gives no lines.
    """
    lines: list[str] = []
    for file, of_file in quarantine.groupby("source_file", sort=True):
        count = n_rows(of_file)
        by_rule = of_file["rule"].value_counts(sort=False).sort_index()
        tally = ", ".join(f"{rule} {n}" for rule, n in by_rule.items())
        lines.append(f"{file}: {count} {'row' if count == 1 else 'rows'} in quarantine ({tally})")
        for rule, broken in of_file.groupby("rule", sort=True):
            for row, reason in zip(broken["source_row"][:N_SHOWN], broken["reason"][:N_SHOWN], strict=True):
                lines.append(f"  row {row}, {rule}: {reason}")
            if len(broken) > N_SHOWN:
                lines.append(f"  ... and {len(broken) - N_SHOWN} more rows that break {rule}")
    return lines
