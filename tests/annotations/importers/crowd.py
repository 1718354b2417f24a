"""What the fixtures of `tests/fixtures/imports` say, written down once by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from crlhf.annotations.importers import importer_of
from crlhf.annotations.importers.opened import Opened
from crlhf.annotations.importers.resolving import Resolved, resolve
from crlhf.annotations.pseudonyms import Pseudonyms
from crlhf.languages.python import judgeable_lines
from crlhf.lines import sha256_text
from crlhf.schema import ITEMS

FOLDER = Path(__file__).parents[2] / "fixtures" / "imports"
KEY = Pseudonyms(bytes(range(32)))
PLAIN, EMOJI, CRLF, HONEYPOT = "1f3a0c5d7e9b2468", "2b4d6f8091a3c5e7", "3c5e7092b4d6f8a1", "4d6f8a1b3c5e7092"
JUDGED = {PLAIN: [1, 3, 5], EMOJI: [1, 2, 3], CRLF: [1, 2, 3], HONEYPOT: [1, 2]}
WRONG = {
    ("ann", PLAIN): [3], ("ann", EMOJI): [3], ("ann", CRLF): [3], ("ann", HONEYPOT): [2],
    ("bob", PLAIN): [], ("bob", EMOJI): [2, 3], ("bob", CRLF): [2, 3], ("bob", HONEYPOT): [],
    ("cyd", PLAIN): [3], ("cyd", CRLF): [], ("cyd", HONEYPOT): [2],
}  # fmt: skip
"""The marked lines of each answer; cyd skipped the program with the emoji."""

IDS = {
    "label_studio": {"10": "ann", "11": "bob", "12": "cyd"},
    "argilla": {
        "aaaaaaaa-0000-4000-8000-000000000001": "ann",
        "bbbbbbbb-0000-4000-8000-000000000002": "bob",
        "cccccccc-0000-4000-8000-000000000003": "cyd",
    },
    "mturk": {"A2QEXAMPLE0ANN": "ann", "A3REXAMPLE0BOB": "bob", "A1SEXAMPLE0CYD": "cyd"},
    "toloka": {f"f{n}a0b2c3d4e5f60718293a4b5c6d7e8f": name for n, name in ((1, "ann"), (2, "bob"), (3, "cyd"))},
    "crowd_kit": {"w1": "ann", "w2": "bob", "w3": "cyd"},
    "collected": {"ann": "ann", "bob": "bob", "cyd": "cyd"},
}
"""What each tool calls the three annotators."""

COLUMNS = [
    "annotator_id",
    "completion_id",
    "problem_id",
    "code_sha256",
    "line_no",
    "verdict",
    "error_type",
    "is_honeypot",
]
TIMED = [*COLUMNS, "status", "submitted_at", "duration_s"]


def items() -> pd.DataFrame:
    rows = [
        {
            **row,
            "code_sha256": sha256_text(row["code"]),
            "line_nos": judgeable_lines(row["code"]),
            "origin": "policy",
            "fault_kind": "",
        }
        for row in json.loads((FOLDER / "items.json").read_text(encoding="utf-8"))
    ]
    return pd.DataFrame(rows, columns=list(ITEMS.column_names))


def canonical() -> pd.DataFrame:
    """The table that every fixture must give."""
    shown = items().set_index("completion_id")
    rows = []
    for (who, program), wrong in WRONG.items():
        item = shown.loc[program]
        a, k = ("ann", "bob", "cyd").index(who), list(JUDGED).index(program)
        rows += [
            {
                "annotator_id": who,
                "completion_id": program,
                "problem_id": f"starter/{k + 1}",
                "code_sha256": item["code_sha256"],
                "line_no": line_no,
                "verdict": "wrong" if line_no in wrong else "ok",
                "error_type": "",
                "is_honeypot": program == HONEYPOT,
                "status": "submitted",
                "submitted_at": f"2025-03-15T{10 + a}:0{k}:00+00:00",
                "duration_s": 30.0 + 10 * a + k,
            }
            for line_no in JUDGED[program]
        ]
    return in_order(pd.DataFrame(rows))


def in_order(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.sort_values(["annotator_id", "completion_id", "line_no"], ignore_index=True)


def read(path: Path, format_name: str = "auto", keep_ids: bool = False) -> Resolved:
    file = Opened.of(path)
    importer = importer_of(file, format_name)
    return resolve(importer.read(file), items(), file.name, importer.source, KEY, stays=lambda annotator: keep_ids)


def named(rows: pd.DataFrame, source: str) -> pd.DataFrame:
    """The rows with the three annotators' names in the place of their pseudonyms."""
    names = {KEY.of(raw, source): name for raw, name in IDS[source].items()}
    return in_order(rows.assign(annotator_id=rows["annotator_id"].map(names)))


def rules(found: Resolved) -> dict[int, list[str]]:
    return {int(row): sorted(names) for row, names in found.quarantine.groupby("source_row")["rule"]}
