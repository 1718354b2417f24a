"""Simulated truth of completions, and how its label noise is measured."""

from __future__ import annotations

import math
from collections.abc import Callable

import pandas as pd
import pytest
from scipy.stats import binomtest

from crlhf.crowd.label_noise import wilson
from crlhf.crowd.truth import label_noise, line_truths, passing_programs
from crlhf.schema import LINE_TRUTHS, Program, Verdict
from crlhf.store import to_arrow

REFERENCE = "def f(a, b):\n    c = a + b\n    return c\n"
TESTS = ["assert f(2, 3) == 5", "assert f(-1, 0) == -1", "assert f(0, 4) == 4"]
PROBLEMS = pd.DataFrame(
    [
        {
            "problem_id": "starter/1",
            "language": "python",
            "kind": "description",
            "entry_point": "f",
            "setup_code": "",
            "reference": REFERENCE,
            "tests": TESTS,
        }
    ]
)


def completions(*codes: str, finish_reason: str = "stop") -> pd.DataFrame:
    rows = [
        {"completion_id": str(i), "problem_id": "starter/1", "code": code, "finish_reason": finish_reason}
        for i, code in enumerate(codes)
    ]
    return pd.DataFrame(rows)


def verdicts(*kinds: str) -> list[Verdict]:
    return [Verdict(str(i), kind, "", None, None, "none", 0.0) for i, kind in enumerate(kinds)]


def test_truth_of_a_completion_that_passed_one_that_failed_and_one_that_is_empty() -> None:
    table = completions("def f(x, y):\n    return x + y", "def f(x, y):\n    z = x - y\n    return z", "")
    truths = line_truths(table, PROBLEMS, verdicts("pass", "fail", "fail"))
    assert [tuple(row) for row in truths.itertuples(index=False)] == [
        ("0", 1, False, "tests_pass"),
        ("0", 2, False, "tests_pass"),
        ("1", 1, False, "alignment"),
        ("1", 2, True, "alignment"),
        ("1", 3, False, "alignment"),
    ]
    to_arrow(LINE_TRUTHS, truths)


def test_a_completion_that_passed_serves_as_a_model_where_it_is_closer_than_the_reference() -> None:
    good, bad = "def f(x, y):\n    return sum([x, y])", "def f(x, y):\n    return max([x, y])"
    table = completions(good, "def f(x, y):\n    z = [x, y]\n    return max(z)", bad)
    truths = line_truths(table, PROBLEMS, verdicts("pass", "fail", "fail"))
    assert set(truths[(truths["completion_id"] == "2") & truths["is_wrong"]]["line_no"]) == {2}


def test_under_a_header_the_reference_is_not_a_model() -> None:
    header = PROBLEMS.assign(kind="header")
    truths = line_truths(completions("    c = a - b\n    return c"), header, verdicts("fail"))
    # the continuation of a header does not compile on its own: its first line is an unexpected indent
    assert set(truths["method"]) == {"syntax"}


def test_a_completion_without_a_verdict_is_refused() -> None:
    with pytest.raises(ValueError, match="completion 0 of problem starter/1 has no verdict"):
        line_truths(completions("x = 1"), PROBLEMS, [])


def test_passing_programs_are_listed_once_a_problem() -> None:
    table = completions("b = 1", "a = 1", "b = 1", "c = 1")
    assert passing_programs(table, verdicts("pass", "pass", "pass", "fail")) == {"starter/1": ["a = 1", "b = 1"]}


@pytest.mark.parametrize(("k", "n"), [(0, 7), (3, 10), (10, 10), (57, 120)])
def test_wilson_interval_equals_that_of_scipy(k: int, n: int) -> None:
    reference = binomtest(k, n).proportion_ci(confidence_level=0.95, method="wilson")
    assert wilson(k, n) == pytest.approx((k / n, reference.low, reference.high), abs=1e-12)


def test_of_nothing_no_share_is_known() -> None:
    assert all(math.isnan(part) for part in wilson(0, 0))


def test_with_the_original_at_hand_a_wrong_answer_leads_to_its_line(run: Callable) -> None:
    noise = label_noise(PROBLEMS, run, 1, 8)
    assert noise.n_faults == 8
    assert set(noise.table["variant"]) == {"with_original"}
    aligned = noise.table.set_index("method").loc["alignment"]
    assert aligned["exact"] == aligned["precision"] == aligned["recall"] == 1
    assert aligned["noise"] == 0
    assert "no problem has two passing programs" in noise.notes[-1]


def test_counts_follow_from_the_marked_lines() -> None:
    """Faults in a two-line program; every run says the exception came from line 1, every fault lies in line 2."""
    problems = PROBLEMS.assign(reference=["def f(a, b):\n    return a + b"])

    def blaming(programs: list[Program]) -> list[Verdict]:
        return [Verdict(program.program_id, "error", "", 1, 0, "none", 0.0) for program in programs]

    table = label_noise(problems, blaming, 1, 4).table.set_index("method").loc["all"]
    # 4 faults of 2 lines: line 1 marked though right, line 2 not marked though wrong
    assert (table["n_faults"], table["n_exact"], table["n_found"], table["n_marked"]) == (4, 0, 0, 4)
    assert (table["n_lines"], table["n_mislabelled"], table["noise"]) == (8, 8, 1.0)


def test_without_the_original_only_programs_of_another_make_are_compared(run: Callable) -> None:
    layout_only = "def f(x, y):  # sum\n  z=x+y\n  return z"
    only_copies = label_noise(PROBLEMS, run, 1, 6, {"starter/1": [layout_only]})
    assert set(only_copies.table["variant"]) == {"with_original"}
    other = label_noise(PROBLEMS, run, 1, 12, {"starter/1": ["def f(a, b):\n    return sum([a, b])"]}).table
    by_variant = other[other["method"] == "all"].set_index("variant")
    assert by_variant.loc["without_original", "n_faults"] == by_variant.loc["with_original", "n_faults"] == 12
    assert by_variant.loc["without_original", "noise"] > by_variant.loc["with_original", "noise"]


def test_the_same_seed_measures_the_same(run: Callable) -> None:
    pd.testing.assert_frame_equal(label_noise(PROBLEMS, run, 3, 6).table, label_noise(PROBLEMS, run, 3, 6).table)
