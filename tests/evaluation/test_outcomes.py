import pytest

from crlhf.evaluation.outcomes import OUTCOMES, breakdown, has_code, outcome_of, told


@pytest.mark.parametrize(
    ("verdict", "reason", "completion", "is_truncated", "expected"),
    [
        ("pass", "all tests passed", "    return 1", False, "pass"),
        ("pass", "all tests passed", "    return 1", True, "pass"),
        ("fail", "assertion", "    return 2", False, "wrong_answer"),
        ("fail", "assertion", "  # to be done\n\n", False, "no_code"),
        ("fail", "assertion", "", True, "no_code"),
        ("error", "syntax error", "    return (", False, "syntax_error"),
        ("error", "syntax error", "    return (", True, "truncated"),
        ("error", "IndexError", "    return [][0]", False, "exception"),
        ("timeout", "timeout", "    while True: pass", False, "timeout"),
    ],
)
def test_an_outcome_says_why_a_sample_did_not_pass(verdict, reason, completion, is_truncated, expected):
    assert outcome_of(verdict, reason, completion, is_truncated=is_truncated) == expected


@pytest.mark.parametrize("text", ["", " \n\n", "# nothing", "   # a\n   # b", "'''text'''", "Sorry", "```\n"])
def test_no_code_is_found_in(text):
    assert not has_code(text)


@pytest.mark.parametrize("text", ["    return 1", "x = 1", "print(1)", "    pass", "I am sorry.", "def f(:"])
def test_code_is_found_in(text):
    assert has_code(text)


def test_a_breakdown_sums_to_all_samples_and_lists_every_outcome():
    counts = breakdown(["pass", "timeout", "pass"])
    assert list(counts) == list(OUTCOMES)
    assert sum(counts.values()) == 3
    assert told(counts) == "passed 2, time-out 1"
    assert told(breakdown([])) == "no samples"
