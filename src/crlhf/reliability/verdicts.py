"""Verdicts as integer arrays: what every estimator of this room works on.

Notation of the room: `A` annotators, `N` lines, `V` verdicts, `C` completions (honeypots included).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Truths = npt.NDArray[np.int8]

UNKNOWN, OK, WRONG = -1, 0, 1
"""Truth of a line: only lines of honeypots have a known one."""


class Verdicts(NamedTuple):
    """Coded verdicts, ordered by line and then by annotator, so that no result depends on the order of rows.

    Attributes:
        annotator_ids: (A,) pseudonyms, ascending.
        completion_ids: (C,) completions and honeypots with at least one verdict, ascending.
        annotator: (V,) index into `annotator_ids`.
        line: (V,) index of the line, ascending; lines are numbered by completion and then by `line_no`.
        is_wrong: (V,) True: the annotator marked the line wrong.
        completion: (N,) index into `completion_ids`.
        truth: (N,) `WRONG`, `OK`, or `UNKNOWN` for lines of completions that are not honeypots.
    """

    annotator_ids: npt.NDArray[np.object_]
    completion_ids: npt.NDArray[np.object_]
    annotator: Ints
    line: Ints
    is_wrong: Bools
    completion: Ints
    truth: Truths

    @property
    def n_annotators(self) -> int:
        """A."""
        return len(self.annotator_ids)

    @property
    def n_lines(self) -> int:
        """N."""
        return len(self.truth)


def code_verdicts(annotations: pd.DataFrame, items: pd.DataFrame) -> Verdicts:
    """Code the validated annotations against the answer key.

    Args:
        annotations: schema ANNOTATIONS, already validated: every row counts.
        items: schema ITEMS. Rows of annotations whose completion is not among the items are left out.

    Returns:
        The coded verdicts; all arrays are empty for an empty table.
    """
    import pandas as pd

    rows = annotations.loc[
        annotations["completion_id"].isin(items["completion_id"]),
        ["annotator_id", "completion_id", "line_no", "verdict"],
    ].sort_values(["completion_id", "line_no", "annotator_id"], kind="stable")
    annotator, annotator_ids = pd.factorize(rows["annotator_id"], sort=True)
    completion, completion_ids = pd.factorize(rows["completion_id"], sort=True)
    line_no = rows["line_no"].to_numpy(np.int64)
    is_first = np.ones(len(rows), bool)
    is_first[1:] = (completion[1:] != completion[:-1]) | (line_no[1:] != line_no[:-1])
    line = np.cumsum(is_first) - 1
    truth = _truths(np.asarray(completion_ids, object)[completion[is_first]], line_no[is_first], items)
    return Verdicts(
        annotator_ids=np.asarray(annotator_ids, object),
        completion_ids=np.asarray(completion_ids, object),
        annotator=annotator.astype(np.int32),
        line=line.astype(np.int32),
        is_wrong=(rows["verdict"] == "wrong").to_numpy(bool),
        completion=completion[is_first].astype(np.int32),
        truth=truth,
    )


def _truths(completion_ids: npt.NDArray[np.object_], line_nos: npt.NDArray[np.int64], items: pd.DataFrame) -> Truths:
    """Truth of each line from the answer key, (N,)."""
    honeypots = items.loc[items["is_honeypot"].astype(bool), ["completion_id", "wrong_line_nos"]]
    key = {name: frozenset(wrong) for name, wrong in honeypots.itertuples(index=False) if wrong is not None}
    truth = np.full(len(line_nos), UNKNOWN, np.int8)
    for index, (completion_id, line_no) in enumerate(zip(completion_ids, line_nos, strict=True)):
        wrong = key.get(completion_id)
        if wrong is not None:
            truth[index] = WRONG if line_no in wrong else OK
    return truth
