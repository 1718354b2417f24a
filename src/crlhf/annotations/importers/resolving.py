"""From the records of any format to rows of the raw table: programs are matched, marks become lines, names pseudonyms.

A program is matched by its `completion_id`, the SHA-256 of its code and its code: by whichever a record has, and all
must name the same one. Line breaks are aside (`\\r\\n` is `\\n`), for pages and tables change them, and line numbers
stay. What matches nothing that was shown goes to quarantine by name. The rows then keep to every rule that `crlhf
validate` asks, or go to quarantine too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from crlhf.annotations.importers.contract import Answer, LineMark, Record, Reference, Refused, SpanMark, Verdict
from crlhf.annotations.importers.marks import OffsetFault, lines_of_span
from crlhf.annotations.pseudonyms import Pseudonyms, without_names
from crlhf.annotations.quarantine import Fault, quarantine_frame, row_json, shown
from crlhf.annotations.raw_files import DEFAULTS
from crlhf.annotations.raw_values import ValueFault, converter
from crlhf.annotations.reasons import explain
from crlhf.annotations.rules import find_faults
from crlhf.lines import sha256_text
from crlhf.schema import ANNOTATIONS
from crlhf.store import records as rows_of

if TYPE_CHECKING:
    import pandas as pd


class Gold(NamedTuple):
    """A honeypot's key as the tool knows it."""

    completion_id: str
    wrong_line_nos: tuple[int, ...]


class Resolved(NamedTuple):
    """What one file gave.

    Attributes:
        rows: the sound rows, under ANNOTATIONS; `source_file` and `source_row` are the foreign file's.
        quarantine: the others, under QUARANTINE.
        gold: honeypots' keys; they are no opinions and no rows.
        counts: `answers`, `skipped`, `gold`, `anonymous`, `unjudged marks` (on lines that are not judged).
        annotators: who is named in the rows and the quarantine, by pseudonym.
    """

    rows: pd.DataFrame
    quarantine: pd.DataFrame
    gold: list[Gold]
    counts: Counter[str]
    annotators: frozenset[str]


class _Shown:
    """The programs that were shown, to be looked up."""

    def __init__(self, items: pd.DataFrame) -> None:
        self.rows = rows_of(items)
        self.by_id = {row["completion_id"]: row for row in self.rows}
        self.by_sha: dict[str, list[dict[str, Any]]] = {}
        for row in self.rows:
            for sha256 in {row["code_sha256"], sha256_text(_lf(row["code"]))}:
                self.by_sha.setdefault(sha256, []).append(row)

    def find(self, program: Reference) -> dict[str, Any]:
        """The item that a reference names.

        Raises:
            ValueFault: there is none, there are several, or its code is another.
        """
        named = self._named(program)
        by_code = []
        if program.code_sha256 is not None:
            by_code.append(self.by_sha.get(program.code_sha256, []))
        if program.code is not None:
            digests = {sha256_text(program.code), sha256_text(_lf(program.code))}
            by_code.append([row for digest in digests for row in self.by_sha.get(digest, ())])
        candidates = [named] if named else next(filter(None, by_code), [])
        if not candidates:
            raise ValueFault("completion_known", _unknown(program))
        found = {row["completion_id"]: row for row in candidates if all(row in rows for rows in by_code)}
        if not found:
            names = ", ".join(sorted(row["completion_id"] for row in candidates))
            raise ValueFault("code_matches", f"the code or code_sha256 that was shown is not that of {names}")
        if len(found) > 1:
            names = ", ".join(sorted(found))
            raise ValueFault("completion_known", f"several programs have this code ({names}); give completion_id")
        return next(iter(found.values()))

    def _named(self, program: Reference) -> dict[str, Any] | None:
        """The item that is called by its id, or None where a reference has none."""
        if program.completion_id is None:
            return self.by_id.get(program.record_id or "")
        if program.completion_id not in self.by_id:
            raise ValueFault("completion_known", _unknown(program))
        return self.by_id[program.completion_id]


def _lf(code: str) -> str:
    return code.replace("\r\n", "\n")


def _unknown(program: Reference) -> str:
    if program.completion_id is not None:
        named = f"completion_id is {shown(program.completion_id)}"
    elif program.code is not None:
        named = f"the code begins {shown(program.code[:200])}"
    else:
        named = f"code_sha256 is {shown(program.code_sha256)}" if program.code_sha256 else "it names no program"
    return f"none of the programs that were shown: {named}"


def resolve(
    records: Iterable[Record],
    items: pd.DataFrame,
    name: str,
    source: str,
    pseudonyms: Pseudonyms,
    stays: Callable[[str], bool] = lambda annotator: False,
) -> Resolved:
    """Turn the records of the file `name` into rows and quarantine.

    Args:
        records: what an importer read.
        items: what annotators were shown, under ITEMS.
        name: what to call the file.
        source: the tool; also the space in which its annotator ids are unique.
        pseudonyms: the project's.
        stays: whether an annotator's id is a pseudonym already; those that the project's key made always stay.
    """
    book = _Book(_Shown(items), name, source, pseudonyms, stays)
    for record in records:
        book.take(record)
    rows, unread = book.frame(), quarantine_frame(book.faults)
    found = find_faults(rows, items, unread=unread)
    is_bad = found.faults.any(axis=1)
    broken = quarantine_frame([*book.faults, *explain(rows, items, found.item, found.faults)])
    return Resolved(rows[~is_bad].reset_index(drop=True), broken, book.gold, book.counts, book.annotators)


class _Book:
    """The rows of one file while it is read."""

    def __init__(
        self, programs: _Shown, name: str, source: str, pseudonyms: Pseudonyms, stays: Callable[[str], bool]
    ) -> None:
        self.programs, self.name, self.source = programs, name, source
        self.pseudonyms, self.stays = pseudonyms, stays
        self.columns: dict[str, list[Any]] = {column: [] for column in ANNOTATIONS.column_names}
        self.faults: list[Fault] = []
        self.gold: list[Gold] = []
        self.counts: Counter[str] = Counter()
        self._known: dict[str, str] = {}

    def take(self, record: Record) -> None:
        """Add the rows of a record, or its fault."""
        if isinstance(record, Refused):
            self._refuse(record.row_no, record.rule, record.reason, record.raw)
            return
        take: Callable[[Any], None] = self._take_answer if isinstance(record, Answer) else self._take_verdict
        try:
            take(record)
        except ValueFault as fault:
            raw = record.raw if isinstance(record, Answer) else dict(record.cells)
            who = record.annotator if isinstance(record, Answer) else None
            self._refuse(record.row_no, fault.rule, str(fault), raw, who)

    def _refuse(self, row_no: int, rule: str, reason: str, raw: Any, annotator: str | None = None) -> None:
        clean = row_json(without_names(raw, self._pseudonym, annotator))
        self.faults.append(Fault(self.name, row_no, rule, reason, clean))

    def _pseudonym(self, annotator: str) -> str:
        if annotator not in self._known:
            stays = self.stays(annotator)
            self._known[annotator] = annotator if stays else self.pseudonyms.of(annotator, self.source)
        return self._known[annotator]

    def _take_answer(self, answer: Answer) -> None:
        self.counts["answers"] += 1
        item = self.programs.find(answer.program)
        if answer.status == "skipped":
            self.counts["skipped"] += 1
            return
        judged = set(item["line_nos"])
        marked = self._marked_lines(answer, item)
        if answer.is_gold:
            self.counts["gold"] += 1
            self.gold.append(Gold(item["completion_id"], tuple(sorted(judged & marked.keys()))))
            return
        if not answer.annotator or not answer.annotator.strip():
            raise ValueFault("annotator_named", "the tool does not say whose answer it is")
        if answer.says_none and marked:
            raise ValueFault("answer_consistent", f"says that no line is wrong, and marks lines {sorted(marked)}")
        self.counts["anonymous"] += answer.annotator.startswith("anonymous annotation")
        self.counts["unjudged marks"] += len(marked.keys() - judged)
        whole = {
            "annotator_id": answer.annotator,
            "completion_id": item["completion_id"],
            "status": answer.status,
            "started_at": answer.started_at,
            "submitted_at": answer.submitted_at,
            "duration_s": answer.duration_s,
            "source": self.source,
        }
        for line_no in item["line_nos"]:
            verdict = {"verdict": "wrong", "error_type": marked[line_no]} if line_no in marked else {"verdict": "ok"}
            self._add(answer.row_no, {**whole, "line_no": line_no, **verdict}, item)

    def _marked_lines(self, answer: Answer, item: dict[str, Any]) -> dict[int, str]:
        """The marked lines with the word for their errors; several words are joined."""
        code = item["code"] if answer.program.code is None else answer.program.code
        n_lines = item["code"].count("\n") + 1
        found: dict[int, str] = {}
        for mark in answer.marks:
            word = str(converter("string", is_text=False)(mark.error_type))
            lines = _lines_of(code, mark)
            self.counts["unjudged marks"] += not lines
            for line_no in lines:
                if not 1 <= line_no <= n_lines:
                    raise ValueFault("line_exists", f"line {line_no} is marked; the program has {n_lines} lines")
                words = [part for part in (found.get(line_no, ""), word) if part]
                found[line_no] = ", ".join(dict.fromkeys(words))
        return found

    def _take_verdict(self, verdict: Verdict) -> None:
        item = self.programs.by_id.get(verdict.cells["completion_id"])
        cells = dict(verdict.cells)
        cells.setdefault("source", self.source)
        self._add(verdict.row_no, cells, item)

    def _add(self, row_no: int, cells: dict[str, Any], item: dict[str, Any] | None) -> None:
        known = item or {"problem_id": "", "code_sha256": "", "is_honeypot": False}
        told = {key: known[key] for key in ("problem_id", "code_sha256", "is_honeypot")}
        row = {**DEFAULTS, "batch_id": "", **told, **cells, "source_file": self.name, "source_row": row_no}
        if row["annotator_id"].strip():
            row["annotator_id"] = self._pseudonym(row["annotator_id"])
        for column, values in self.columns.items():
            values.append(row[column])

    @property
    def annotators(self) -> frozenset[str]:
        """The pseudonyms so far."""
        return frozenset(self._known.values())

    def frame(self) -> pd.DataFrame:
        """The rows so far as a table under ANNOTATIONS."""
        import pandas as pd

        kinds: dict[str, Any] = {"string": "object", "int64": "int64", "float64": "float64", "bool": "bool"}
        return pd.DataFrame(
            {
                column.name: pd.Series(self.columns[column.name], dtype=kinds[column.dtype])
                for column in ANNOTATIONS.columns
            }
        )


def _lines_of(code: str, mark: LineMark | SpanMark) -> list[int]:
    if isinstance(mark, LineMark):
        return [mark.line_no]
    try:
        return lines_of_span(code, mark)
    except OffsetFault as fault:
        raise ValueFault("offset_mismatch", str(fault)) from None
