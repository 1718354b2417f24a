"""SQL: tokens, judgeable lines, names, and each kind of fault by hand."""

import sqlite3

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crlhf.crowd.alignment import align
from crlhf.languages import sql
from crlhf.languages.sql.tokens import all_tokens, statements, tokens_of
from crlhf.schema import Verdict


def test_strings_and_quoted_names_may_look_like_comments():
    code = "SELECT '-- no', \"/* no\" -- yes\nFROM t /* yes\n yes */\nWHERE a = 'it''s -- ''\n-- inside'\n-- yes\n"
    # lines: 1 code, 2 code then a comment, 3 comment, 4 a string begins, 5 the string ends, 6 comment, 7 empty
    assert sql.judgeable_lines(code) == [1, 2, 4, 5]
    assert [token.text for token in all_tokens(code) if token.kind == "comment"] == [
        "-- yes",
        "/* yes\n yes */",
        "-- yes",
    ]


@pytest.mark.parametrize("code", ["", "\n \n", "-- only\n/* this\n\n */", "/* never closed\nSELECT 1"])
def test_a_script_of_comments_has_no_judgeable_line(code):
    assert sql.judgeable_lines(code) == []
    assert sql.possible_faults(code) == []


def test_closing_brackets_and_semicolons_count_like_any_other_line():
    assert sql.judgeable_lines("SELECT (\n1\n)\n;") == [1, 2, 3, 4]


@given(st.text(alphabet="SELECT 'x\"`[]-/*\n;.()1", max_size=60))
def test_any_text_has_tokens_that_are_its_own(code):
    tokens = all_tokens(code)
    assert all(code[token.start : token.end] == token.text for token in tokens)
    between = [
        code[a:b] for a, b in zip([0, *(t.end for t in tokens)], [*(t.start for t in tokens), None], strict=True)
    ]
    assert not "".join(between).strip()
    assert all(token.line_no == code.count("\n", 0, token.start) + 1 for token in tokens)
    assert sql.judgeable_lines(code) == sorted(set(sql.judgeable_lines(code)))


def test_a_semicolon_in_a_trigger_or_a_string_ends_no_statement():
    code = "SELECT ';'; CREATE TRIGGER r AFTER INSERT ON t BEGIN DELETE FROM t; END; SELECT 2"
    assert [part[0].text for part in statements(tokens_of(code), code)] == ["SELECT", "CREATE", "SELECT"]


@pytest.mark.parametrize(
    ("code", "entry_point"),
    [
        ("SELECT 1", "result"),
        ("CREATE TABLE t (a);\nWITH x AS (SELECT 1) SELECT * FROM x;", "result"),
        ("VALUES (1)", "result"),
        ("INSERT OR REPLACE INTO Stock VALUES (1)", "stock"),
        ("WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x", "t"),
        ("UPDATE OR IGNORE t SET a = (SELECT 1)", "t"),
        ("DELETE FROM t WHERE a IN (SELECT 1)", "t"),
        ('CREATE VIEW IF NOT EXISTS "big ones" AS SELECT 1', "big ones"),
        ("CREATE TEMP TABLE t (a)", "t"),
    ],
)
def test_the_entry_point_is_the_rows_of_a_query_or_what_a_statement_changes(code, entry_point):
    assert sql.find_entry_point(code) == entry_point


@pytest.mark.parametrize("code", ["", "-- nothing", "CREATE INDEX i ON t (a)", "PRAGMA user_version"])
def test_a_script_that_answers_nothing_has_no_entry_point(code):
    with pytest.raises(ValueError, match="statement"):
        sql.find_entry_point(code)


BY_HAND = [
    ("comparison_operator", "SELECT a FROM t WHERE a = 1", "SELECT a FROM t WHERE a <> 1"),
    ("boundary_comparison", "SELECT a FROM t WHERE a < 1", "SELECT a FROM t WHERE a <= 1"),
    ("boolean_operator", "SELECT a FROM t WHERE a OR b", "SELECT a FROM t WHERE a AND b"),
    ("dropped_condition", "SELECT a FROM t WHERE a AND b LIMIT 1", "SELECT a FROM t WHERE a LIMIT 1"),
    ("arithmetic_operator", "SELECT a * b FROM t", "SELECT a + b FROM t"),
    ("null_test", "SELECT a FROM t WHERE a IS NULL", "SELECT a FROM t WHERE a IS NOT NULL"),
    ("null_test", "SELECT a FROM t WHERE a IS NOT NULL", "SELECT a FROM t WHERE a IS NULL"),
    ("membership", "SELECT a FROM t WHERE a NOT IN (1)", "SELECT a FROM t WHERE a IN (1)"),
    ("membership", "SELECT a FROM t WHERE EXISTS (SELECT 1)", "SELECT a FROM t WHERE NOT EXISTS (SELECT 1)"),
    ("membership", "SELECT a FROM t WHERE a BETWEEN 1 AND 2", "SELECT a FROM t WHERE a NOT BETWEEN 1 AND 2"),
    ("join_type", "SELECT a FROM t LEFT JOIN u ON x = y", "SELECT a FROM t JOIN u ON x = y"),
    ("join_type", "SELECT a FROM t JOIN u ON x = y", "SELECT a FROM t LEFT JOIN u ON x = y"),
    ("join_type", "select a from t inner join u on x = y", "select a from t left join u on x = y"),
    ("set_operation", "SELECT a FROM t UNION SELECT 1", "SELECT a FROM t UNION ALL SELECT 1"),
    ("set_operation", "SELECT a FROM t EXCEPT SELECT 1", "SELECT a FROM t INTERSECT SELECT 1"),
    ("dropped_distinct", "SELECT COUNT(DISTINCT a) FROM t", "SELECT COUNT(a) FROM t"),
    ("added_distinct", "SELECT a FROM t", "SELECT DISTINCT a FROM t"),
    ("wrong_aggregate", "SELECT SUM(a) FROM t", "SELECT AVG(a) FROM t"),
    ("wrong_aggregate", "SELECT COUNT(a) FROM t", "SELECT COUNT(*) FROM t"),
    ("sort_order", "SELECT a FROM t ORDER BY a DESC", "SELECT a FROM t ORDER BY a ASC"),
    ("sort_order", "SELECT a FROM t ORDER BY a DESC, b", "SELECT a FROM t ORDER BY a DESC, b DESC"),
    ("sort_order", "SELECT a FROM t ORDER BY f(a, 1), b", "SELECT a FROM t ORDER BY f(a, 1) DESC, b"),
    ("window_function", "SELECT RANK() OVER (ORDER BY a) FROM t", "SELECT DENSE_RANK() OVER (ORDER BY a) FROM t"),
    ("dropped_partition", "SELECT SUM(a) OVER (PARTITION BY b) FROM t", "SELECT SUM(a) OVER () FROM t"),
    ("window_frame", "SELECT SUM(a) OVER (ROWS 2 PRECEDING) FROM t", "SELECT SUM(a) OVER (RANGE 2 PRECEDING) FROM t"),
    ("wrong_constant", "SELECT a FROM t LIMIT 3", "SELECT a FROM t LIMIT 2"),
    ("wrong_constant", "SELECT strftime('%Y-%m', a) FROM t", "SELECT strftime('%m-%m', a) FROM t"),
    ("wrong_column", "SELECT t.a FROM t WHERE t.b > 1", "SELECT t.b FROM t WHERE t.b > 1"),
    ("wrong_qualifier", "SELECT x.a, y.a, y.b FROM t x, t y", "SELECT x.a, x.a, y.b FROM t x, t y"),
    ("dropped_default", "SELECT COALESCE(a, f(b, 1), 0) FROM t", "SELECT a FROM t"),
    ("swapped_branches", "SELECT CASE WHEN a THEN 1 ELSE 0 END FROM t", "SELECT CASE WHEN a THEN 0 ELSE 1 END FROM t"),
    ("wrong_function", "SELECT UPPER(a) FROM t", "SELECT LOWER(a) FROM t"),
    ("conflict_action", "INSERT OR REPLACE INTO t VALUES (1)", "INSERT OR IGNORE INTO t VALUES (1)"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "code", "spoilt"), BY_HAND)
def test_each_kind_of_fault(kind, code, spoilt):
    assert (spoilt, kind) in {(fault.code, fault.kind) for fault in sql.possible_faults(code)}


def test_every_kind_is_shown_by_hand():
    assert {kind for kind, _, _ in BY_HAND} == set(sql.fault_kinds)


@pytest.mark.parametrize(
    ("code", "never"),
    [
        ("UPDATE t SET a = 1 WHERE b = 2", "SET a <> 1"),  # an assignment is no comparison
        ("SELECT a FROM t WHERE a BETWEEN 1 AND 2", "1 OR 2"),  # nor is that AND a condition's
        ("SELECT COUNT(*) FROM t", "COUNT(+)"),
        ("SELECT a AS b FROM t", "AS a"),
        ("CREATE TABLE IF NOT EXISTS t (a)", "IF EXISTS"),
    ],
)
def test_what_only_looks_like_a_place_for_a_fault_is_left_alone(code, never):
    assert not [fault.code for fault in sql.possible_faults(code) if never in fault.code]


@pytest.mark.parametrize("code", ["SELECT a FORM t WHERE a = 1", "SELECT (a FROM t", "SELECT 'a FROM t WHERE b = 1"])
def test_a_script_that_does_not_parse_has_no_faults(code):
    assert sql.possible_faults(code) == []


def test_every_fault_still_parses():
    code = ";\n".join(code for _, code, _ in BY_HAND[:15])
    faults = sql.possible_faults(code)
    assert len(faults) > 60
    with sqlite3.connect(":memory:") as connection:
        for statement in (part for fault in faults for part in fault.code.split(";") if part.strip()):
            with pytest.raises(sqlite3.Error, match="no such"):  # the grammar is done with it: a table is missing
                connection.execute(f"EXPLAIN {statement}")


QUERY = (
    "SELECT c.name, SUM(o.paid) AS total\nFROM customers AS c\nLEFT JOIN orders o ON o.customer = c.id\nGROUP BY c.id"
)


def test_free_names_are_aliases_and_not_tables_or_columns():
    assert sql.free_names(QUERY, "result") == {"c", "o", "total"}
    assert sql.free_names("SELECT a, SUM(b) AS c, MAX(b) FROM t", "result") == {"c"}  # no function is a free name
    recursive = "WITH RECURSIVE steps(n) AS (SELECT 1 UNION SELECT n + 1 FROM steps) SELECT n FROM steps"
    assert sql.free_names(recursive, "result") == {"steps"}
    assert sql.free_names("CREATE VIEW best AS SELECT a AS b FROM t", "best") == {"b"}


def test_layout_case_and_names_do_not_count_in_a_comparison():
    other = (
        "select k.name, sum(z.paid) from customers k left outer join orders as z on z.customer = k.id group by k.id;"
    )
    assert align(QUERY, other, "result", sql) == ((), 1.0)


def test_a_columns_name_does_not_count_but_its_use_does():
    def words(code):
        return " ".join(token for line in sql.plain_lines(code) for token in line.tokens)

    cast = "SELECT CAST(a AS REAL) AS b FROM t AS u ORDER BY b"
    assert words(cast) == "SELECT CAST ( a real ) FROM t u ORDER BY b"
    assert words("SELECT s.n FROM (SELECT 1 AS n) AS s") == "SELECT s . n FROM ( SELECT 1 ) s"


def test_a_wrong_token_marks_the_line_it_stands_on_whatever_the_other_ones_layout():
    other = QUERY.replace("\n", " ")
    assert align(QUERY.replace("LEFT JOIN", "JOIN"), other, "result", sql).line_nos == (2,)  # missing after line 2
    assert align(QUERY.replace("SUM", "AVG"), other, "result", sql).line_nos == (1,)
    assert align(QUERY.replace("BY c.id", "BY c.name"), other, "result", sql).line_nos == (4,)


def test_a_renamed_query_gives_the_same_rows():
    connection = sqlite3.connect(":memory:")
    connection.executescript(
        "CREATE TABLE customers (id, name); CREATE TABLE orders (customer, paid);"
        "INSERT INTO customers VALUES (1, 'a'), (2, 'b'); INSERT INTO orders VALUES (1, 5), (1, 6);"
    )
    for seed in range(5):
        other = sql.renamed(QUERY, np.random.default_rng(seed))
        assert other != QUERY
        assert connection.execute(other).fetchall() == [("a", 11), ("b", None)]


@pytest.mark.parametrize(
    ("kind", "reason", "line_no", "expected"),
    [
        ("error", "syntax error", 3, ((2,), "syntax")),  # the line is blank, the one before it is meant
        ("error", "no such column", 1, ((1,), "traceback")),
        ("error", "too large", None, None),
        ("fail", "wrong rows", None, None),
    ],
)
def test_lines_that_sqlite_points_at(kind, reason, line_no, expected):
    verdict = Verdict("p", kind, reason, line_no, 0, "none", 0.0)
    assert sql.broken_lines("SELECT a\nFROM\n\n", verdict, "result") == expected
