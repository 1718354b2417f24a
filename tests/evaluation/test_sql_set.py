"""The SQL set: every reference, every check, and faults that the checks can see."""

import json
import sqlite3
from collections import Counter
from pathlib import Path

import pytest

from crlhf.errors import InputError, MissingInputError, ParamsError
from crlhf.evaluation import sandbox
from crlhf.evaluation.near_duplicates import near_duplicates
from crlhf.evaluation.problems import load_sql
from crlhf.evaluation.protocols import get_protocol
from crlhf.evaluation.sandbox.sql_checks import same_rows
from crlhf.languages import sql
from crlhf.schema import PROBLEMS, program_of
from crlhf.store import records, to_arrow

FILE = Path(__file__).resolve().parents[2] / "data" / "sql" / "problems.jsonl"


@pytest.fixture(scope="module")
def problems():
    return load_sql(FILE)


@pytest.fixture(scope="module")
def verdicts(problems):
    """Of each reference, and of all its faults, by problem_id."""
    programs, owners = [], []
    for row in records(problems):
        codes = [row["reference"], *(fault.code for fault in sql.possible_faults(row["reference"]))]
        programs += [program_of(row, code, "p") for code in codes]
        owners += [row["problem_id"]] * len(codes)
    found = {}
    with sandbox.open_sandbox(timeout_s=20.0, memory_mib=512, workers=2) as opened:
        for owner, verdict in zip(owners, opened.run(programs), strict=True):
            found.setdefault(owner, []).append(verdict)
    return found


def test_the_set_is_28_problems_to_train_on_and_12_to_be_scored_on(problems):
    to_arrow(PROBLEMS, problems)
    assert Counter(problems["split"]) == {"train": 28, "test": 12}
    assert list(problems["problem_id"]) == [f"sql/{number}" for number in range(1, 41)]
    assert set(problems["language"]) == {"sql"}
    assert problems["prompt"].is_unique


def test_topics_reach_from_filters_to_recursion_in_both_splits():
    rows = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
    train, test = (
        {topic for row in rows if row["split"] == split for topic in row["topics"]} for split in ("train", "test")
    )
    both = {"group", "join", "null", "recursive", "set-operations", "subquery", "window", "case", "dates"}
    assert both <= train & test
    assert {"upsert", "ddl", "delete", "exists", "having", "text", "limit"} <= train | test


def test_expected_rows_are_what_the_reference_gives_in_plain_sqlite(problems):
    for row in records(problems):
        for test in map(json.loads, row["tests"]):
            connection = sqlite3.connect(":memory:")
            connection.executescript(row["setup_code"] + test["data"])
            cursor = connection.execute(row["reference"])
            if row["entry_point"] != "result":
                cursor = connection.execute(f"SELECT * FROM {row['entry_point']}")
            rows = [list(values) for values in cursor]
            assert same_rows(test["rows"], rows, is_ordered=test["ordered"]), row["problem_id"]
            assert len(cursor.description) == test["n_columns"], row["problem_id"]


def test_every_reference_passes_in_the_sandbox(verdicts):
    assert [owner for owner, (reference, *_) in verdicts.items() if reference.verdict != "pass"] == []


def test_every_problem_tells_at_least_three_faults_from_its_reference(verdicts):
    caught = {owner: sum(v.verdict in ("fail", "error") for v in rest) for owner, (_, *rest) in verdicts.items()}
    assert len(caught) == 40
    assert {owner: n for owner, n in caught.items() if n < 3} == {}
    assert sum(caught.values()) > 550


def test_an_answer_written_down_for_the_first_database_passes_nothing(problems):
    def literal(value):
        return "NULL" if value is None else repr(value)

    programs = []
    for row in records(problems):
        first = json.loads(row["tests"][0])
        rows = [", ".join(map(literal, values)) for values in first["rows"]]
        code = " UNION ALL ".join(f"SELECT {values}" for values in rows)
        if row["entry_point"] == "result":
            programs.append(program_of(row, code or "SELECT 1 WHERE 0", row["problem_id"]))
    with sandbox.open_sandbox(timeout_s=20.0, memory_mib=512, workers=1) as opened:
        found = opened.run(programs)
    assert {verdict.verdict for verdict in found} == {"fail"}
    assert min(verdict.failed_test_no for verdict in found) >= 1  # on the first database it is the right answer


def test_no_test_problem_is_a_near_duplicate_of_a_training_problem(problems):
    train, test = (problems[problems["split"] == split] for split in ("train", "test"))
    assert near_duplicates(train, test, 0.5) == []


def test_the_protocol_shows_the_schema_and_the_question_and_ends_at_the_semicolon(problems):
    protocol, row = get_protocol("sql/sqlite-v1"), records(problems)[1]
    assert protocol.model_input(row) == (
        "-- SQLite\n"
        "CREATE TABLE employees (id INTEGER PRIMARY KEY, name TEXT NOT NULL, manager_id INTEGER, team TEXT, "
        "salary INTEGER NOT NULL, hired_on TEXT NOT NULL);\n\n"
        "-- List the id and name of every employee who has no manager.\n"
    )
    program = protocol.program(row, protocol.cut("SELECT id, name\nFROM employees;\n\n-- Next"), "p")
    assert program.code == "SELECT id, name\nFROM employees"
    assert (program.language, program.entry_point, len(program.tests)) == ("sql", "result", 3)


def test_a_protocol_refuses_problems_in_another_language(problems):
    with pytest.raises(ParamsError, match="mbpp/incoder0-v1 is for problems in python, and sql/1 is in sql"):
        get_protocol("mbpp/incoder0-v1").model_input(records(problems)[0])


GOOD = json.loads(FILE.read_text(encoding="utf-8").splitlines()[0])


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"split": "dev"}, "row 1: the split is 'dev'"),
        ({"description": " "}, "row 1: the description is empty"),
        ({"checks": GOOD["checks"][:2]}, "at least 3 checks"),
        ({"checks": [GOOD["checks"][0]] * 3}, "every check expects the same rows"),
        ({"checks": [*GOOD["checks"][:2], GOOD["checks"][2] | {"n_columns": 2}]}, "check 2: a row has not 2 values"),
        ({"checks": [*GOOD["checks"][:2], {"data": ""}]}, "check 2: field rows must be a list"),
        ({"reference": "-- none"}, "no entry point"),
        ({"number": "1"}, "field number must be a int"),
    ],
)
def test_a_bad_row_is_named_with_its_rule(tmp_path, change, rule):
    path = tmp_path / "sql.jsonl"
    path.write_text(json.dumps(GOOD | change))
    with pytest.raises(InputError, match=rule) as caught:
        load_sql(path)
    assert str(path) in str(caught.value)


def test_numbers_are_unique_and_the_file_is_there(tmp_path):
    path = tmp_path / "sql.jsonl"
    with pytest.raises(MissingInputError):
        load_sql(path)
    path.write_text(f"{json.dumps(GOOD)}\n{json.dumps(GOOD)}\n")
    with pytest.raises(InputError, match="row 2: the number 1 is used"):
        load_sql(path)
