import re
from html import unescape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crlhf.lines import split_lines
from crlhf.web.code_view import code_lines, highlighted, prose, safe_text

HOSTILE = [
    "</code></label><script>alert(1)</script>",
    "x = '<img src=x onerror=alert(1)>'",
    '"><svg onload=alert(1)>',
    "# {{ 7 * 7 }} {% raw %} &lt;b&gt; &#60;b&#62;",
    "javascript:alert(1)//'\"`",
]


def text_of(html):
    """What a browser shows: no tags, references resolved."""
    return unescape(re.sub(r"<[^>]*>", "", str(html)))


def raw_text(html):
    """The same without what `unescape` does to control characters."""
    html = re.sub(r"</?span[^>]*>", "", str(html))
    html = re.sub(r"&#(\d+);", lambda found: chr(int(found[1])), html)
    for name, character in (("lt", "<"), ("gt", ">"), ("amp", "&")):
        html = html.replace(f"&{name};", character)
    return html


@pytest.mark.parametrize("code", HOSTILE)
@pytest.mark.parametrize("language", ["python", "html", "no such language"])
def test_hostile_code_stays_text(code, language):
    (line,) = code_lines(code, language, (1,))
    assert text_of(line.html) == code
    assert set(re.findall(r"<[^>]*>", line.html)) <= {"</span>"} | set(re.findall(r'<span class="\w+">', line.html))


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60))
@settings(max_examples=200, deadline=None)
def test_the_lines_shown_are_the_lines_counted_character_by_character(code):
    expected = split_lines(code)
    if code.endswith("\n"):
        expected.pop()
    assert [raw_text(line.html) for line in code_lines(code, "python", ())] == expected


def test_a_comment_is_shown_and_not_judged():
    lines = code_lines("# add\nx = 1\n", "python", (2,))
    assert [(line.no, line.is_judged) for line in lines] == [(1, False), (2, True)]


@pytest.mark.parametrize(
    ("character", "code"), [("\u202e", "U+202E"), ("\u200b", "U+200B"), ("\x1b", "U+001B"), ("\r", "U+000D")]
)
def test_characters_that_hide_or_turn_text_are_named(character, code):
    html = str(safe_text(f"a{character}b"))
    assert html == f'a<span class="hidden-character" data-code="{code}">&#{ord(character)};</span>b'


def test_a_nul_becomes_its_picture():
    assert "\u2400" in safe_text("a\0b")
    assert "\0" not in safe_text("a\0b")


def test_indentation_stands_apart_so_that_a_mark_under_the_text_does_not_reach_it():
    lines = code_lines("def f():\n    return 1\n\ty\n", "python", ())
    assert str(lines[0].html).startswith('<span class="k">def</span>')
    assert str(lines[1].html).startswith('<span class="indent">    </span><span class="k">return</span>')
    assert str(lines[2].html).startswith('<span class="indent">\t</span>')


def test_an_example_is_highlighted_without_a_change_of_its_text():
    html = highlighted("f(1) == '<b>'\nassert x", "python")
    assert text_of(html) == "f(1) == '<b>'\nassert x"
    assert '<span class="mi">1</span>' in html


def test_between_backticks_the_pages_own_sentences_hold_code():
    assert prose("say `a < b`, not a > b") == "say <code>a &lt; b</code>, not a &gt; b"
