"""crowd-kit's long format: columns `task`, `worker`, `label`, one row a verdict.

Source: README.md of Toloka/crowd-kit at 06cc577c ("should contain columns: task, worker, label"). For this project a
task is `<completion_id>:<line_no>`, label 1 is `wrong` and label 0 `ok`, as in `crlhf aggregate` and in our own export.
The format has no times, durations and statuses.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from crlhf.annotations.importers.contract import NO_TIME, Record, Refused, Verdict
from crlhf.annotations.importers.opened import Opened
from crlhf.annotations.quarantine import shown

COLUMNS = ("task", "worker", "label")
LABELS = {"1": "wrong", "0": "ok", "1.0": "wrong", "0.0": "ok"}


class CrowdKit:
    """crowd-kit's long format, CSV or TSV."""

    name, source, title = "crowd-kit", "crowd_kit", "crowd-kit long format"

    def recognises(self, file: Opened) -> bool:
        """The three columns."""
        return _delimiter(file) is not None

    def read(self, file: Opened) -> Iterator[Record]:
        """A verdict for each row."""
        for row in file.table(_delimiter(file) or ","):
            yield row if isinstance(row, Refused) else _verdict(*row)

    def warnings(self, file: Opened) -> Iterable[str]:
        """What the format has no column for."""
        yield "crowd-kit's format has no times, durations and statuses; every row counts"


def _delimiter(file: Opened) -> str | None:
    return next((mark for mark in (",", "\t") if set(file.header(mark)) >= set(COLUMNS)), None)


def _verdict(row_no: int, cells: dict[str, Any]) -> Record:
    absent = next((column for column in COLUMNS if not cells.get(column, "").strip()), None)
    if absent is not None:
        return Refused(row_no, "values_present", f"{absent} has no value", cells)
    completion, _, line = cells["task"].rpartition(":")
    if not completion or not (line.isascii() and line.isdigit()) or len(line) > 9:
        reason = f"task is {shown(cells['task'])}, expected <completion_id>:<line_no>"
        return Refused(row_no, "value_type", reason, cells)
    verdict = LABELS.get(cells["label"].strip())
    if verdict is None:
        return Refused(
            row_no, "verdict_known", f"label is {shown(cells['label'])}, expected 1 (wrong) or 0 (ok)", cells
        )
    return Verdict(
        row_no,
        {
            "annotator_id": cells["worker"],
            "completion_id": completion,
            "line_no": int(line),
            "verdict": verdict,
            "submitted_at": NO_TIME,
            "duration_s": 0.0,
        },
    )
