"""Answers that a form's fields hold, by name: what Mechanical Turk and Toloka let a requester build.

Understood are:
    {"entities": [...]}         marked spans, from crowd-entity-annotation
    wrong, wrong_lines, lines   line numbers: a list, `3|5` or `3, 5` (check boxes), or {"3": true} (crowd-checkbox)
    line_3, line-3, line3       `wrong`, `on`, true, {"on": true}: the line is wrong
    skip, skipped               true: the task was skipped
    none, no_wrong_line         true: no line is wrong, said in so many words
    error_type                  the word for the error, of all marked lines
Other fields are left alone.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from crlhf.annotations.importers.contract import LineMark, SpanMark, error_type_of
from crlhf.annotations.importers.values import as_list, as_object, whole_number
from crlhf.annotations.raw_values import ValueFault

_LINE = re.compile(r"line[-_ ]?(\d{1,9})", re.I | re.ASCII)
_LISTS, _SKIPS, _NONES = {"wrong", "wrong_lines", "lines"}, {"skip", "skipped"}, {"none", "no_wrong_line"}


def read_json(cell: str, column: str) -> Any:
    """The JSON of a cell, HTML escapes undone once where they are in the way.

    Raises:
        ValueFault: it is not JSON (rule `json_object`).
    """
    for text in (cell, html.unescape(cell)):
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            reason = str(error)
    raise ValueFault("json_object", f"{column}: not JSON ({reason})")


def is_known(fields: Mapping[str, Any]) -> bool:
    """Whether a form has any field that is understood, filled in or not."""
    named = _LISTS | _SKIPS | _NONES
    return any(key.lower() in named or _LINE.fullmatch(key) or _has_spans(value) for key, value in fields.items())


def says_skip(fields: Mapping[str, Any]) -> bool:
    """Whether the task was skipped."""
    return any(_is_on(value) for key, value in fields.items() if key.lower() in _SKIPS)


def says_none(fields: Mapping[str, Any]) -> bool:
    """Whether it is said in so many words that no line is wrong."""
    return any(_is_on(value) for key, value in fields.items() if key.lower() in _NONES)


def _has_spans(value: Any) -> bool:
    return isinstance(value, dict) and "entities" in value


def marks(fields: Mapping[str, Any], readings: tuple[str, ...]) -> Iterator[LineMark | SpanMark]:
    """The marks of a form; `readings` are the ways in which its tool may count characters.

    Raises:
        ValueFault: a field that is understood holds something else.
    """
    error_type = str(fields.get("error_type") or "")
    for key, value in fields.items():
        if _has_spans(value):
            yield from _spans(value["entities"], readings)
        elif key.lower() in _LISTS:
            yield from (LineMark(line_no, error_type) for line_no in _line_nos(value, key))
        elif (found := _LINE.fullmatch(key)) and _is_on(value):
            yield LineMark(int(found[1]), error_type)


def _spans(entities: Any, readings: tuple[str, ...]) -> Iterator[SpanMark]:
    for entity in as_list(entities, "entities"):
        one = as_object(entity, "an entity")
        error_type = error_type_of([html.unescape(str(one.get("label", "wrong")))])
        if error_type is not None:
            start, end = (whole_number(one.get(key), key) for key in ("startOffset", "endOffset"))
            yield SpanMark(start, end, None, readings, error_type)


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
