"""Amazon Mechanical Turk: the CSV file of a batch's results, one row an assignment.

Sources: the header as many public projects quote it; `json.loads(cell)[0]` of `Answer.taskAnswers` as they read it;
the crowd-entity-annotation page of the AWS documentation ("unicode offset"); HTML escapes (`&#44;`, `&#34;`) as
projects undo them. Fixtures cite each.

What is understood of an answer, whether it lies in `Answer.taskAnswers` (JSON, from crowd-form) or in one
`Answer.<name>` each, is told in `forms`. A file in which no row has any of it is refused: its marks would be lost.

Offsets of a page count the text as a browser holds it, with CRLF read as LF (HTML standard, 13.2.3.5).
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from crlhf.annotations.importers import forms
from crlhf.annotations.importers.contract import Answer, Record, Refused, attempt, reference_in
from crlhf.annotations.importers.marks import LF_CODE_POINTS, LF_UTF16
from crlhf.annotations.importers.opened import Opened
from crlhf.annotations.importers.values import as_list, as_object, seconds_of, time_of
from crlhf.annotations.raw_values import ValueFault
from crlhf.errors import InputError

READINGS = (LF_CODE_POINTS, LF_UTF16)
STATUSES = {"Submitted": "submitted", "Approved": "submitted", "Rejected": "rejected", "": "unknown"}
TASK_ANSWERS = "Answer.taskAnswers"
_ROW = {"HITId", "AssignmentId", "WorkerId"}


class MechanicalTurk:
    """Results of a batch of Mechanical Turk."""

    name, source, title = "mturk", "mturk", "Amazon Mechanical Turk batch results"

    def recognises(self, file: Opened) -> bool:
        """The columns that name a task, an assignment and a worker."""
        return set(file.header(",")) >= _ROW

    def read(self, file: Opened) -> Iterator[Record]:
        """An answer for each assignment.

        Raises:
            InputError: no answer of the file has a field that could hold marks.
        """
        header = file.header(",")
        missing = [column for column in ("WorkerId", "AssignmentStatus") if column not in header]
        if missing or not any(column.startswith("Answer.") for column in header):
            raise InputError(f"{file.name}: the column {(missing or ['Answer....'])[0]} is missing")
        records: list[Record] = []
        is_known = False
        for row in file.table(","):
            if isinstance(row, Refused):
                records.append(row)
                continue
            record, knows = _answer(*row)
            is_known |= knows
            records.append(record)
        if not is_known and any(isinstance(record, Answer) for record in records):
            names = sorted(column for column in header if column.startswith("Answer."))
            raise InputError(
                f"{file.name}: none of {', '.join(map(ascii, names))} has marked lines in a known form; the forms are "
                "listed in docs/importers.md"
            )
        yield from records

    def warnings(self, file: Opened) -> Iterable[str]:
        """None: what the platform knows is in the file."""
        return ()


def _answer(row_no: int, cells: Mapping[str, str]) -> tuple[Record, bool]:
    knows = False
    cells = {**cells, "WorkerId": cells["WorkerId"].strip()}

    def build() -> Answer:
        nonlocal knows
        fields = _fields(cells)
        knows = forms.is_known(fields)
        status = STATUSES.get(cells["AssignmentStatus"])
        if status is None:
            raise ValueFault("status_known", f"AssignmentStatus is {cells['AssignmentStatus']!r}")
        if forms.says_skip(fields):
            status = "skipped"
        inputs = {key.removeprefix("Input."): cell for key, cell in cells.items() if key.startswith("Input.")}
        return Answer(
            row_no,
            cells["WorkerId"] or None,
            reference_in(inputs),
            tuple(forms.marks(fields, READINGS)),
            status,
            cells,
            submitted_at=time_of(cells.get("SubmitTime")),
            started_at=time_of(cells.get("AcceptTime"), absent=""),
            duration_s=seconds_of(cells.get("WorkTimeInSeconds")),
            says_none=forms.says_none(fields),
        )

    return attempt(row_no, cells, build), knows


def _fields(cells: Mapping[str, str]) -> dict[str, Any]:
    """The answer's fields by name; JSON is read, HTML escapes are undone once."""
    fields: dict[str, Any] = {}
    for column, cell in cells.items():
        if column == TASK_ANSWERS:
            whole = as_list(forms.read_json(cell, column), column) if cell.strip() else []
            fields |= as_object(whole[0], column) if whole else {}
        elif column.startswith("Answer."):
            text = html.unescape(cell)
            is_json = text.startswith(("{", "["))
            fields[column.removeprefix("Answer.")] = forms.read_json(text, column) if is_json else text
    return fields
