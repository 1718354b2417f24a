r"""From marked characters to marked lines.

A mark touches a line when it holds at least one character of the line; the line break belongs to no line. So a mark
that ends exactly at a line's first column, or whose last character is a line break, does not mark the next line.

Tools count characters in different ways and do not say in which. A *reading* is one way: of the text as it is or with
`\r\n` read as `\n` (a browser does that to a page), in Unicode code points (Python) or in UTF-16 units (JavaScript,
where an emoji counts two). Where the tool wrote the marked text down, the first reading that gives this text is right.
Where it did not, all the readings that the tool may have used must mark the same lines.
"""

from __future__ import annotations

from typing import NamedTuple

from crlhf.annotations.importers.contract import SpanMark
from crlhf.annotations.quarantine import shown

CODE_POINTS, UTF16 = "code points", "UTF-16 units"
LF_CODE_POINTS, LF_UTF16 = "code points with CRLF as LF", "UTF-16 units with CRLF as LF"
READINGS = (CODE_POINTS, UTF16, LF_CODE_POINTS, LF_UTF16)


class OffsetFault(Exception):  # noqa: N818 - not an error of the program: it becomes a row of the quarantine
    """A mark that cannot be placed: `str()` says why."""


class _Place(NamedTuple):
    text: str
    start: int
    end: int


def lines_of_span(code: str, mark: SpanMark) -> list[int]:
    """The 1-based lines of `code` that `mark` touches, ascending; none when it holds line breaks only.

    Raises:
        OffsetFault: the mark is empty or outside the code, no reading gives the marked text, or it has no text and
            its readings mark different lines.
    """
    if not 0 <= mark.start < mark.end:
        raise OffsetFault(f"a mark from {mark.start} to {mark.end} holds no character")
    places = {name: place for name in mark.readings if (place := _read(code, mark, name)) is not None}
    if not places:
        raise OffsetFault(f"a mark from {mark.start} to {mark.end} is outside the code ({len(code)} characters)")
    if mark.text is not None:
        for place in places.values():
            if _alike(place.text[place.start : place.end], mark.text):
                return touched_lines(*place)
        found = next(iter(places.values()))
        raise OffsetFault(
            f"the mark from {mark.start} to {mark.end} is on {shown(found.text[found.start : found.end])}, "
            f"but the tool says it was on {shown(mark.text)}"
        )
    lines = {name: touched_lines(*place) for name, place in places.items()}
    if len({tuple(found) for found in lines.values()}) > 1:
        told = "; ".join(f"{name}: {found}" for name, found in lines.items())
        raise OffsetFault(f"the lines depend on how the tool counts, and it does not write the marked text ({told})")
    return next(iter(lines.values()))


def touched_lines(text: str, start: int, end: int) -> list[int]:
    r"""The 1-based lines of `text` with a character within `start` to `end`; `\n` and a `\r` before it are not counted.

    Linear in the length of the text up to `end`.
    """
    line_no = text.count("\n", 0, start) + 1
    begin = text.rfind("\n", 0, start) + 1
    found = []
    while begin < end:
        stop = text.find("\n", begin)
        last = stop - 1 if stop > begin and text[stop - 1] == "\r" else stop
        if stop < 0:
            stop = last = len(text)
        if max(begin, start) < min(last, end):
            found.append(line_no)
        begin, line_no = stop + 1, line_no + 1
    return found


def _read(code: str, mark: SpanMark, reading: str) -> _Place | None:
    """Where the mark lies under one reading, or None where it lies outside the code or cuts a character in two."""
    text = code.replace("\r\n", "\n") if reading in (LF_CODE_POINTS, LF_UTF16) else code
    start: int | None = mark.start
    end: int | None = mark.end
    if reading in (UTF16, LF_UTF16) and not text.isascii():
        start, end = _from_utf16(text, mark.start), _from_utf16(text, mark.end)
    if start is None or end is None or end > len(text):
        return None
    return _Place(text, start, end)


def _from_utf16(text: str, units: int) -> int | None:
    """How many characters the first `units` UTF-16 units are, or None."""
    data = text.encode("utf-16-le", "surrogatepass")
    if 2 * units > len(data):
        return None
    head = data[: 2 * units].decode("utf-16-le", "surrogatepass")
    return len(head) if not head or not 0xD800 <= ord(head[-1]) < 0xDC00 or text[: len(head)] == head else None


def _alike(found: str, written: str) -> bool:
    r"""Whether the two are the same text; tools differ in line breaks, and some write them as `\` and `n`."""
    found, written = found.replace("\r\n", "\n"), written.replace("\r\n", "\n")
    return found == written or found == written.replace("\\n", "\n")
