"""Verdicts that arrive after their round: each counts in the next one, and none counts twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from crlhf.annotations.quarantine import Fault, quarantine_frame, row_json
from crlhf.annotations.rule_names import LINE

if TYPE_CHECKING:
    import pandas as pd

COUNTED_BEFORE = "not_counted_before"


class Fresh(NamedTuple):
    """Verdicts that have not counted yet, under VALIDATED, and the quarantine of those that have."""

    good: pd.DataFrame
    quarantine: pd.DataFrame


def split_counted(good: pd.DataFrame, counted: pd.DataFrame) -> Fresh:
    """Part the verdicts that count by whether their annotator's verdict on their line counted in an earlier round.

    Args:
        good: under VALIDATED.
        counted: under VALIDATED, of all earlier rounds. What has counted stands: a second verdict would count twice.
    """
    import pandas as pd

    known = pd.MultiIndex.from_frame(counted[LINE]) if len(counted) else None
    is_old = pd.MultiIndex.from_frame(good[LINE]).isin(known) if known is not None else [False] * len(good)
    old = good[is_old]
    reason = "this annotator's verdict on this line has counted in an earlier round, and stands"
    faults = [
        Fault(row["source_file"], row["source_row"], COUNTED_BEFORE, reason, row_json(row))
        for row in old.to_dict("records")
    ]
    return Fresh(good.drop(old.index).reset_index(drop=True), quarantine_frame(faults))
