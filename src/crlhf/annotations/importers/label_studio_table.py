"""Label Studio's flat exports, CSV, TSV and JSON_MIN: a fallback, for they do not say which annotations are gold.

Source: label_studio_sdk/converter/exports/csv2.py of HumanSignal/label-studio-sdk at 0e270f31. One row is one
annotation. There are always `annotator`, `annotation_id`, `created_at`, `updated_at` and `lead_time`; beside them `id`,
the task's own fields, and one column of JSON for each control tag (`from_name`), empty where the annotation has none of
it. A field of the task that would collide is called `_data_<field>`. Skipped annotations are left out by the tool.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from crlhf.annotations.importers.contract import Answer, Record, Refused, attempt, reference_in
from crlhf.annotations.importers.label_studio import annotator_of, marks_of
from crlhf.annotations.importers.opened import Opened
from crlhf.annotations.importers.values import seconds_of, time_of
from crlhf.annotations.raw_values import ValueFault

ALWAYS = {"annotator", "annotation_id", "created_at", "updated_at", "lead_time"}
_KINDS = ("labels", "hypertextlabels", "htmllabels", "paragraphlabels", "choices")


class LabelStudioTable:
    """Label Studio's CSV, TSV and JSON_MIN."""

    name, source, title = "label-studio-csv", "label_studio", "Label Studio CSV, TSV or JSON_MIN"

    def recognises(self, file: Opened) -> bool:
        """The five columns that are always there."""
        return _delimiter(file) is not None or (isinstance(file.first_json, dict) and file.first_json.keys() >= ALWAYS)

    def read(self, file: Opened) -> Iterator[Record]:
        """An answer for each row."""
        delimiter = _delimiter(file)
        rows: Iterator[tuple[int, Any] | Refused] = file.json_elements() if delimiter is None else file.table(delimiter)
        for row in rows:
            if isinstance(row, Refused):
                yield row
            elif not isinstance(row[1], dict):
                yield Refused(row[0], "json_object", "not an object with the fields of an annotation", row[1])
            else:
                yield _answer(*row)

    def warnings(self, file: Opened) -> Iterable[str]:
        """Gold and skips are lost in these exports."""
        yield (
            "this form of Label Studio's export does not say which annotations are gold (ground_truth), so honeypots' "
            "keys count as opinions; export JSON instead"
        )


def _delimiter(file: Opened) -> str | None:
    return next((mark for mark in (",", "\t") if set(file.header(mark)) >= ALWAYS), None)


def _answer(row_no: int, cells: Mapping[str, Any]) -> Record:
    def build() -> Answer:
        fields = {key.removeprefix("_data_"): value for key, value in cells.items()}
        marks, says_none = marks_of([result for key, cell in cells.items() for result in _results(key, cell)])
        return Answer(
            row_no,
            annotator_of(cells.get("annotator"), cells.get("annotation_id")),
            reference_in(fields),
            marks,
            "submitted",
            cells,
            submitted_at=time_of(cells.get("updated_at") or cells.get("created_at")),
            duration_s=seconds_of(cells.get("lead_time")),
            says_none=says_none,
        )

    return attempt(row_no, dict(cells), build)


def _results(column: str, cell: Any) -> list[dict[str, Any]]:
    """What the column of a control tag holds, in the form of the JSON export; nothing for other columns."""
    value = cell
    if isinstance(cell, str):
        if not cell.startswith(("[", "{")):
            return []
        try:
            value = json.loads(cell)
        except (ValueError, RecursionError) as error:
            if '"labels"' in cell or 'labels":' in cell:
                raise ValueFault("json_object", f"{column}: not JSON ({error})") from None
            return []
    found = []
    for one in value if isinstance(value, list) else [value]:
        kinds = [key for key in _KINDS if isinstance(one, dict) and key in one]
        if kinds:
            found.append({"type": kinds[0], "value": one})
    return found
