"""Stand-ins for the candidate's objects: each has just the special methods that its object says it has.

What a stand-in answers itself and what it asks the candidate follows the rules of `proxies`.
"""

from __future__ import annotations

import operator
import types
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from crlhf.evaluation.sandbox import wire
from crlhf.evaluation.sandbox.intent import BUILTIN_ATTRIBUTES

if TYPE_CHECKING:
    from crlhf.evaluation.sandbox.proxies import Link

_UNARY = {
    "__len__": "len", "__iter__": "iter", "__next__": "next", "__bool__": "bool", "__str__": "str", "__repr__": "repr",
    "__abs__": "abs", "__neg__": "neg", "__pos__": "pos", "__invert__": "invert", "__int__": "int",
    "__float__": "float", "__complex__": "complex", "__index__": "index", "__round__": "round",
    "__reversed__": "reversed", "__format__": "format", "__getitem__": "getitem", "__setitem__": "setitem",
    "__delitem__": "delitem", "__enter__": "enter", "__exit__": "exit",
}  # fmt: skip
_COMPARISONS = {"__lt__": "lt", "__le__": "le", "__gt__": "gt", "__ge__": "ge"}
_ARITHMETIC = {
    "__add__": "add", "__sub__": "sub", "__mul__": "mul", "__matmul__": "matmul", "__truediv__": "truediv",
    "__floordiv__": "floordiv", "__mod__": "mod", "__divmod__": "divmod", "__pow__": "pow", "__and__": "and_",
    "__or__": "or_", "__xor__": "xor", "__lshift__": "lshift", "__rshift__": "rshift", "__iadd__": "iadd",
    "__isub__": "isub", "__imul__": "imul", "__iand__": "iand", "__ior__": "ior", "__ixor__": "ixor",
}  # fmt: skip
_REFLECTED = {
    f"__r{name[2:]}": operation
    for name, operation in _ARITHMETIC.items()
    if not name.startswith("__i") and name != "__divmod__"
}
_OTHERS = ("__call__", "__exit__", "__contains__", "__hash__")
KNOWN_METHODS = frozenset((*_UNARY, *_COMPARISONS, *_ARITHMETIC, *_REFLECTED, *_OTHERS))
RELAYED = "_crlhf_relayed"


class Handle:
    """Stands for one object of the candidate's. Subclasses made by `handle_class` have the methods that it has."""

    __slots__ = ("_link", "_makes_own", "_number")
    _is_own = False
    _link: Link
    _number: int
    _makes_own: bool

    def __getattr__(self, name: str) -> Any:
        value = self._link.ask("getattr", (self, name), makes_own=self._makes_own)
        if not self._is_own and name in BUILTIN_ATTRIBUTES and isinstance(value, Handle):
            return _without_operands(value)
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        self._link.ask("setattr", (self, name, value))

    def __delattr__(self, name: str) -> None:
        self._link.ask("delattr", (self, name))

    def __eq__(self, other: object) -> Any:
        if isinstance(other, Handle):
            return self._link.ask("eq", (self, other)) if self._is_asked_about(other) else self is other
        return bool(self._is_own and self._content() == other)

    def __ne__(self, other: object) -> Any:
        if self._is_asked_about(other):
            return self._link.ask("ne", (self, other))
        return not self == other

    def _is_asked_about(self, other: object) -> bool:
        """Whether the candidate may say how this object compares with `other`: only with one that it made itself."""
        return isinstance(other, Handle) and (self._is_own or self._link.has_classes)

    def _content(self) -> Any:
        """The builtin content of an object whose class derives from a builtin one; nothing equals that of others."""
        return self._link.ask("content", (self,))

    def __hash__(self) -> int:
        return object.__hash__(self)

    def __instancecheck__(self, instance: object) -> bool:
        return isinstance(instance, Handle) and self._link.ask("isinstance", (instance, self)) is True

    def __subclasscheck__(self, subclass: object) -> bool:
        return isinstance(subclass, Handle) and self._link.ask("issubclass", (subclass, self)) is True

    def __dir__(self) -> list[str]:
        return list(self._link.ask("dir", (self,)))

    def __copy__(self) -> Any:
        return self._link.ask("copy", (self,), own=self._is_own)

    def __deepcopy__(self, memo: Any) -> Any:
        return self._link.ask("deepcopy", (self,), own=self._is_own)


def _without_operands(method: Handle) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        if args or kwargs:
            raise TypeError("an object of no builtin type takes no arguments in a builtin type's method")
        return method()  # type: ignore[operator]

    return call


def _asks(operation: str, keeps_own: bool = False) -> Callable[..., Any]:
    def method(self: Handle, *args: Any) -> Any:
        return self._link.ask(operation, (self, *args), own=keeps_own and self._is_own)

    return method


def _asks_pair(operation: str) -> Callable[[Handle, Any], Any]:
    def method(self: Handle, other: Any) -> Any:
        if self._is_own or self._is_asked_about(other):
            return self._link.ask(operation, (self, other), own=True)
        return NotImplemented

    return method


def _compares(operation: str) -> Callable[[Handle, Any], Any]:
    apply = getattr(operator, operation)

    def method(self: Handle, other: Any) -> Any:
        if self._is_asked_about(other):
            return self._link.ask(operation, (self, other), own=True)
        content = self._content() if self._is_own else None
        return NotImplemented if content is None or isinstance(content, Handle) else apply(content, other)

    return method


def _asks_pair_reflected(operation: str) -> Callable[[Handle, Any], Any]:
    def method(self: Handle, other: Any) -> Any:
        return self._link.ask(operation, (other, self), own=True) if self._is_own else NotImplemented

    return method


def _call(self: Handle, *args: Any, **kwargs: Any) -> Any:
    return self._link.ask("call", (self, *args), kwargs, own=self._makes_own)


def _iterate(self: Handle) -> Iterator[Any]:
    iterator = self._link.ask("iter", (self,))
    if not isinstance(iterator, Handle):
        raise TypeError("iter() returned a value that is no iterator")
    return iterator


def _hash(self: Handle) -> int:
    return int(self._link.ask("hash", (self,)))


def _exit(self: Handle, kind: type | None, error: BaseException | None, _: object) -> Any:
    named = None if kind is None else next(k for k in kind.__mro__ if k in wire.CLASSES_BY_NAME.values())
    swallows = self._link.ask("exit", (self, named, None if named is None else named(), None))
    is_the_tests_own = isinstance(error, AssertionError) and relayed(error) is None
    return False if is_the_tests_own or not isinstance(error, Exception) else swallows


@lru_cache(maxsize=1024)
def handle_class(methods: frozenset[str], kind: str, is_own: bool) -> type[Handle]:
    """A class whose instances have just the special methods that the candidate's object has."""
    body: dict[str, Any] = {"__slots__": (), "_is_own": is_own}
    for name, operation in _UNARY.items():
        if name in methods:
            body[name] = _asks(operation, keeps_own=operation in ("abs", "neg", "pos", "invert", "round", "enter"))
    for table, make in ((_ARITHMETIC, _asks_pair), (_COMPARISONS, _compares), (_REFLECTED, _asks_pair_reflected)):
        body.update({name: make(operation) for name, operation in table.items() if name in methods})
    if "__call__" in methods:
        body["__call__"] = _call
    if "__iter__" in methods:
        body["__iter__"] = _iterate
    if "__exit__" in methods:
        body["__exit__"] = _exit
    if is_own and "__contains__" in methods:
        body["__contains__"] = _asks("contains")
    body["__hash__"] = _hash if is_own and "__hash__" in methods else Handle.__hash__
    if kind == "generator":
        body["__class__"] = property(lambda self: types.GeneratorType)
    return type("Handle", (Handle,), body)


def relayed(error: BaseException) -> tuple[str, object] | None:
    """Class name and line of an exception that came from the candidate; None for the tests' own."""
    found: tuple[str, object] | None = getattr(error, RELAYED, None)
    return found
