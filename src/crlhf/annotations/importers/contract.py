"""What an importer of a foreign format has to give: answers, or single verdicts, or what could not be read.

An importer only takes a file apart. Matching programs, turning marks into lines and pseudonyms are done once, for all
formats, in `resolving`. `docs/importers.md` shows how to write one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from crlhf.annotations.raw_values import ValueFault

if TYPE_CHECKING:
    from crlhf.annotations.importers.opened import Opened

NO_TIME = "1970-01-01T00:00:00+00:00"
"""`submitted_at` where the format has no times: before every known time, so that a dated answer takes its place."""


class LineMark(NamedTuple):
    """A line (1-based) that was marked wrong, with the annotator's word for the error."""

    line_no: int
    error_type: str = ""


class SpanMark(NamedTuple):
    """Characters `start` to `end` (exclusive) that were marked wrong.

    Attributes:
        text: the marked text where the tool wrote it, else None.
        readings: names from `marks.READINGS`, in the order in which they are tried: how the tool may have counted.
    """

    start: int
    end: int
    text: str | None
    readings: tuple[str, ...]
    error_type: str = ""


class Reference(NamedTuple):
    """How the tool names the program that was shown; at least one is needed, and all must name the same one.

    `code` is the text as it was shown. `record_id` is the tool's own id of its record: it says something only where it
    is a completion's.
    """

    completion_id: str | None = None
    code_sha256: str | None = None
    code: str | None = None
    record_id: str | None = None


class Answer(NamedTuple):
    """All that one annotator said on one program, at once. Lines without a mark were judged right.

    Attributes:
        row_no: the 1-based place in the file, for messages.
        annotator: the annotator's id in the tool, or None when the tool does not say.
        program: what was shown.
        marks: the wrong lines.
        status: a status of the raw table; `skipped` gives no verdicts.
        is_gold: the answer is a honeypot's key, not an opinion.
        says_none: the annotator said in so many words that no line is wrong.
        raw: the record as it was, for the quarantine.
    """

    row_no: int
    annotator: str | None
    program: Reference
    marks: tuple[LineMark | SpanMark, ...]
    status: str
    raw: Any
    submitted_at: str = NO_TIME
    started_at: str = ""
    duration_s: float = 0.0
    is_gold: bool = False
    says_none: bool = False


class Verdict(NamedTuple):
    """One row of a format that has a row a line: cells of the raw table by column.

    `annotator_id`, `completion_id`, `line_no` and `verdict` must be there; what the program tells (`problem_id`,
    `code_sha256`, `is_honeypot`) and what has a default may be missing.
    """

    row_no: int
    cells: Mapping[str, Any]


class Refused(NamedTuple):
    """A record that cannot be read: the rule that it breaks, why in words, and all that is known of it."""

    row_no: int
    rule: str
    reason: str
    raw: Any


Record = Answer | Verdict | Refused


def attempt(row_no: int, raw: Any, build: Callable[[], Answer]) -> Answer | Refused:
    """The answer that `build` makes, or the record refused with the rule of the value that it stumbled over."""
    try:
        return build()
    except ValueFault as fault:
        return Refused(row_no, fault.rule, str(fault), raw)


class Importer(Protocol):
    """One foreign format. An importer has no state.

    Attributes:
        name: the word after `--format`.
        source: the column `source` of its rows, and the space in which its annotator ids are unique.
        title: what a person calls the format.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def source(self) -> str: ...  # noqa: D102
    @property
    def title(self) -> str: ...  # noqa: D102

    def recognises(self, file: Opened) -> bool:
        """Whether the file looks like this format. Two formats must not recognise one file."""
        ...

    def read(self, file: Opened) -> Iterator[Record]:
        """The records of the file, in its order.

        Raises:
            InputError: the file as a whole is not of this format; the message names the file.
        """
        ...

    def warnings(self, file: Opened) -> Iterable[str]:
        """Sentences on what this file cannot tell, such as an export without the honeypots' keys."""
        ...


def reference_in(fields: Mapping[str, Any]) -> Reference:
    """The program that a task's own fields name, by the project's convention.

    `completion_id` or `sample_id`, `code_sha256`, and the program itself in `code`; where there is none of these, in
    `text`. A list of lines in `lines` (Label Studio's paragraphs) is not a text: tools may have changed its blanks.
    """
    completion_id = _text(fields.get("completion_id")) or _text(fields.get("sample_id"))
    code_sha256, code = _text(fields.get("code_sha256")), _text(fields.get("code"))
    if completion_id is None and code_sha256 is None and code is None:
        code = _text(fields.get("text"))
    return Reference(completion_id, code_sha256, code)


def error_type_of(labels: Iterable[Any]) -> str | None:
    """The annotator's word for an error in the labels of a mark; None when the label says that the text is right.

    `wrong`, `error` and `incorrect` say no more than the mark itself; `ok`, `correct` and `right` take it back.
    """
    words = [str(label).strip() for label in labels]
    if words and all(word.lower() in ("ok", "correct", "right") for word in words):
        return None
    return ", ".join(word for word in words if word.lower() not in ("wrong", "error", "incorrect", "wrong line"))


def _text(value: Any) -> str | None:
    if isinstance(value, bool) or value is None or value == "":
        return None
    return value if isinstance(value, str) else str(value) if isinstance(value, int) else None
