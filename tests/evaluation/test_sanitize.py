"""Expected values were checked against evalplus.sanitize of EvalPlus 0.3.1."""

from crlhf.evaluation.sanitize import longest_python, sanitize

ANSWER = """Here is the code:
```python
import math
LIMIT = 3

def helper(a):
    return a + LIMIT

def f(x):
    return helper(x)

def unused(x):
    return 1

assert f(1) == 4
```
It works for every x."""


def test_what_the_entry_point_reaches_is_kept_and_nothing_else():
    expected = "import math\nLIMIT = 3\ndef helper(a):\n    return a + LIMIT\ndef f(x):\n    return helper(x)"
    assert sanitize(ANSWER, "f") == expected


def test_the_first_definition_of_a_name_counts():
    assert sanitize("def f(x):\n    return 1\ndef f(x):\n    return 2\n", "f") == "def f(x):\n    return 1"


def test_a_function_that_returns_nothing_is_dropped():
    assert sanitize("def f(x):\n    return g(x)\ndef g(x):\n    pass\n", "f") == "def f(x):\n    return g(x)"


def test_classes_and_their_use_are_kept_and_main_is_not():
    text = "class A:\n    def m(self):\n        return 1\ndef f(x):\n    return A().m()"
    assert sanitize(text + "\nif __name__ == '__main__':\n    f(1)", "f") == text


def test_a_decorator_stays_on_its_function():
    text = "from functools import lru_cache\n@lru_cache\ndef f(x):\n    return x"
    assert sanitize(text, "f") == text


def test_without_the_entry_point_the_longest_python_is_left():
    assert sanitize("print(1)\nprint(2)", "f") == "print(1)\nprint(2)"


def test_text_without_python_is_left_as_it_is():
    assert longest_python("no code at all") == ""
    assert sanitize("def f(x:\n  return 1", "f") == "def f(x:\n  return 1"


def test_the_longest_run_counts_lines_that_are_not_blank():
    assert longest_python("x = 1\n\n\n\nso:\ny = 2\nz = 3\nthe end of it") == "y = 2\nz = 3"
