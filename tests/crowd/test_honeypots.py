"""Honeypots: proved, spread, never shown twice, not to be told from completions."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable

import pandas as pd
import pytest

from crlhf.crowd.honeypots import make_honeypots
from crlhf.languages.python import judgeable_lines
from crlhf.params import HoneypotsParams
from crlhf.schema import ITEMS, LINE_TRUTHS, Program, Verdict
from crlhf.store import to_arrow

Run = Callable[[list[Program]], list[Verdict]]
LARGEST = """def largest(items):
    best = items[0]
    for item in items:
        if item > best:
            best = item
    return best
"""
COUNT_VOWELS = """def count_vowels(text):
    total = 0
    for char in text.lower():
        if char in 'aeiou':
            total += 1
    return total
"""
INITIALS = """def initials(name):
    words = name.split(' ')
    return '.'.join(word[0].upper() for word in words)
"""
EVENS = """def evens(numbers):
    return sorted(n for n in numbers if n % 2 == 0)
"""
REFERENCES = {
    "starter/0": (LARGEST, ["assert largest([1, 5, 3]) == 5", "assert largest([-2, -1]) == -1"]),
    "starter/1": (COUNT_VOWELS, ["assert count_vowels('Alibi') == 3", "assert count_vowels('xyz') == 0"]),
    "starter/2": (INITIALS, ["assert initials('ada lovelace') == 'A.L'", "assert initials('x') == 'X'"]),
    "starter/3": (EVENS, ["assert evens([4, 1, 2]) == [2, 4]", "assert evens([1]) == []"]),
}
OTHER_INITIALS = """
def initials(s):
    out = []
    for w in s.split():
        out.append(w[0].upper())
    return '.'.join(out)"""
WRITTEN = {
    "starter/0": "\ndef largest(a):\n    return sorted(a)[-1]",
    "starter/1": "\ndef count_vowels(s):\n    return sum(s.lower().count(v) for v in 'aeiou')",
    "starter/2": OTHER_INITIALS,
    "starter/3": "\ndef evens(a):\n    return [x for x in a]",  # fails
}


@pytest.fixture(name="problems")
def problem_rows() -> pd.DataFrame:
    rows = [
        {"problem_id": problem_id, "kind": "description", "reference": code, "tests": tests}
        for problem_id, (code, tests) in REFERENCES.items()
    ]
    return pd.DataFrame(rows).assign(entry_point="", setup_code="", language="python")


@pytest.fixture(name="completions")
def completion_rows() -> pd.DataFrame:
    rows = [
        {"completion_id": hashlib.sha256(pid.encode()).hexdigest()[:16], "problem_id": pid, "code": code}
        for pid, code in WRITTEN.items()
    ]
    return pd.DataFrame(rows)


@pytest.fixture(name="verdicts")
def completion_verdicts(completions: pd.DataFrame) -> list[Verdict]:
    return [
        Verdict(row.completion_id, "fail" if row.problem_id == "starter/3" else "pass", "", None, None, "none", 0.0)
        for row in completions.itertuples()
    ]


def wanted(n: int, share_correct: float = 0.25, share_from_completions: float = 0.5) -> HoneypotsParams:
    return HoneypotsParams(n=n, share_correct=share_correct, share_from_completions=share_from_completions)


def test_a_fault_is_proved_by_running_and_a_correct_honeypot_passes(problems, completions, verdicts, run: Run) -> None:
    made = make_honeypots(problems, completions, verdicts, run, wanted(20), 7)
    by_id = problems.set_index("problem_id")
    programs = [
        Program(item.completion_id, item.code, "", "", tuple(by_id.loc[item.problem_id, "tests"]))
        for item in made.items.itertuples()
    ]
    again = {verdict.program_id: verdict.verdict for verdict in run(programs)}
    for item in made.items.itertuples():
        if item.wrong_line_nos:
            assert again[item.completion_id] in ("fail", "error")
            assert len(item.wrong_line_nos) == 1
            assert item.wrong_line_nos[0] in item.line_nos
        else:
            assert again[item.completion_id] == "pass"
            assert item.fault_kind == "none"


def test_shares_and_spread_come_out_as_asked(problems, completions, verdicts, run: Run) -> None:
    # 8 honeypots: round(8 * 0.25) = 2 correct, 1 of them from a completion; 6 with a fault, 3 from completions.
    made = make_honeypots(problems, completions, verdicts, run, wanted(8), 7)
    shares = Counter((bool(item.wrong_line_nos), item.origin) for item in made.items.itertuples())
    assert shares == {
        (True, "completion"): 3,
        (True, "reference"): 3,
        (False, "completion"): 1,
        (False, "reference"): 1,
    }
    assert set(Counter(made.items["problem_id"]).values()) == {2}  # 4 problems
    assert (made.n_wanted, made.n_made, made.notes) == (8, 8, ())
    kinds = [kind for kind in made.items["fault_kind"] if kind != "none"]
    assert len(set(kinds)) == 6  # no kind twice while others can be had


def test_no_code_is_shown_twice(problems, completions, verdicts, run: Run) -> None:
    made = make_honeypots(problems, completions, verdicts, run, wanted(40, share_correct=0.3), 7)
    codes = list(made.items["code"]) + list(completions["code"])
    assert len(set(codes)) == len(codes)
    assert (made.items["origin"][made.items["fault_kind"] == "none"] == "completion").any()


def test_a_reference_that_the_policy_wrote_as_well_is_not_shown_as_it_is(
    problems, completions, verdicts, run: Run
) -> None:
    completions.loc[0, "code"] = problems.loc[0, "reference"]
    made = make_honeypots(problems, completions, verdicts, run, wanted(40, share_correct=0.5), 7)
    assert problems.loc[0, "reference"] not in set(made.items["code"])


def test_a_timeout_proves_nothing(problems, completions, verdicts, run: Run) -> None:
    references = set(problems["reference"])

    def slow(programs: list[Program]) -> list[Verdict]:
        verdict = ["pass" if program.code in references else "timeout" for program in programs]
        return [Verdict(p.program_id, v, "", None, None, "none", 0.0) for p, v in zip(programs, verdict, strict=True)]

    made = make_honeypots(problems, completions, verdicts, slow, wanted(8), 7)
    assert set(made.items["code"]) <= references
    assert made.n_made == 2  # only the two correct ones can be made
    assert made.n_wanted == 8
    assert "8 honeypots were asked for and 2 made" in made.notes[0]


def test_a_fault_that_no_test_notices_is_not_shown(problems, completions, verdicts) -> None:
    def lenient(programs: list[Program]) -> list[Verdict]:
        return [Verdict(program.program_id, "pass", "", None, None, "none", 0.0) for program in programs]

    made = make_honeypots(problems, completions, verdicts, lenient, wanted(8), 7)
    assert set(made.items["fault_kind"]) == {"none"}


def test_where_too_few_completions_passed_references_fill_in_and_it_is_said(problems, completions, run: Run) -> None:
    made = make_honeypots(problems, completions, [], run, wanted(8), 7)
    assert set(made.items["origin"]) == {"reference"}
    assert made.n_made == 8
    assert made.notes == ("4 should come from completions that passed and 0 do: too few passed",)


def test_a_reference_that_fails_and_a_header_problem_are_not_used(problems, completions, verdicts, run: Run) -> None:
    problems.loc[0, "reference"] = "def largest(items):\n    return 0\n"
    problems.loc[1, "kind"] = "header"
    made = make_honeypots(problems, completions, verdicts, run, wanted(8), 7)
    from_references = made.items[made.items["origin"] == "reference"]
    assert set(from_references["problem_id"]) == {"starter/2", "starter/3"}
    assert "starter/1" not in set(made.items["problem_id"])
    assert any("1 reference solutions did not pass" in note for note in made.notes)


def test_ids_are_hash_digits_and_their_order_tells_nothing(problems, completions, verdicts, run: Run) -> None:
    made = make_honeypots(problems, completions, verdicts, run, wanted(20), 7)
    for item in made.items.itertuples():
        digest = hashlib.sha256(f"7\n{item.problem_id}\n{item.code}".encode()).hexdigest()
        assert item.completion_id == digest[:16]
    assert list(made.items["completion_id"]) == sorted(made.items["completion_id"])


def test_tables_keep_their_schemas_and_agree(problems, completions, verdicts, run: Run) -> None:
    made = make_honeypots(problems, completions, verdicts, run, wanted(12), 7)
    to_arrow(ITEMS, made.items)
    to_arrow(LINE_TRUTHS, made.line_truths)
    truths = {(row.completion_id, row.line_no): row.is_wrong for row in made.line_truths.itertuples()}
    expected = {
        (item.completion_id, line_no): line_no in item.wrong_line_nos
        for item in made.items.itertuples()
        for line_no in judgeable_lines(item.code)
    }
    assert truths == expected


def test_the_same_seed_makes_the_same_honeypots(problems, completions, verdicts, run: Run) -> None:
    first, second, other = (
        make_honeypots(problems, completions, verdicts, run, wanted(12), seed) for seed in (7, 7, 8)
    )
    pd.testing.assert_frame_equal(first.items, second.items)
    assert set(first.items["code"]) != set(other.items["code"])


def test_none_are_made_when_none_are_asked_for(problems, completions, verdicts, run: Run) -> None:
    made = make_honeypots(problems, completions, verdicts, run, wanted(0), 7)
    assert (len(made.items), made.n_made, made.notes) == (0, 0, ())
    to_arrow(ITEMS, made.items)
    to_arrow(LINE_TRUTHS, made.line_truths)
