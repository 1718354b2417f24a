"""Label Studio's JSON export: tasks with annotations (before 1.0: completions), honeypot keys and skips included.

Sources: docs/source/guide/export.md and docs/source/tags/{hypertext,paragraphs}.md of HumanSignal/label-studio at
05f6d2db; what became of offsets between versions: pull request #1559 and issue #4843 of the same repository.

- Spans (`labels`, `hypertextlabels`, `htmllabels`): `end` is exclusive; older versions counted UTF-16 units, later ones
  code points, and the export names no version, so `value.text` decides. Of HTML, `globalOffsets` are read.
- `paragraphlabels`: `start` and `end` are indices of paragraphs from 0: with one paragraph a line, the line.
- `choices`: "no wrong line", or line numbers; on a marked region the word for its error. Others are left alone.
- `ground_truth` makes an annotation the honeypot's key; `was_cancelled` (older: `skipped`) a skipped answer.
- A draft, where the export has more of it than its id, is kept with that status, and an annotation whose last review
  did not accept it (Enterprise) as rejected. Predictions are not read.
"""

from __future__ import annotations

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
from crlhf.annotations.importers.marks import READINGS
from crlhf.annotations.importers.opened import Opened
from crlhf.annotations.importers.values import as_list, as_object, seconds_of, time_of, whole_number
from crlhf.annotations.pseudonyms import person_in
from crlhf.annotations.raw_values import ValueFault

NO_LINE = re.compile(
    r"none|(no|none|nothing) (is )?(wrong|errors?|incorrect)( lines?)?|all( lines)?( are)? (correct|right|ok)", re.I
)
_LINE = re.compile(r"(?:line\s*)?(\d{1,9})", re.I | re.ASCII)
_SPAN_TYPES = ("labels", "hypertextlabels", "htmllabels")


class LabelStudio:
    """The JSON export of Label Studio."""

    name, source, title = "label-studio", "label_studio", "Label Studio JSON"

    def recognises(self, file: Opened) -> bool:
        """A task has `data`, and `annotations` or `completions`."""
        task = file.first_json
        return isinstance(task, dict) and isinstance(task.get("data"), dict) and _key(task) is not None

    def read(self, file: Opened) -> Iterator[Record]:
        """An answer for each annotation; row n is the n-th annotation of the file."""
        row_no = 0
        for element in file.json_elements():
            if isinstance(element, Refused):
                yield element._replace(row_no=row_no + 1)
                return
            number, task = element
            if not isinstance(task, dict) or (key := _key(task)) is None or not isinstance(task.get("data"), dict):
                row_no += 1
                yield Refused(row_no, "json_object", f"element {number} is not a task with data and annotations", task)
                continue
            annotations = task[key] if isinstance(task[key], list) else [task[key]]
            for annotation in annotations:
                row_no += 1
                yield _answer(row_no, task["data"], annotation)
            drafts = task["drafts"] if isinstance(task.get("drafts"), list) else []
            for draft in (one for one in drafts if isinstance(one, dict) and "result" in one):
                row_no += 1
                yield _answer(row_no, task["data"], draft, is_draft=True)

    def warnings(self, file: Opened) -> Iterable[str]:
        """None: this export has everything."""
        return ()


def _key(task: Mapping[str, Any]) -> str | None:
    return next((key for key in ("annotations", "completions") if key in task), None)


def _answer(row_no: int, data: Mapping[str, Any], annotation: Any, is_draft: bool = False) -> Record:
    raw = {"data": data, "annotation": annotation}

    def build() -> Answer:
        found = as_object(annotation, "the annotation")
        results = as_list(found.get("result", found.get("results")), "result")
        marks, says_none = marks_of(results)
        return Answer(
            row_no,
            annotator_of(found.get("user" if is_draft else "completed_by"), found.get("id")),
            reference_in(data),
            marks,
            "draft" if is_draft else _status(found),
            raw,
            submitted_at=time_of(found.get("updated_at") or found.get("created_at")),
            duration_s=seconds_of(found.get("lead_time")),
            is_gold=found.get("ground_truth") is True or found.get("honeypot") is True,
            says_none=says_none,
        )

    return attempt(row_no, raw, build)


def _status(annotation: Mapping[str, Any]) -> str:
    if annotation.get("was_cancelled") or annotation.get("skipped"):
        return "skipped"
    reviews = as_list(annotation.get("reviews"), "reviews")
    is_rejected = bool(reviews) and as_object(reviews[-1], "a review").get("accepted") is False
    return "rejected" if is_rejected else "submitted"


def annotator_of(completed_by: Any, annotation_id: Any) -> str | None:
    """The annotator's id: a number, in a whole user record its `id`, else the address.

    An export without user details has none. Then nothing tells whose answers are the same person's, and each counts as
    an annotator of its own, named by its annotation.
    """
    name = person_in(completed_by)
    if name is None:
        return None if annotation_id is None else f"anonymous annotation {annotation_id}"
    return name


def marks_of(results: list[Any]) -> tuple[tuple[LineMark | SpanMark, ...], bool]:
    """The marks of an annotation's results, and whether it says that no line is wrong.

    Raises:
        ValueFault: a region cannot be placed.
    """
    regions: list[LineMark | SpanMark] = []
    owners: list[Any] = []
    words: dict[Any, str] = {}
    says_none = False
    for result in results:
        kind, value, owner = _parts(result)
        if kind == "choices":
            chosen = [str(choice).strip() for choice in as_list(value.get("choices"), "choices")]
            if "start" in value:
                words[owner] = error_type_of(chosen) or ""
                continue
            lines = [int(found[1]) for choice in chosen if (found := _LINE.fullmatch(choice))]
            regions += [LineMark(line_no) for line_no in lines]
            owners += [None] * len(lines)
            says_none |= any(NO_LINE.fullmatch(choice) for choice in chosen)
            continue
        labels: Any = next((value[key] for key in (kind, *_SPAN_TYPES, "paragraphlabels") if key in value), [])
        error_type = error_type_of(as_list(labels, kind))
        if error_type is None or kind not in (*_SPAN_TYPES, "paragraphlabels"):
            continue
        found_marks = _paragraphs(value, error_type) if kind == "paragraphlabels" else [_span(value, error_type)]
        regions += found_marks
        owners += [owner] * len(found_marks)
    named = (
        mark._replace(error_type=words.get(owner) or mark.error_type) if owner is not None else mark
        for mark, owner in zip(regions, owners, strict=True)
    )
    return tuple(named), says_none


def _parts(result: Any) -> tuple[str, dict[str, Any], Any]:
    found = as_object(result, "a result")
    value = as_object(found.get("value", {}), "the value of a result")
    kind = str(found.get("type", "")).lower()
    owner = found.get("id")
    return kind, value, owner if isinstance(owner, str | int) else None


def _span(value: Mapping[str, Any], error_type: str) -> SpanMark:
    text = value.get("text")
    text = text if isinstance(text, str) else None
    offsets = value.get("globalOffsets")
    start, end = value.get("start"), value.get("end")
    if isinstance(offsets, dict) and not _is_number(start):
        start, end = offsets.get("start"), offsets.get("end")
    elif not _is_number(start):
        if text is None or not start or start != end:
            raise ValueFault("offset_mismatch", "a region of HTML without globalOffsets cannot be placed")
        start, end = value.get("startOffset"), value.get("endOffset")  # within one text; `text` proves or disproves it
    return SpanMark(whole_number(start, "start"), whole_number(end, "end"), text, READINGS, error_type)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) or (isinstance(value, str) and value.strip().isdecimal())


def _paragraphs(value: Mapping[str, Any], error_type: str) -> list[LineMark]:
    """The lines that a region of paragraphs touches; one that ends at offset 0 does not touch its last."""
    first, last = whole_number(value.get("start"), "start"), whole_number(value.get("end"), "end")
    if last > first and value.get("endOffset") in (0, "0"):
        last -= 1
    if not 0 <= first <= last or last - first > 1_000_000:
        raise ValueFault("line_exists", f"a region from paragraph {first} to {last} holds no paragraph")
    return [LineMark(index + 1, error_type) for index in range(first, last + 1)]
