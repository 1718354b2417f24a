"""Toloka: the TSV file of a pool's results, one row a task and person.

Sources: en/guide/concepts/result-of-eval.md of Toloka/docs; Toloka/toloka-kit v0.1.25, `GetAssignmentsTsvParameters`
(which fields and statuses there are). `ASSIGNMENT:submitted` is there only when it was asked for.

- `INPUT:` fields name the program, `OUTPUT:` fields are the answer in a form that `forms` understands.
- `GOLDEN:` fields are the key of a control task, beside the person's own answer, which counts like any other.
- A training task (with a hint) is no opinion: its output is a first attempt that the platform corrects.
- An assignment is a suite of tasks, so its times are those of the suite and the work on one program is not known.
- Rows without a person separate suites.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from crlhf.annotations.importers import forms
from crlhf.annotations.importers.contract import Answer, Record, Refused, attempt, reference_in
from crlhf.annotations.importers.marks import READINGS
from crlhf.annotations.importers.opened import Opened
from crlhf.annotations.importers.values import time_of
from crlhf.annotations.raw_values import ValueFault
from crlhf.errors import InputError

WORKER, STATUS = "ASSIGNMENT:worker_id", "ASSIGNMENT:status"
STATUSES = {
    "ACTIVE": "draft",
    "SUBMITTED": "submitted",
    "APPROVED": "submitted",
    "REJECTED": "rejected",
    "SKIPPED": "skipped",
    "EXPIRED": "skipped",
    "": "unknown",
}


class Toloka:
    """Results of a pool of Toloka."""

    name, source, title = "toloka", "toloka", "Toloka pool results"

    def recognises(self, file: Opened) -> bool:
        """The column that names a person, and those of the task and of the answer."""
        header = file.header("\t")
        return WORKER in header and any(column.startswith("INPUT:") for column in header)

    def read(self, file: Opened) -> Iterator[Record]:
        """An answer for each row, and the key of a control task once.

        Raises:
            InputError: no field of the output could hold marks.
        """
        header = file.header("\t")
        outputs = {column.removeprefix("OUTPUT:"): "" for column in header if column.startswith("OUTPUT:")}
        keys: set[tuple[Any, ...]] = set()
        is_known = forms.is_known(outputs)
        for row in file.table("\t"):
            if isinstance(row, Refused):
                yield row
                continue
            row_no, cells = row
            if not cells.get(WORKER, "").strip() or any(cells[key] for key in cells if key.startswith("HINT:")):
                continue
            is_known = is_known or forms.is_known(_fields(cells, "OUTPUT:", quiet=True))
            if not is_known:
                names = ", ".join(map(ascii, outputs)) or "no field"
                raise InputError(f"{file.name}: {names} of the output has no marked lines; see docs/importers.md")
            yield _answer(row_no, cells)
            key = _key(row_no, cells)
            if key is not None and (key.program, str(key.marks)) not in keys:
                keys.add((key.program, str(key.marks)))
                yield key

    def warnings(self, file: Opened) -> Iterable[str]:
        """No times where nobody asked for them."""
        if "ASSIGNMENT:submitted" not in file.header("\t"):
            yield "the file has no ASSIGNMENT:submitted; add the field when you download, or no answer is dated"


def _answer(row_no: int, cells: Mapping[str, str]) -> Record:
    cells = {**cells, WORKER: cells[WORKER].strip()}

    def build() -> Answer:
        fields = _fields(cells, "OUTPUT:")
        status = STATUSES.get(cells.get(STATUS, "").strip().upper())
        if status is None:
            raise ValueFault("status_known", f"{STATUS} is {cells[STATUS]!r}")
        return Answer(
            row_no,
            cells[WORKER],
            reference_in(_fields(cells, "INPUT:", quiet=True)),
            tuple(forms.marks(fields, READINGS)),
            "skipped" if forms.says_skip(fields) else status,
            cells,
            submitted_at=time_of(cells.get("ASSIGNMENT:submitted")),
            started_at=time_of(cells.get("ASSIGNMENT:started"), absent=""),
            says_none=forms.says_none(fields),
        )

    return attempt(row_no, cells, build)


def _key(row_no: int, cells: Mapping[str, str]) -> Answer | None:
    """The key of a control task, or None."""
    if not any(cell for column, cell in cells.items() if column.startswith("GOLDEN:")):
        return None
    fields = _fields(cells, "GOLDEN:", quiet=True)
    try:
        marks = tuple(forms.marks(fields, READINGS))
    except ValueFault:
        return None
    program = reference_in(_fields(cells, "INPUT:", quiet=True))
    return Answer(row_no, None, program, marks, "submitted", dict(cells), is_gold=True)


def _fields(cells: Mapping[str, str], prefix: str, quiet: bool = False) -> dict[str, Any]:
    """The fields with a prefix, without it; JSON is read, where it is JSON or (unless `quiet`) should be."""
    fields: dict[str, Any] = {}
    for column, cell in cells.items():
        if not column.startswith(prefix):
            continue
        value: Any = cell
        if prefix != "INPUT:" and cell.startswith(("[", "{")):
            try:
                value = forms.read_json(cell, column)
            except ValueFault:
                if not quiet:
                    raise
        fields[column.removeprefix(prefix)] = value
    return fields
