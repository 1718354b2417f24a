"""Honeypots and simulated truth in a language that is not Python: proved by running, exact lines, never shown twice."""

import json

import pandas as pd
import pytest

from crlhf.crowd.honeypots import make_honeypots
from crlhf.crowd.items import completion_items, join_items
from crlhf.crowd.label_noise import label_noise
from crlhf.crowd.truth import line_truths
from crlhf.evaluation import sandbox
from crlhf.languages import sql
from crlhf.params import HoneypotsParams
from crlhf.schema import ITEMS, LINE_TRUTHS, program_of
from crlhf.store import records, to_arrow

SCHEMA = "CREATE TABLE orders (id INTEGER PRIMARY KEY, buyer TEXT, paid INTEGER);"
BEST = "SELECT buyer, SUM(paid) AS total\nFROM orders\nWHERE paid > 0\nGROUP BY buyer\nORDER BY total DESC, buyer;\n"
COUNT = "SELECT COUNT(*)\nFROM orders\nWHERE paid IS NULL OR paid <= 1;\n"
DATA = (
    "INSERT INTO orders VALUES (1, 'a', 5), (2, 'b', 9), (3, 'a', 7), (4, 'c', 0), (5, 'b', NULL), (6, 'd', 9);",
    "INSERT INTO orders VALUES (9, 'z', 1), (8, 'y', 1), (7, 'z', -4), (6, 'x', 2);",
    "INSERT INTO orders VALUES (1, 'a', NULL), (2, 'a', 1);",
)
EXPECTED = {
    "sql/1": ([["a", 12], ["b", 9], ["d", 9]], [["x", 2], ["y", 1], ["z", 1]], [["a", 1]]),
    "sql/2": ([[2]], [[3]], [[2]]),
}
WRITTEN = {
    "c1": ("sql/1", "select buyer, sum(paid) as s\nfrom orders where paid > 0\ngroup by buyer order by s desc, buyer"),
    "c2": ("sql/1", "SELECT buyer, SUM(paid)\nFROM orders\nWHERE paid > 0\nGROUP BY buyer\nORDER BY SUM(paid)"),
    "c3": ("sql/2", "SELECT COUNT(*)\nFROM ordrs\nWHERE paid <= 1"),
    "c4": ("sql/2", "SELECT COUNT(*)\nFROM orders\nWERE paid <= 1"),
    "c5": ("sql/2", "-- count\n"),
}  # fmt: skip


def problem(problem_id, reference):
    checks = [
        {"data": data, "rows": rows, "n_columns": len(rows[0]), "ordered": problem_id == "sql/1"}
        for data, rows in zip(DATA, EXPECTED[problem_id], strict=True)
    ]
    return {
        "problem_id": problem_id,
        "language": "sql",
        "kind": "description",
        "entry_point": "result",
        "setup_code": SCHEMA,
        "reference": reference,
        "tests": [json.dumps(check) for check in checks],
    }


PROBLEMS = pd.DataFrame([problem("sql/1", BEST), problem("sql/2", COUNT)])
COMPLETIONS = pd.DataFrame(
    [
        {"completion_id": cid, "problem_id": pid, "code": code, "finish_reason": "stop"}
        for cid, (pid, code) in WRITTEN.items()
    ]
)


@pytest.fixture(scope="module")
def run():
    with sandbox.open_sandbox(timeout_s=20.0, memory_mib=512, workers=1) as opened:
        yield opened.run


@pytest.fixture(scope="module")
def verdicts(run):
    rows = {row["problem_id"]: row for row in records(PROBLEMS)}
    return run([program_of(rows[row["problem_id"]], row["code"], row["completion_id"]) for row in records(COMPLETIONS)])


def test_verdicts_of_the_completions(verdicts):
    assert [(v.program_id, v.verdict, v.reason) for v in verdicts] == [
        ("c1", "pass", "all tests passed"),
        ("c2", "fail", "wrong order"),
        ("c3", "error", "no such table"),
        ("c4", "error", "syntax error"),
        ("c5", "error", "no statement"),
    ]


def test_honeypots_have_their_one_wrong_line_and_nothing_else_differs(run, verdicts):
    params = HoneypotsParams(n=10, share_correct=0.2, share_from_completions=0.3)
    made = make_honeypots(PROBLEMS, COMPLETIONS, verdicts, run, params, 7)
    to_arrow(ITEMS, made.items)
    to_arrow(LINE_TRUTHS, made.line_truths)
    assert made.n_made == 10
    assert made.items["code"].is_unique
    assert not set(made.items["code"]) & set(COMPLETIONS["code"])
    spoilt = made.items[made.items["fault_kind"] != "none"]
    assert len(spoilt) == 8
    assert set(spoilt["origin"]) == {"reference", "completion"}
    assert spoilt["fault_kind"].nunique() >= 5
    bases = [BEST, COUNT, *COMPLETIONS["code"]]
    for row in spoilt.itertuples():
        (wrong,) = row.wrong_line_nos
        assert wrong in row.line_nos == sql.judgeable_lines(row.code)
        changes = [
            [no for no, (a, b) in enumerate(zip(base.split("\n"), row.code.split("\n"), strict=True), 1) if a != b]
            for base in bases
            if base.count("\n") == row.code.count("\n")
        ]
        assert [wrong] in changes
    again = make_honeypots(PROBLEMS, COMPLETIONS, verdicts, run, params, 7)
    pd.testing.assert_frame_equal(made.items, again.items)
    items = join_items(completion_items(COMPLETIONS, {"sql/1": "sql", "sql/2": "sql"}), made.items)
    assert len(items) == 4 + 10  # c5 has nothing to judge


def test_simulated_truth_marks_the_line_that_differs_or_that_sqlite_names(verdicts):
    truths = line_truths(COMPLETIONS, PROBLEMS, verdicts)
    wrong = truths[truths["is_wrong"]].groupby("completion_id")["line_no"].apply(list).to_dict()
    methods = truths.groupby("completion_id")["method"].first().to_dict()
    # c2: DESC and the second term are missing in line 5; c3: line 2 names no table; c4: SQL stops being SQL at `paid`,
    # since WERE is still an alias
    assert wrong == {"c2": [5], "c3": [2], "c4": [3]}
    assert methods == {"c1": "tests_pass", "c2": "alignment", "c3": "traceback", "c4": "syntax"}


def test_the_rules_for_wrong_lines_find_injected_faults_when_the_original_is_known(run):
    noise = label_noise(PROBLEMS, run, 3, 15)
    overall = noise.table[(noise.table["variant"] == "with_original") & (noise.table["method"] == "all")].iloc[0]
    assert overall["n_faults"] == 15
    assert overall["recall"] == 1.0
    assert overall["exact"] >= 0.9
