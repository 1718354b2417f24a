"""SQL in the sandbox: verdicts by hand, and scripts that try to harm or to be scored right without being right."""

import json
from pathlib import Path

import pytest

from crlhf.evaluation import sandbox
from crlhf.evaluation.sandbox.sql_checks import same_rows, same_value
from crlhf.evaluation.sandbox.tester import RUNNERS
from crlhf.languages import LANGUAGES
from crlhf.schema import Program

HOSTILE = {path.stem: path.read_text() for path in sorted((Path(__file__).parent / "hostile_sql").glob("*.sql"))}
SCHEMA = "CREATE TABLE numbers (n INTEGER);"


def check(data, rows, *, ordered=False, n_columns=1):
    return json.dumps({"data": data, "rows": rows, "n_columns": n_columns, "ordered": ordered})


SQUARES = (
    check("INSERT INTO numbers VALUES (3);", [[9]]),
    check("INSERT INTO numbers VALUES (2), (4);", [[4], [16]]),
    check("INSERT INTO numbers VALUES (-5), (NULL);", [[25], [None]]),
)


@pytest.fixture(scope="module")
def warm():
    with sandbox.open_sandbox(timeout_s=30.0, memory_mib=1024, workers=1) as opened:
        yield opened


@pytest.fixture
def verdict_of(warm):
    def judge(code, *tests, entry_point="result", schema=SCHEMA):
        verdict = warm.run([Program("p", code, entry_point, schema, tests or SQUARES, "sql")])[0]
        return verdict.verdict, verdict.reason, verdict.line_no, verdict.failed_test_no

    return judge


PASS = ("pass", "all tests passed", None, None)


def test_every_language_has_a_runner():
    assert set(RUNNERS) == set(LANGUAGES)


@pytest.mark.parametrize(
    "code", ["SELECT n * n FROM numbers", "select N*N -- square\nfrom Numbers;\n", "SELECT n * n * 1.0 FROM numbers;;"]
)
def test_a_right_query_passes_whatever_its_layout(verdict_of, code):
    assert verdict_of(code) == PASS


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("SELECT n * n FROM numbers WHERE n > 0", ("fail", "wrong rows", None, 2)),
        ("SELECT n * n, n FROM numbers", ("fail", "wrong number of columns", None, 0)),
        ("SELECT n * n\nFORM numbers", ("error", "syntax error", 2, None)),
        ("SELECT n * n\nFROM numbers WHERE (n > 0", ("error", "syntax error", 2, None)),
        ("SELECT n * n\nFROM numbers\nWHERE n = 'open", ("error", "syntax error", 3, None)),
        ("SELECT n *\nm\nFROM numbers", ("error", "no such column", 2, 0)),
        ("SELECT b\nFROM (SELECT n AS b FROM numbers)\nWHERE n > 0", ("error", "no such column", 3, 0)),  # not line 2
        ("SELECT a.n\nFROM numbers AS a\nWHERE b.n > 0", ("error", "no such column", 3, 0)),
        ("SELECT a.n\nFROM numbers a, numbers b\nORDER BY\nn", ("error", "ambiguous column", 4, 0)),
        ("SELECT n\n*\nn FROM\nfigures", ("error", "no such table", 4, 0)),
        ("SELECT n,\nsquare(n) FROM numbers", ("error", "no such function", 2, 0)),
        ("SELECT a.n\nFROM numbers a, numbers b\nWHERE n > 0", ("error", "ambiguous column", 3, 0)),
        ("SELECT n FROM numbers\nWHERE SUM(n) > 0", ("error", "misuse of an aggregate", 2, 0)),
        ("SELECT LENGTH(n,\nn) FROM numbers", ("error", "wrong number of arguments", 1, 0)),
        ("", ("error", "no statement", None, None)),
        ("-- SELECT n * n FROM numbers", ("error", "no statement", None, None)),
        ("DELETE FROM numbers", ("error", "not authorized", None, 0)),
        ("SELECT 1; SELECT n * n FROM numbers", PASS),
    ],
)
def test_verdicts_by_hand(verdict_of, code, expected):
    assert verdict_of(code) == expected


def test_order_counts_only_where_the_check_asks_for_it(verdict_of):
    data = "INSERT INTO numbers VALUES (2), (1);"
    code = "SELECT n FROM numbers ORDER BY n DESC"
    assert verdict_of(code, check(data, [[1], [2]])) == PASS
    assert verdict_of(code, check(data, [[1], [2]], ordered=True)) == ("fail", "wrong order", None, 0)


def test_a_statement_that_changes_a_table_is_judged_by_the_table(verdict_of):
    tests = (check("INSERT INTO numbers VALUES (1), (2);", [[2], [3]]), check("", []))
    assert verdict_of("UPDATE numbers SET n = n + 1", *tests, entry_point="numbers") == PASS
    assert verdict_of("BEGIN; UPDATE numbers\nSET n = n + 2; COMMIT", *tests, entry_point="numbers") == (
        "fail", "wrong rows", None, 0,
    )  # fmt: skip
    assert verdict_of("DROP TABLE numbers", *tests, entry_point="numbers")[:2] == ("error", "no such table")


def test_a_view_is_read_like_a_table(verdict_of):
    tests = (check("INSERT INTO numbers VALUES (1), (5);", [[6]]), check("INSERT INTO numbers VALUES (2);", [[2]]))
    assert verdict_of("CREATE VIEW totals AS SELECT SUM(n) FROM numbers", *tests, entry_point="totals") == PASS


def test_each_check_has_a_database_of_its_own(verdict_of):
    # the second check would find the first one's rows
    tests = (check("INSERT INTO numbers VALUES (1);", [[1]]), check("INSERT INTO numbers VALUES (2);", [[2]]))
    assert verdict_of("INSERT INTO numbers SELECT 1 WHERE false", *tests, entry_point="numbers") == PASS


def test_a_query_that_never_ends_is_stopped_after_the_same_step_everywhere(verdict_of):
    assert verdict_of(HOSTILE["recursion_without_a_row"]) == ("timeout", "too many steps", None, 0)


@pytest.mark.parametrize(
    ("value", "other", "is_same"),
    [
        (1, 1.0, True),
        (0.1 + 0.2, 0.3, True),
        (1, 1.000001, False),
        (2**53, 2**53 + 1, False),  # integers are exact
        ("1", 1, False),
        (None, None, True),
        (None, 0, False),
        (None, "", False),
        ("a", "A", False),
        ("a", b"a", False),
        (float("inf"), float("inf"), True),
    ],
)
def test_values_are_compared_by_type_with_one_kind_of_number(value, other, is_same):
    assert same_value(value, other) is is_same
    assert same_value(other, value) is is_same


def test_rows_are_a_multiset():
    assert same_rows([[1, "a"], [1, "a"], [2, None]], [[2, None], [1.0, "a"], [1, "a"]], is_ordered=False)
    assert not same_rows([[1], [1], [2]], [[1], [2], [2]], is_ordered=False)
    assert not same_rows([[1], [2]], [[2], [1]], is_ordered=True)
    assert not same_rows([[1]], [[1], [1]], is_ordered=False)


def test_the_corpus_is_large():
    assert len(HOSTILE) >= 30


@pytest.mark.parametrize("entry_point", ["result", "numbers"])
def test_no_hostile_script_passes_or_leaves_anything(warm, entry_point):
    before = set(Path("/tmp").glob("crlhf-sql-hostile*")), len(list(Path("/proc/self/fd").iterdir()))
    programs = [Program(name, code, entry_point, SCHEMA, SQUARES, "sql") for name, code in HOSTILE.items()]
    verdicts = warm.run(programs)
    assert [verdict.program_id for verdict in verdicts if verdict.verdict == "pass"] == []
    assert {verdict.isolation for verdict in verdicts} == {warm.level}
    assert (set(Path("/tmp").glob("crlhf-sql-hostile*")), len(list(Path("/proc/self/fd").iterdir()))) == before
    right = Program("right", "SELECT n * n FROM numbers", "result", SCHEMA, SQUARES, "sql")
    assert warm.run([right])[0].verdict == "pass"
    # none of them ended the process or met the tester's clock: SQLite itself refused each
    assert [v.program_id for v in verdicts if v.reason in ("process ended", "timeout", "unreadable answer")] == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("attach_a_file", "not authorized"),
        ("vacuum_into_a_file", "not authorized"),
        ("load_extension", "not authorized"),
        ("readfile", "no such function"),
        ("pragma_writable_schema", "not authorized"),
        ("pragma_by_function", "not authorized"),
        ("rewrites_the_schema", "not authorized"),
        ("zeroblob_memory", "too large"),
        ("recursion_that_doubles", "too large"),
        ("recursion_without_end", "too many rows"),
        ("cross_join_bomb", "too many steps"),
        ("huge_result", "too many rows"),
        ("deep_expression", "too large"),
        ("virtual_table", "not authorized"),
        ("chance", "not authorized"),
        ("text_for_a_number", "wrong rows"),
    ],
)
def test_what_stops_a_hostile_script(verdict_of, name, reason):
    assert verdict_of(HOSTILE[name])[1] == reason
