"""What the guide and the training teach is true, and is what the simulated crowd's truth says."""

import pytest

from crlhf.crowd.alignment import align
from crlhf.languages import python
from crlhf.web.lessons import TRAINING, WORKED

MENDED = {  # by the program's name: what to write instead, and where; a line of None stays and gets one after it
    "count_vowels": {4: "        if letter.lower() in 'aeiou':"},
    "repeated": {5: "            found.append(word)\n        seen.append(word)"},
    "positive_mean": {2: "    chosen = [number for number in numbers if number > 0]", 4: "        return 0"},
    "second_largest": {},
    "average": {3: "        return 0"},
    "is_palindrome": {},
    "multiples": {3: "    for number in range(1, n + 1):", 4: "        if number % 3 == 0 or number % 5 == 0:"},
}


def name_of(lesson):
    return lesson.code.split("(")[0].removeprefix("def ")


def mended(lesson):
    lines = lesson.code.rstrip("\n").split("\n")
    for line_no, text in MENDED[name_of(lesson)].items():
        lines[line_no - 1] = text
    return "\n".join(lines) + "\n"


def holds(code, lesson):
    scope = {}
    exec(code, scope)
    return [eval(example, scope) for example in lesson.examples]


@pytest.mark.parametrize("lesson", [*WORKED, *TRAINING], ids=name_of)
def test_the_examples_hold_once_the_marked_lines_are_changed_and_not_before(lesson):
    assert all(holds(mended(lesson), lesson))
    assert all(holds(lesson.code, lesson)) == (not lesson.wrong_line_nos)


@pytest.mark.parametrize("lesson", [*WORKED, *TRAINING], ids=name_of)
def test_the_marks_are_those_of_the_simulated_truth_a_missing_line_included(lesson):
    found = align(lesson.code, mended(lesson), name_of(lesson), python)
    assert found.line_nos == lesson.wrong_line_nos


def test_the_guide_shows_each_case_once():
    assert [len(lesson.wrong_line_nos) for lesson in WORKED] == [1, 1, 2, 0]
    assert [len(lesson.wrong_line_nos) for lesson in TRAINING] == [1, 0, 2]
