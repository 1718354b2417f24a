"""Argilla (SDK 2): the records of a dataset as `to_json`, `to_list` or `to_dict` write them, nested or flattened.

Sources: argilla/src/argilla/records/_io/_generic.py of argilla-io/argilla at 02e0d37e, responses.py at 1617a0f9.

- A list of records, one dict of columns (`orient="names"`) and a dict by id (`orient="index"`) are told apart.
- Nested records have no status of a response; theirs is `unknown`. Flattened ones have the parallel lists
  `<question>.responses`, `.responses.users` and `.responses.status`; fields and metadata lie beside them.
- Submitting a span question that may be left empty without a mark writes no response to it. So everybody who answered
  any question of the record has answered: ask a second question that must be answered.
- Offsets are those of the browser, in UTF-16 units (issue #5729), unless the response was logged from Python; the text
  is not written. Where the two disagree about the line, the answer cannot be placed.
- There are no times. By convention `metadata.is_gold` makes a record's responses the honeypot's key.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from crlhf.annotations.importers.contract import Answer, Record, Refused, SpanMark, attempt, error_type_of, reference_in
from crlhf.annotations.importers.marks import CODE_POINTS, UTF16
from crlhf.annotations.importers.opened import Opened
from crlhf.annotations.importers.values import as_list, as_object, whole_number
from crlhf.annotations.raw_values import ValueFault
from crlhf.errors import InputError

READINGS = (UTF16, CODE_POINTS)
STATUSES = {"submitted": "submitted", "draft": "draft", "discarded": "skipped", "pending": "draft", None: "unknown"}
_ENDS = (".responses", ".responses.users", ".responses.status")


class Argilla:
    """Records of an Argilla dataset."""

    name, source, title = "argilla", "argilla", "Argilla records"

    def recognises(self, file: Opened) -> bool:
        """Nested or flattened records, in a list, in columns or by id."""
        first = file.first_json
        if not isinstance(first, dict):
            return False
        if _is_record(first):
            return True
        return not file.is_json_list and bool(first) and _is_record(next(iter(first.values())))

    def read(self, file: Opened) -> Iterator[Record]:
        """An answer for each user of each record; row n is the n-th answer."""
        row_no = 0
        for record in self._records(file):
            if isinstance(record, Refused):
                row_no += 1
                yield record._replace(row_no=row_no)
                continue
            for answer in _answers(row_no, record):
                row_no += 1
                yield answer

    def _records(self, file: Opened) -> Iterator[Any]:
        for element in file.json_elements():
            if isinstance(element, Refused):
                yield element
            elif file.is_json_list or not isinstance(element[1], dict):
                yield element[1]
            elif _is_columnar(element[1]):
                yield from _from_columns(element[1], file.name)
            elif _is_record(element[1]):
                yield element[1]
            else:
                yield from element[1].values()

    def warnings(self, file: Opened) -> Iterable[str]:
        """No times ever; no statuses in the nested form."""
        yield "Argilla writes no times: of two answers to one program, none is known to be the later"
        first = file.first_json
        if isinstance(first, dict) and not any(key.endswith(".responses") for key in _sample(first)):
            yield "nested records have no status, so drafts and discarded answers count; export with flatten=True"


def _sample(first: Mapping[str, Any]) -> Iterable[str]:
    if _is_record(first):
        return first
    inner = next(iter(first.values()), None)
    return inner if isinstance(inner, dict) else ()


def _is_record(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    return {"fields", "responses"} <= value.keys() or ("_server_id" in value and "id" in value)


def _is_columnar(value: Mapping[str, Any]) -> bool:
    return isinstance(value.get("id"), list)


def _from_columns(columns: Mapping[str, Any], name: str) -> Iterator[dict[str, Any]]:
    lengths = {len(column) if isinstance(column, list) else -1 for column in columns.values()}
    if len(lengths) != 1 or -1 in lengths:
        raise InputError(f"{name}: the columns have different lengths; the file is not whole")
    for values in zip(*columns.values(), strict=True):
        yield dict(zip(columns, values, strict=True))


class _Response(NamedTuple):
    question: str
    value: Any
    user: str | None
    status: Any


def _answers(row_no: int, record: Any) -> Iterator[Record]:
    try:
        whole = as_object(record, "a record")
        fields, responses = _nested(whole) if "fields" in whole else _flattened(whole)
    except ValueFault as fault:
        yield Refused(row_no + 1, fault.rule, str(fault), record)
        return
    users = list(dict.fromkeys(response.user for response in responses))
    for place, user in enumerate(users, row_no + 1):
        mine = [response for response in responses if response.user == user]
        yield _answer(place, fields, user, mine)


def _nested(record: Mapping[str, Any]) -> tuple[dict[str, Any], list[_Response]]:
    metadata = as_object(record.get("metadata") or {}, "metadata")
    fields = {"id": record.get("id"), **metadata, **as_object(record["fields"], "fields")}
    found = []
    for question, responses in as_object(record.get("responses") or {}, "responses").items():
        for response in as_list(responses, f"the responses to {question}"):
            one = as_object(response, "a response")
            found.append(_Response(question, one.get("value"), _user(one.get("user_id")), None))
    return fields, found


def _flattened(record: Mapping[str, Any]) -> tuple[dict[str, Any], list[_Response]]:
    found = []
    for key in record:
        if not key.endswith(".responses"):
            continue
        values = as_list(record[key], key)
        users = as_list(record.get(f"{key}.users"), f"{key}.users")
        statuses = as_list(record.get(f"{key}.status"), f"{key}.status") or [None] * len(values)
        if not len(values) == len(users) == len(statuses):
            raise ValueFault("value_type", f"{key}: {len(values)} values, {len(users)} users, {len(statuses)} statuses")
        question = key.removesuffix(".responses")
        found += [
            _Response(question, value, _user(user), status)
            for value, user, status in zip(values, users, statuses, strict=True)
        ]
    return {key: value for key, value in record.items() if not key.endswith(_ENDS)}, found


def _user(value: Any) -> str | None:
    return value if isinstance(value, str) and value not in ("", "None") else None


def _answer(row_no: int, fields: Mapping[str, Any], user: str | None, responses: list[_Response]) -> Record:
    raw = {**fields, "responses": [response._asdict() for response in responses]}  # other people's are not its own

    def build() -> Answer:
        statuses = {response.status if isinstance(response.status, str) else None for response in responses}
        if len(statuses) > 1 or not statuses <= STATUSES.keys():
            raise ValueFault("status_known", f"the status of an answer is {sorted(map(str, statuses))}")
        record_id = fields.get("id")
        reference = reference_in(fields)._replace(record_id=record_id if isinstance(record_id, str) else None)
        return Answer(
            row_no,
            user,
            reference,
            tuple(mark for response in responses for mark in _marks(response.value)),
            STATUSES[statuses.pop()],
            raw,
            is_gold=fields.get("is_gold") is True,
        )

    return attempt(row_no, raw, build)


def _marks(value: Any) -> Iterator[SpanMark]:
    """The marks of a span question's value; other questions' values have none."""
    if not isinstance(value, list):
        return
    for span in value:
        if isinstance(span, dict) and "start" in span and "end" in span:
            error_type = error_type_of([span.get("label", "wrong")])
            if error_type is not None:
                start, end = whole_number(span["start"], "start"), whole_number(span["end"], "end")
                yield SpanMark(start, end, None, READINGS, error_type)
