"""A foreign file, opened once: its bytes, its text, and a cautious look at what it holds. Nothing is judged here."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from crlhf.annotations.importers.contract import Refused
from crlhf.annotations.quarantine import shown
from crlhf.annotations.raw_files import read_whole
from crlhf.errors import InputError

_LONGEST_CELL = 2**31 - 1
_BLANK = re.compile(r"[ \t\n\r]*")


class Opened:
    """A file that a user gave, with lazy views of it.

    Attributes:
        path: where it is.
        name: what messages call it.
        data: its bytes.
    """

    def __init__(self, path: Path, data: bytes) -> None:
        self.path = path
        self.name = path.name
        self.data = data
        self._headers: dict[str, list[str]] = {}

    @staticmethod
    def of(path: Path) -> Opened:
        """Read the file.

        Raises:
            MissingInputError: there is no such file.
            InputError: it is a folder, empty, UTF-16, or cannot be read; the message names it.
        """
        if path.is_dir():
            raise InputError(f"{path}: is a folder; give the files in it")
        return Opened(path, read_whole(path, str(path)))

    @cached_property
    def text(self) -> str:
        """The whole file as text.

        Raises:
            InputError: it is not UTF-8; the message names the line.
        """
        try:
            return self.data.removeprefix(b"\xef\xbb\xbf").decode("utf-8")
        except UnicodeDecodeError as error:
            line_no = self.data.count(b"\n", 0, error.start) + 1
            raise InputError(f"{self.name}: line {line_no}: not UTF-8 text; save the file as UTF-8") from None

    @cached_property
    def is_text(self) -> bool:
        """Whether the whole file is UTF-8."""
        try:
            return self.text is not None
        except InputError:
            return False

    @cached_property
    def first_json(self) -> Any:
        """The first element of a JSON list, or the JSON value that the file begins with; None where there is none."""
        if not self.is_text:
            return None
        begin = _after_blanks(self.text, 0)
        is_list = self.text.startswith("[", begin)
        return _decode(self.text, _after_blanks(self.text, begin + is_list))[0]

    @cached_property
    def is_json_list(self) -> bool:
        """Whether the file begins like a JSON list."""
        return self.is_text and self.text.lstrip(" \t\r\n").startswith("[")

    def header(self, delimiter: str) -> list[str]:
        """The first row of the file as cells; empty where it cannot be one."""
        if delimiter not in self._headers:
            try:
                self._headers[delimiter] = next(self._rows(delimiter), []) if self.is_text else []
            except csv.Error:
                self._headers[delimiter] = []
        return self._headers[delimiter]

    def json_elements(self) -> Iterator[tuple[int, Any] | Refused]:
        """The elements of a JSON list with their 1-based numbers, or the one JSON value that is not a list as number 1.

        What comes after an element that cannot be read is one Refused: a cut file keeps its whole elements.
        """
        text = self.text
        position = _after_blanks(text, 0)
        if not text.startswith("[", position):
            value, end, reason = _decode(text, position)
            if reason is None and _after_blanks(text, end) < len(text):
                reason = "there is more after the JSON value"
            yield (1, value) if reason is None else Refused(1, "json_object", reason, text[:1000])
            return
        number = 0
        position = _after_blanks(text, position + 1)
        while not text.startswith("]", position):
            number += 1
            value, end, reason = _decode(text, position)
            if reason is not None:
                yield Refused(number, "json_object", f"element {number}: {reason}", text[position : position + 1000])
                return
            yield number, value
            position = _after_blanks(text, end)
            if text.startswith(",", position):
                position = _after_blanks(text, position + 1)
            elif not text.startswith("]", position):
                reason = f"the file is cut after element {number}, or a comma is missing"
                yield Refused(number + 1, "json_object", reason, text[position : position + 1000])
                return

    def table(self, delimiter: str) -> Iterator[tuple[int, dict[str, str]] | Refused]:
        """The rows of a delimited file by column, with their 1-based numbers (the header is not counted).

        A cell may hold line breaks. Blank lines are no rows.

        Raises:
            InputError: the header is not one, or names a column twice.
        """
        rows = self._rows(delimiter)
        try:
            header = next(rows, [])
        except csv.Error as error:
            raise InputError(f"{self.name}: the header cannot be read ({error})") from None
        repeated = sorted({column for column in header if header.count(column) > 1})
        if repeated:
            raise InputError(f"{self.name}: the header names these columns twice: {', '.join(map(ascii, repeated))}")
        number = 0
        while True:
            try:
                cells = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                reason = f"a quoted cell is not closed, or text follows its end ({error})"
                number += 1
                yield Refused(number, "quotes_closed", reason, "")
                continue
            if not cells:
                continue
            number += 1
            text = delimiter.join(cells)[:1000]
            if len(cells) != len(header):
                reason = f"{len(cells)} cells, expected {len(header)} as in the header: {shown(text)}"
                yield Refused(number, "cell_count", reason, text)
            elif cells == header:
                yield Refused(number, "header_once", "the header again: files were joined", text)
            else:
                yield number, dict(zip(header, cells, strict=True))

    def _rows(self, delimiter: str) -> Iterator[list[str]]:
        limit = csv.field_size_limit(_LONGEST_CELL)
        try:
            yield from csv.reader(io.StringIO(self.text, newline=""), delimiter=delimiter, strict=True)
        finally:
            csv.field_size_limit(limit)


_DECODER = json.JSONDecoder()


def _decode(text: str, position: int) -> tuple[Any, int, str | None]:
    """The JSON value at `position`, where it ends, and why there is none."""
    try:
        value, end = _DECODER.raw_decode(text, position)
    except (ValueError, RecursionError) as error:
        cut = (
            "; the file is cut in the middle of it" if position + 1 >= len(text) or "Unterminated" in str(error) else ""
        )
        return None, position, f"not JSON ({error}){cut}"
    return value, end, None


def _after_blanks(text: str, position: int) -> int:
    found = _BLANK.match(text, position)
    return found.end() if found else position
