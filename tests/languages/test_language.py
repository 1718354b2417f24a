"""What holds for every language."""

import numpy as np
import pytest

from crlhf.languages import LANGUAGES, get_language

PROGRAMS = {
    "python": "def total(items):\n    # add up\n    found = 0\n\n    for item in items:\n        found += item\n"
    "    return found\n",
    "sql": "-- the best\nWITH best AS (\n    SELECT name, SUM(paid) AS total\n    FROM orders\n\n    GROUP BY name\n)\n"
    "SELECT name, total\nFROM best\nWHERE total > 10\nORDER BY total DESC, name;\n",
}


def test_every_language_has_a_program_here():
    assert set(PROGRAMS) == set(LANGUAGES)


def test_an_unknown_language_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match="no language 'cobol'; known are python, sql"):
        get_language("cobol")


@pytest.mark.parametrize("name", PROGRAMS)
def test_blank_lines_and_comments_are_not_judged(name):
    lines = PROGRAMS[name].split("\n")
    expected = [no for no, line in enumerate(lines, 1) if line.strip() and not line.strip().startswith(("#", "--"))]
    assert get_language(name).judgeable_lines(PROGRAMS[name]) == expected


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_fault_changes_one_judgeable_line_and_has_a_declared_kind(name):
    language, before = get_language(name), PROGRAMS[name].split("\n")
    faults = language.possible_faults(PROGRAMS[name])
    assert len(faults) >= 5
    assert len({fault.code for fault in faults}) == len(faults)
    for fault in faults:
        after = fault.code.split("\n")
        assert len(after) == len(before)
        assert [no for no, (a, b) in enumerate(zip(before, after, strict=True), 1) if a != b] == [fault.line_no]
        assert fault.line_no in language.judgeable_lines(PROGRAMS[name]) == language.judgeable_lines(fault.code)
        assert fault.kind in language.fault_kinds


@pytest.mark.parametrize("name", PROGRAMS)
def test_another_name_leaves_the_shape_and_a_fault_changes_it(name):
    language = get_language(name)
    other = language.renamed(PROGRAMS[name], np.random.default_rng(0))
    assert other not in (None, PROGRAMS[name])
    assert language.shape_tokens(other) == language.shape_tokens(PROGRAMS[name])
    fault = next(f for f in language.possible_faults(PROGRAMS[name]) if "operator" in f.kind or "constant" in f.kind)
    assert language.shape_tokens(fault.code) != language.shape_tokens(PROGRAMS[name])
