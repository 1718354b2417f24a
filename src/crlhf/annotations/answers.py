"""Rules on the rows of one answer: what is superseded, what contradicts itself, and what is missing.

An answer is all that one annotator said on one completion.

Superseded. Of several sound verdicts of one annotator on one line the one submitted last counts; the earlier ones are
superseded. A later row that breaks a rule takes nobody's place.

Incomplete answers. Unmarked lines are verdicts too (`ok`), so an answer with lines missing is an export that lost rows
or that lists marked lines only, and to read the rest as the annotator's opinion would make wrong lines look more
frequent than they are. So an answer that does not cover every judgeable line is quarantined whole. A missing line is
excused when a row that was itself quarantined stands for it: one damaged cell costs one verdict, not the answer. Such
a row stands for a line of the answer that it names; one whose annotator or completion cannot be told, for a line of the
answers just before and just after it in its file.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from crlhf.annotations.rule_names import CONTENT, LINE

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


def find_repeats(
    faults: pd.DataFrame, rows: pd.DataFrame, submitted: pd.Series[Any], counted: pd.Series[bool]
) -> pd.Series[bool]:
    """Fill in the rules on rows that speak of the same line; the answer is which rows are superseded."""
    import pandas as pd

    is_superseded = pd.Series(False, index=rows.index)
    alike = rows[rows.duplicated(LINE, keep=False)]
    if not len(alike):
        return is_superseded
    faults.loc[alike.index, "row_not_repeated"] = alike.duplicated(list(CONTENT))
    is_rival = ~faults.loc[alike.index].any(axis=1) & counted[alike.index]
    rivals = alike.loc[is_rival, LINE].assign(time=submitted)
    last = rivals.groupby(LINE, sort=False)["time"].transform("max")
    is_superseded[rivals.index] = rivals["time"] < last
    faults.loc[rivals.index, "one_verdict_per_line"] = rivals.duplicated([*LINE, "time"], keep=False) & (
        rivals["time"] == last
    )
    return is_superseded


def find_incomplete(
    faults: pd.DataFrame,
    rows: pd.DataFrame,
    items: pd.DataFrame,
    *,
    item: np.ndarray[Any, Any],
    counts: pd.Series[bool],
    counted: pd.Series[bool],
    unread: pd.DataFrame | None,
) -> pd.Series[bool]:
    """Which counting rows belong to an answer with a line that is missing and not excused."""
    import numpy as np
    import pandas as pd

    annotators, _ = pd.factorize(rows["annotator_id"])
    is_placed = (item >= 0) & (annotators >= 0) & ~faults["annotator_named"].to_numpy()
    answer = np.where(is_placed, annotators.astype("int64") * max(len(items), 1) + item, -1)
    n_judgeable = items["line_nos"].map(len).to_numpy(dtype="int64")
    given = pd.Series(answer[counts]).value_counts()
    missing = pd.Series(n_judgeable[given.index.to_numpy() % max(len(items), 1)], index=given.index) - given
    if missing.le(0).all():
        return pd.Series(False, index=rows.index)
    # neither a copy of another row nor a verdict on a line that is not judged stands for a judged line
    is_extra = faults["row_not_repeated"] | faults["line_judgeable"]
    is_lost = faults.any(axis=1) & ~is_extra & (counted | faults["status_known"])
    places = rows[["source_file", "source_row"]].assign(answer=answer, is_lost=is_lost)[counts | is_lost]
    if unread is not None and len(unread):
        places = pd.concat([places, _unread_places(unread, rows, answer)], ignore_index=True)
    missing = missing - _excused(places).reindex(missing.index, fill_value=0)
    return pd.Series(np.isin(answer, missing.index[missing > 0]), index=rows.index) & counts


def _unread_places(unread: pd.DataFrame, rows: pd.DataFrame, answer: np.ndarray[Any, Any]) -> pd.DataFrame:
    """The unreadable rows with the answer that each names, -1 where it names none that is known."""
    known = rows.assign(answer=answer)[answer >= 0].drop_duplicates(["annotator_id", "completion_id"])
    answers = dict(zip(zip(known["annotator_id"], known["completion_id"], strict=True), known["answer"], strict=True))
    places = unread.drop_duplicates(["source_file", "source_row"])
    named = [answers.get(_ids(text), -1) for text in places["row"]]
    return places[["source_file", "source_row"]].assign(answer=named, is_lost=True)


def _ids(row: str) -> tuple[str, str]:
    cells = json.loads(row)
    if not isinstance(cells, dict):
        return ("", "")
    return str(cells.get("annotator_id")), str(cells.get("completion_id"))


def _excused(places: pd.DataFrame) -> pd.Series[int]:
    """How many missing lines of each answer the lost rows stand for."""
    places = places.sort_values(["source_file", "source_row"], kind="stable", ignore_index=True)
    named = places["answer"].where(places["answer"] >= 0)
    before = named.groupby(places["source_file"]).ffill()
    after = named.groupby(places["source_file"]).bfill()
    own = before[places["is_lost"]]
    other = after[places["is_lost"] & named.isna() & (after != before)]
    return own.value_counts().add(other.value_counts(), fill_value=0).astype("int64")
