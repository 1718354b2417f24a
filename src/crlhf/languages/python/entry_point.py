"""Which function or class of a Python program its tests call."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def find_entry_point(code: str, tests: Iterable[str]) -> str:
    """The function or class that `code` defines and `tests` call: the one called in the most tests.

    Of several that are called equally often the one defined last, which in MBPP is the one that uses the others.

    Raises:
        SyntaxError: `code` or a test cannot be parsed.
        ValueError: the tests call nothing that `code` defines.
    """
    defined = [node.name for node in ast.parse(code).body if isinstance(node, Definition)]
    calls: Counter[str] = Counter()
    for test in tests:
        nodes = [node.func for node in ast.walk(ast.parse(test)) if isinstance(node, ast.Call)]
        calls.update({node.id for node in nodes if isinstance(node, ast.Name)} & set(defined))
    if not calls:
        raise ValueError("the tests call nothing that the program defines")
    position = {name: at for at, name in enumerate(defined)}
    return max(calls, key=lambda name: (calls[name], position[name]))
