"""What the tests of a problem expect the program to define: read from the tests, which are trusted.

It matters whether tests mean a name as a class. Objects that such a class makes may answer operators and comparisons
themselves, because they are what is under test. Whatever else a program returns is compared by its builtin content
only, so that an object which claims to equal everything equals nothing.
"""

from __future__ import annotations

import ast
import builtins
import re
import sys
from functools import lru_cache
from typing import NamedTuple

_BUILTIN_TYPES = (str, bytes, int, float, complex, list, tuple, dict, set, frozenset)
BUILTIN_ATTRIBUTES = frozenset(name for kind in _BUILTIN_TYPES for name in dir(kind))
_CAP_WORDS = re.compile(r"[A-Z][A-Za-z0-9]*")
_PARAMETER = "candidate"  # HumanEval's tests call the entry point by this name


class Intent(NamedTuple):
    """What tests expect.

    Attributes:
        names: names that the tests read and the program may define.
        classes: those among them that the tests use as classes.
        modules: modules of the standard library that the tests use and leave to the program to import.
        names_stop: True: the tests speak of StopIteration themselves.
    """

    names: tuple[str, ...]
    classes: frozenset[str]
    modules: frozenset[str]
    names_stop: bool


@lru_cache(maxsize=4096)
def read_intent(entry_point: str, setup_code: str, tests: tuple[str, ...]) -> Intent:
    """What `tests` and `setup_code` expect of a program whose entry point is `entry_point`.

    A name is used as a class when the tests take an attribute that no builtin type has, of a call of it, of a
    variable that holds such a call, or of the name itself; when it is written in CapWords and any attribute is taken
    so; when it is the second argument of isinstance or issubclass; or when it is written in CapWords and called on
    both sides of one operator.
    """
    trees = []
    for source in (setup_code, *tests):
        try:
            trees.append(ast.parse(source))
        except (SyntaxError, ValueError, RecursionError):
            continue
    nodes = [node for tree in trees for node in ast.walk(tree)]
    read = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    imported = {
        (alias.asname or alias.name).split(".")[0]
        for node in nodes
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    }
    names = {name for name in read - imported if not hasattr(builtins, name)} | {entry_point}
    modules = {name for name in names & sys.stdlib_module_names if _is_used_as_module(name, nodes)} - {entry_point}
    holders = _holders(nodes, names)
    classes: set[str] = set()
    for node in nodes:
        classes |= _classes_shown_by(node, names - modules, holders)
    assigned = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    renamed = {entry_point if name == _PARAMETER else name for name in classes - assigned}
    return Intent(tuple(sorted(names)), frozenset(renamed & names), frozenset(modules), "StopIteration" in read)


def _is_used_as_module(name: str, nodes: list[ast.AST]) -> bool:
    """Whether every appearance of `name` has an attribute taken of it."""
    bare = sum(isinstance(node, ast.Name) and node.id == name for node in nodes)
    dotted = sum(
        isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == name for node in nodes
    )
    return bare == dotted


def _called(node: ast.AST, names: set[str]) -> str | None:
    """The name that `node` calls, when it is a call of one of `names`."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
        return node.func.id
    return None


def _holders(nodes: list[ast.AST], names: set[str]) -> dict[str, str]:
    """Variables that hold the result of a call of one of `names`."""
    held: dict[str, str] = {}
    for node in nodes:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                _hold(target, node.value, names, held)
        elif isinstance(node, ast.withitem) and node.optional_vars is not None:
            _hold(node.optional_vars, node.context_expr, names, held)
        elif isinstance(node, ast.NamedExpr):
            _hold(node.target, node.value, names, held)
    return held


def _hold(target: ast.AST, value: ast.AST, names: set[str], held: dict[str, str]) -> None:
    called = _called(value, names)
    if isinstance(target, ast.Name) and called:
        held[target.id] = called
    elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
        for one, its_value in zip(target.elts, value.elts, strict=True):
            _hold(one, its_value, names, held)


def _classes_shown_by(node: ast.AST, names: set[str], holders: dict[str, str]) -> set[str]:
    if isinstance(node, ast.Attribute):
        base = node.value
        if isinstance(base, ast.Name):
            name = holders.get(base.id) or (base.id if base.id in names else None)
        else:
            name = _called(base, names)
        if name and (node.attr not in BUILTIN_ATTRIBUTES or _CAP_WORDS.fullmatch(name)):
            return {name}
    elif (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("isinstance", "issubclass")
    ):
        return {inner.id for inner in ast.walk(node.args[-1]) if isinstance(inner, ast.Name) and inner.id in names}
    elif isinstance(node, ast.BinOp):
        return _cap_words_called(node.left, names) & _cap_words_called(node.right, names)
    elif isinstance(node, ast.Compare):
        return _cap_words_called(node.left, names) & _cap_words_called(node.comparators[0], names)
    return set()


def _cap_words_called(node: ast.AST, names: set[str]) -> set[str]:
    called = (_called(inner, names) for inner in ast.walk(node))
    return {name for name in called if name and _CAP_WORDS.fullmatch(name)}
