"""Amazon Mechanical Turk: the CSV file of a batch's results, one row an assignment.

Sources: the header as many public projects quote it; `json.loads(cell)[0]` of `Answer.taskAnswers` as they read it;
the crowd-entity-annotation page of the AWS documentation ("unicode offset"); HTML escapes (`&#44;`, `&#34;`) as
projects undo them. Fixtures cite each.

Understood of an answer, whether it lies in `Answer.taskAnswers` (JSON, from crowd-form) or in one `Answer.<name>` each:
    {"entities": [...]}         marked spans, from crowd-entity-annotation
    wrong, wrong_lines, lines   line numbers: a list, `3|5` or `3, 5` (check boxes), or {"3": true} (crowd-checkbox)
    line_3, line-3, line3       `wrong`, `on`, true, {"on": true}: the line is wrong
    skip, skipped               true: the task was skipped
    none, no_wrong_line         true: no line is wrong, said in so many words
    error_type                  the word for the error, of all marked lines
Others are left alone, but a file in which no row has any of these is refused: its marks would be lost.

Offsets of a page count the text as a browser holds it, with CRLF read as LF (HTML standard, 13.2.3.5).
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from crlhf.annotations.importers.contract import (
    Answer,
    LineMark,
    Record,
    Refused,
    SpanMark,
    attempt,
    error_type_of,
    reference_in,
)
from crlhf.annotations.importers.marks import LF_CODE_POINTS, LF_UTF16
from crlhf.annotations.importers.opened import Opened
from crlhf.annotations.importers.values import as_list, as_object, seconds_of, time_of, whole_number
from crlhf.annotations.raw_values import ValueFault
from crlhf.errors import InputError

READINGS = (LF_CODE_POINTS, LF_UTF16)
STATUSES = {"Submitted": "submitted", "Approved": "submitted", "Rejected": "rejected", "": "unknown"}
TASK_ANSWERS = "Answer.taskAnswers"
_LINE = re.compile(r"line[-_ ]?(\d{1,9})", re.I | re.ASCII)
_LISTS, _SKIPS, _NONES = {"wrong", "wrong_lines", "lines"}, {"skip", "skipped"}, {"none", "no_wrong_line"}
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

    def build() -> Answer:
        nonlocal knows
        fields = _fields(cells)
        knows = any(_is_known(key, value) for key, value in fields.items())
        status = STATUSES.get(cells["AssignmentStatus"])
        if status is None:
            raise ValueFault("status_known", f"AssignmentStatus is {cells['AssignmentStatus']!r}")
        if any(_is_on(value) for key, value in fields.items() if key.lower() in _SKIPS):
            status = "skipped"
        inputs = {key.removeprefix("Input."): cell for key, cell in cells.items() if key.startswith("Input.")}
        return Answer(
            row_no,
            cells["WorkerId"].strip() or None,
            reference_in(inputs),
            tuple(_marks(fields)),
            status,
            dict(cells),
            submitted_at=time_of(cells.get("SubmitTime")),
            started_at=time_of(cells.get("AcceptTime"), absent=""),
            duration_s=seconds_of(cells.get("WorkTimeInSeconds")),
            says_none=any(_is_on(value) for key, value in fields.items() if key.lower() in _NONES),
        )

    return attempt(row_no, dict(cells), build), knows


def _fields(cells: Mapping[str, str]) -> dict[str, Any]:
    """The answer's fields by name; JSON is read, HTML escapes are undone once."""
    fields: dict[str, Any] = {}
    for column, cell in cells.items():
        if column == TASK_ANSWERS:
            whole = as_list(_json(cell, column), column) if cell.strip() else []
            fields |= as_object(whole[0], column) if whole else {}
        elif column.startswith("Answer."):
            text = html.unescape(cell)
            fields[column.removeprefix("Answer.")] = _json(text, column) if text.startswith(("{", "[")) else text
    return fields


def _json(cell: str, column: str) -> Any:
    for text in (cell, html.unescape(cell)):
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            reason = str(error)
    raise ValueFault("json_object", f"{column}: not JSON ({reason})")


def _is_known(key: str, value: Any) -> bool:
    is_named = key.lower() in _LISTS | _SKIPS | _NONES or _LINE.fullmatch(key) is not None
    return is_named or (isinstance(value, dict) and "entities" in value)


def _marks(fields: Mapping[str, Any]) -> Iterator[LineMark | SpanMark]:
    error_type = str(fields.get("error_type") or "")
    for key, value in fields.items():
        if isinstance(value, dict) and "entities" in value:
            yield from _spans(value["entities"])
        elif key.lower() in _LISTS:
            yield from (LineMark(line_no, error_type) for line_no in _line_nos(value, key))
        elif (found := _LINE.fullmatch(key)) and _is_on(value):
            yield LineMark(int(found[1]), error_type)


def _spans(entities: Any) -> Iterator[SpanMark]:
    for entity in as_list(entities, "entities"):
        one = as_object(entity, "an entity")
        error_type = error_type_of([html.unescape(str(one.get("label", "wrong")))])
        if error_type is not None:
            start, end = (whole_number(one.get(key), key) for key in ("startOffset", "endOffset"))
            yield SpanMark(start, end, None, READINGS, error_type)


def _line_nos(value: Any, key: str) -> list[int]:
    if isinstance(value, dict):
        value = [name for name, chosen in value.items() if _is_on(chosen)]
    if isinstance(value, str):
        value = [part for part in re.split(r"[|,;\s]+", value) if part]
    if isinstance(value, int) and not isinstance(value, bool):
        value = [value]
    parts = [
        re.sub(r"^line[-_ ]?", "", one, flags=re.I) if isinstance(one, str) else one for one in as_list(value, key)
    ]
    return [whole_number(part, f"a line of {key}") for part in parts]


def _is_on(value: Any) -> bool:
    """Whether a check box or radio button is set, in any of the forms that crowd-form writes."""
    if isinstance(value, dict):
        return any(_is_on(chosen) and str(name).lower() not in ("ok", "right", "off") for name, chosen in value.items())
    if isinstance(value, str):
        return value.strip().lower() in ("true", "on", "wrong", "yes", "1")
    return value is True or value == 1
