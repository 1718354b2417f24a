"""Exports: the raw table exactly; a spreadsheet in which nothing is computed, however it splits its lines."""

import csv
import io
import json

import pytest

from crlhf.web import exports
from crlhf.web.answers import Submission, submit
from crlhf.web.assignment import next_task
from tests.web.conftest import RULES, fill, items, newcomer

FORMULAS = [
    "=1+1",
    "+1",
    "-2+3",
    "@SUM(A1)",
    "  =1",
    "\t=1",
    "x\r=1",
    "fine;=1+1",
    'fine";=1',
    'fine; "=1',
    "fine\t=1",
    "fine\n=HYPERLINK(1)",
    "\uff1d1",
    "x;\uff0b1",
]
HARMLESS = ["a - b = c; so it is", "why, -1?", "line 3 is x=1", "ça va 你好 🎉", "<b>&amp;</b>", "it's"]


@pytest.fixture
def commented(database):
    """One answer for each text, as its comment; the same texts are the names of problems and rounds."""
    rules = RULES._replace(honeypot_rate=0.0)
    texts = [*FORMULAS, *HARMLESS]
    shown = items(n_tasks=len(texts), n_honeypots=0)
    names = [f"{text}\u2028" for text in texts]
    fill(
        database,
        [one._replace(problem_id=name, round_name=name) for one, name in zip(shown, names, strict=True)],
        rules,
    )
    me = newcomer(database)
    for n, text in enumerate(texts):
        with database.write() as connection:
            task = next_task(connection, me, rules, float(n))
            submit(connection, me, Submission(task.lease_id, f"{n}", (3,), comment=text), rules, n + 0.5)
    return database


def cells(text, delimiter):
    return [cell for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) for cell in row]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_no_cell_of_the_spreadsheet_is_a_formula_whatever_splits_its_lines(commented, delimiter):
    text = "".join(exports.spreadsheet(commented))
    found = [
        cell for cell in cells(text, delimiter) if cell.lstrip(' "\t\r\n')[:1] in tuple("=+-@\uff1d\uff0b\uff0d\uff20")
    ]
    assert found == []


def test_comments_are_whole_but_for_the_apostrophes(commented):
    rows = list(csv.DictReader(io.StringIO("".join(exports.spreadsheet(commented)), newline="")))
    assert [row["comment"].replace("'", "") for row in rows] == [
        text.replace("'", "") for text in [*FORMULAS, *HARMLESS]
    ]
    assert [row["comment"] for row in rows[-len(HARMLESS) :]] == HARMLESS
    assert all(row["wrong_line_nos"] == "3" and float(row["duration_s"]) == 0.5 for row in rows)


def test_the_machine_export_is_the_raw_table_to_the_character(commented):
    rows = [json.loads(line) for line in exports.jsonl(commented)]
    assert len(rows) == 3 * len([*FORMULAS, *HARMLESS])
    assert [(row["line_no"], row["verdict"]) for row in rows[:3]] == [(2, "ok"), (3, "wrong"), (5, "ok")]
    assert {row["problem_id"] for row in rows} == {f"{text}\u2028" for text in [*FORMULAS, *HARMLESS]}
