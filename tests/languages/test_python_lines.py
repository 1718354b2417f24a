"""Judgeable lines: what counts in an aligned score."""

from hypothesis import given
from hypothesis import strategies as st

from crlhf.languages.python import judgeable_lines
from crlhf.lines import sha256_text, split_lines


def test_blank_lines_and_comments_are_not_judged():
    code = "import re\n\n# a comment\ndef f(x):\n    # another\n    return x  # said beside code\n"
    # lines: 1 import, 2 blank, 3 comment, 4 def, 5 comment, 6 return, 7 the empty rest
    assert judgeable_lines(code) == [1, 4, 6]


def test_documentation_strings_are_not_judged_but_other_strings_are():
    code = (
        'def f():\n    """What it does.\n\n    More.\n    """\n    text = """a\n# not a comment\n"""\n    return text\n'
    )
    assert judgeable_lines(code) == [1, 6, 7, 8, 9]


def test_a_line_that_shares_a_documentation_string_with_code_is_judged():
    assert judgeable_lines('x = 1; "text"\n"text"; y = 2\nclass A: "text"\n') == [1, 2, 3]


def test_code_that_does_not_tokenise_is_judged_by_its_text():
    code = "def f(:\n    # cut\n    x = '''never closed\n\n    # looks like a comment"
    assert judgeable_lines(code) == [1, 3]


def test_a_continued_statement_counts_every_line_of_it():
    assert judgeable_lines("f(\n    1,\n\n    # why\n    2,\n)\n") == [1, 2, 5, 6]


def test_padding_with_comments_changes_nothing_but_the_numbers():
    plain, padded = "a = 1\nb = 2", "a = 1\n# pad\n\n# pad\nb = 2"
    assert len(judgeable_lines(plain)) == len(judgeable_lines(padded)) == 2


def test_a_lone_carriage_return_does_not_shift_line_numbers():
    # split_lines splits at "\n" only, the tokenizer would also split at "\r"
    assert judgeable_lines("a = 1\r# x\nb = 2") == [1, 2]


@given(st.text(alphabet="ab=1#\"'\n\r\f\t ():\\\x00é", max_size=60))
def test_any_text_gives_ascending_lines_that_exist_and_are_not_blank(code):
    lines = split_lines(code)
    found = judgeable_lines(code)
    assert found == sorted(set(found))
    assert all(lines[no - 1].strip() for no in found)


def test_the_empty_program_has_no_judgeable_line():
    assert judgeable_lines("") == []
    assert judgeable_lines("\n\n# only words\n") == []


def test_hash_of_text_is_that_of_its_utf8_bytes():
    # echo -n "é" | sha256sum
    assert sha256_text("é") == "4a99557e4033c3539de2eb65472017cad5f9557f7a0625a09f1c3f6e2ba69c4c"
