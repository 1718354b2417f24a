"""From marked characters to lines, however a tool counts them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crlhf.annotations.importers.contract import SpanMark
from crlhf.annotations.importers.marks import (
    CODE_POINTS,
    LF_CODE_POINTS,
    LF_UTF16,
    READINGS,
    UTF16,
    OffsetFault,
    lines_of_span,
    touched_lines,
)

CODE = "ab\ncd\n\nef"  # line 1: 0-2, line 2: 3-5, line 3: empty at 6, line 4: 7-9


@pytest.mark.parametrize(
    ("start", "end", "lines"),
    [
        (0, 1, [1]),
        (0, 2, [1]),
        (0, 3, [1]),  # the line break is ignored
        (1, 4, [1, 2]),
        (2, 4, [2]),  # begins on the line break of line 1
        (0, 9, [1, 2, 4]),  # an empty line has no character to be marked
        (3, 7, [2]),  # ends at the first column of line 4
        (8, 9, [4]),
        (5, 7, []),  # line breaks only
    ],
)
def test_a_mark_touches_the_lines_of_its_characters(start, end, lines):
    assert touched_lines(CODE, start, end) == lines


def test_a_carriage_return_belongs_to_the_line_break():
    assert touched_lines("ab\r\ncd", 2, 5) == [2]  # "\r\nc"


@given(st.text(alphabet="ab \r\n\U0001f389é", max_size=40), st.data())
def test_touched_lines_are_those_of_a_count_character_by_character(code, data):
    start = data.draw(st.integers(0, len(code)))
    end = data.draw(st.integers(start, len(code)))
    expected = set()
    for at in range(start, end):
        is_break = code[at] == "\n" or (code[at] == "\r" and code[at + 1 : at + 2] == "\n")
        if not is_break:
            expected.add(code[:at].count("\n") + 1)
    assert touched_lines(code, start, end) == sorted(expected)


@given(st.text(alphabet="ab\n\r\U0001f389", min_size=1, max_size=30), st.sampled_from(READINGS), st.data())
def test_a_mark_with_its_text_is_found_whichever_way_it_was_counted(code, reading, data):
    text = code.replace("\r\n", "\n") if reading in (LF_CODE_POINTS, LF_UTF16) else code
    if not text:
        return
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    expected = touched_lines(text, start, end)
    units = (lambda n: len(text[:n].encode("utf-16-le")) // 2) if reading in (UTF16, LF_UTF16) else int
    mark = SpanMark(units(start), units(end), text[start:end], (reading,))
    assert lines_of_span(code, mark) == expected


def test_the_text_decides_between_code_points_and_utf16():
    code = 'a = "\U0001f389\U0001f389"\nb = a\nc\n'
    start = code.index("b = a")
    old = SpanMark(start + 2, start + 7, "b = a", READINGS)
    new = SpanMark(start, start + 5, "b = a", READINGS)
    assert lines_of_span(code, old) == lines_of_span(code, new) == [2]


def test_the_text_decides_whether_crlf_was_counted_as_one():
    code = "a\r\nb\r\nc\r\nd\r\ne\r\n"
    assert lines_of_span(code, SpanMark(6, 7, "d", READINGS)) == [4]
    assert lines_of_span(code, SpanMark(9, 10, "d", READINGS)) == [4]


def test_text_that_nothing_gives_is_a_mismatch():
    with pytest.raises(OffsetFault, match="the mark from 0 to 2 is on 'ab', but the tool says it was on 'zz'"):
        lines_of_span(CODE, SpanMark(0, 2, "zz", READINGS))


def test_without_text_readings_that_mark_different_lines_are_a_mismatch():
    code = "\U0001f389\na\nb\nc"
    with pytest.raises(OffsetFault, match=r"code points: \[3\]; UTF-16 units: \[2\]"):
        lines_of_span(code, SpanMark(3, 5, None, (CODE_POINTS, UTF16)))
    assert lines_of_span("ab\ncd", SpanMark(3, 5, None, (CODE_POINTS, UTF16))) == [2]


def test_a_reading_that_leaves_the_code_or_cuts_a_character_is_no_reading():
    code = "x\n\U0001f389"  # 3 code points, 4 UTF-16 units
    assert lines_of_span(code, SpanMark(2, 4, None, (CODE_POINTS, UTF16))) == [2]
    with pytest.raises(OffsetFault, match="outside the code"):
        lines_of_span(code, SpanMark(3, 4, None, (UTF16,)))


@pytest.mark.parametrize(("start", "end"), [(3, 3), (4, 2), (-1, 2), (0, 100)])
def test_an_empty_or_impossible_mark_is_a_mismatch(start, end):
    with pytest.raises(OffsetFault, match=r"holds no character|outside the code"):
        lines_of_span(CODE, SpanMark(start, end, None, READINGS))
