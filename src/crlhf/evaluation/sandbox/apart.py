"""Tests that could change what the tester's process shares with the next program are run in a fork of it.

Precision of decimals, the recursion limit, signal handlers, the environment, a patched library: all of it goes with the
fork. A fork costs about a millisecond, so that tests which plainly cannot do such things (nearly all of HumanEval's and
MBPP's) stay where they are.
"""

from __future__ import annotations

import ast
import importlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import Any

from crlhf.evaluation.sandbox import namespaces

_WITHOUT_STATE = frozenset({
    "__future__", "bisect", "cmath", "collections", "copy", "datetime", "fractions", "functools", "hashlib", "heapq",
    "itertools", "math", "operator", "random", "re", "statistics", "string", "typing",
})  # fmt: skip
"""Modules that keep nothing a test could change by calls. `random` does, and is seeded before each program."""
_REACHING = frozenset({"setattr", "delattr", "exec", "eval", "vars", "globals", "register"})


class LostError(Exception):
    """The fork ended without an answer."""


@lru_cache(maxsize=4096)
def is_needed(setup_code: str, tests: tuple[str, ...], modules: frozenset[str]) -> bool:
    """Whether tests may change what outlives them in their process; True in doubt.

    They may when they use a module that has state, assign or delete an attribute of anything, or name what reaches
    further (`setattr`, `exec`, names with a leading underscore).

    Args:
        setup_code: runs before the tests.
        tests: their sources.
        modules: modules that they leave to the program to import.
    """
    nodes = _nodes(setup_code, tests)
    if nodes is None:
        return True
    used = modules | {name.split(".")[0] for node in nodes for name in _imported(node)}
    return not used <= _WITHOUT_STATE or any(_reaches(node) for node in nodes)


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        return [node.module or ""]
    return [alias.name for alias in node.names] if isinstance(node, ast.Import) else []


def _reaches(node: ast.AST) -> bool:
    if isinstance(node, ast.Attribute):
        return not isinstance(node.ctx, ast.Load) or node.attr in _REACHING or node.attr.startswith("_")
    return isinstance(node, ast.Name) and (node.id in _REACHING or node.id.startswith("__"))


@lru_cache(maxsize=4096)
def load_modules(setup_code: str, tests: tuple[str, ...]) -> None:
    """Import what tests import here, once, instead of in each fork. What cannot be imported fails there."""
    for name in dict.fromkeys(name for node in _nodes(setup_code, tests) or () for name in _imported(node)):
        with suppress(Exception, SystemExit):
            importlib.import_module(name)


def _nodes(setup_code: str, tests: tuple[str, ...]) -> list[ast.AST] | None:
    """All parts of the sources; None when one of them does not parse."""
    try:
        return [node for source in (setup_code, *tests) for node in ast.walk(ast.parse(source))]
    except (SyntaxError, ValueError, RecursionError):
        return None


def run(act: Callable[[], Any]) -> Any:
    """What `act` returns, a value of JSON's, when it runs in a fork of this process.

    Raises:
        LostError: the fork ended without an answer.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            namespaces.die_with_parent()
            os.close(reading)
            os.write(writing, json.dumps(act()).encode() + b"\n")  # shorter than a pipe holds
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answers:
        said = answers.readline()  # not to the end: a process that the tests started may hold the pipe
    os.waitpid(pid, 0)
    if not said.endswith(b"\n"):
        raise LostError
    return json.loads(said)
