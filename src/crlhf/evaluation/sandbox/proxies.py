"""The trusted side of the wire: stand-ins for the candidate's objects, and the rules of what they may answer.

Rules, in the order in which they matter:

1. A value of a known builtin type crosses by value and is compared here, by the tests, with values never sent out.
2. An instance of a class derived from a builtin one is read as its builtin content.
3. Any other object is a `Handle`. Attributes, calls, length, iteration, items and conversions are asked of the
   candidate. It equals nothing but itself, has no order, and takes part in no arithmetic; `in` walks over it and
   compares here; a method that also builtin types have takes no arguments, for an argument may be an expected value.
4. Objects made by a class that the tests use as one (see `intent`) are under test: they also answer operators and
   comparisons, and rule 2 does not apply to them.
5. Exceptions cross as the name of their class and arguments. Classes of the candidate's own become classes here with
   the same ancestry, so that `except` works.
6. Of the tests' objects, callables and iterators can be passed to the candidate, and only called or advanced there.
   Other objects that have no value on the wire raise TypeError. Arguments that a call changed are changed here too.
7. StopIteration and GeneratorExit out of anything but an iterator's next step become RuntimeError, unless the tests
   name StopIteration: raised inside `map` or `all`, they would end the tests in silence.
"""

from __future__ import annotations

import builtins
import types
from collections import deque
from collections.abc import Callable, Iterator
from functools import lru_cache
from socket import socket
from typing import Any

from crlhf.evaluation.sandbox import wire
from crlhf.evaluation.sandbox.intent import BUILTIN_ATTRIBUTES, Intent

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
_RELAYED = "_crlhf_relayed"


class ModuleName(str):
    """Says that the program imported the module of this name under its own name."""


class Handle:
    """Stands for one object of the candidate's. Subclasses made by `_handle_class` have the methods that it has."""

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
        if self._is_own or (isinstance(other, Handle) and self._link.has_classes):
            return self._link.ask("eq", (self, other))
        return self is other

    def __ne__(self, other: object) -> Any:
        if self._is_own or (isinstance(other, Handle) and self._link.has_classes):
            return self._link.ask("ne", (self, other))
        return self is not other

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
        if self._is_own or (isinstance(other, Handle) and self._link.has_classes):
            return self._link.ask(operation, (self, other), own=True)
        return NotImplemented

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
    return self._link.ask("exit", (self, named, None if named is None else named(), None))


@lru_cache(maxsize=1024)
def _handle_class(methods: frozenset[str], kind: str, is_own: bool) -> type[Handle]:
    """A class whose instances have just the special methods that the candidate's object has."""
    body: dict[str, Any] = {"__slots__": (), "_is_own": is_own}
    for name, operation in _UNARY.items():
        if name in methods:
            body[name] = _asks(operation, keeps_own=operation in ("abs", "neg", "pos", "invert", "round", "enter"))
    for table, make in ((_ARITHMETIC, _asks_pair), (_COMPARISONS, _asks_pair), (_REFLECTED, _asks_pair_reflected)):
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


class Link:
    """The questions of one program's tests to its child."""

    def __init__(self, channel: socket, intent: Intent) -> None:
        self._channel = channel
        self._intent = intent
        self._handles: dict[int, Handle] = {}
        self._mirrors: dict[int, type] = {}
        self._passed: dict[int, Any] = {}
        self.has_classes = bool(intent.classes)

    def load(self, code: str) -> dict[str, Any]:
        """Run the program in the child; what it made of each name that the tests read, as stand-ins or values.

        Raises:
            SyntaxError: the program does not compile; `lineno` is the line the child named.
        """
        names = self._intent.names
        wire.send(self._channel, {"op": "load", "code": code, "names": names})
        reply = self._reply()
        if "syntax" in reply:
            error = SyntaxError()
            error.lineno = reply["syntax"]
            raise error
        found = reply["v"]
        if type(found) is not dict:
            raise wire.WireError("not a table of names")
        return {name: self._named(name, found[name]) for name in names if self._is_there(name, found)}

    def _is_there(self, name: str, found: dict[str, Any]) -> bool:
        """Whether the program defines `name`; a module that the tests count on must be the library's own."""
        return name in found and (name not in self._intent.modules or found[name] == {"module": name})

    def _named(self, name: str, message: Any) -> Any:
        if name in self._intent.modules:
            return ModuleName(name)
        if type(message) is dict and "exception" in message:
            return self._mirror(message["exception"])
        if _is_reference(message):
            return self._inside(message, makes_own=name in self._intent.classes)
        return self._decode(message)

    def ask(
        self,
        operation: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any] | None = None,
        *,
        own: bool = False,
        makes_own: bool = False,
    ) -> Any:
        """Have the child apply `operation`; its value, or its exception raised here.

        Args:
            operation: one of the child's operations.
            args: its arguments, stand-ins included.
            kwargs: keyword arguments of a call.
            own: True: an object that comes back is under test (rule 4).
            makes_own: True: so is what a callable that comes back will make.
        """
        message: dict[str, Any] = {"op": operation, "a": [wire.encode(arg, self._outside) for arg in args]}
        if kwargs:
            message["k"] = {name: wire.encode(value, self._outside) for name, value in kwargs.items()}
        wire.send(self._channel, message)
        reply = self._reply(may_stop=operation == "next" or self._intent.names_stop)
        for position, changed in reply.get("m", {}).items():
            _assume(args[int(position)], self._decode(changed))
        value = reply.get("v")
        if _is_reference(value):
            return self._inside(value, own=own, makes_own=makes_own)
        return self._decode(value)

    def _reply(self, may_stop: bool = False) -> dict[str, Any]:
        """The child's answer to the last question; meanwhile it may have the tests' callables called."""
        while True:
            reply = wire.receive(self._channel, wire.REPLY_CAP)
            if type(reply) is not dict:
                raise wire.WireError("no answer")
            if "x" in reply:
                raise self._relayed(reply["x"], may_stop)
            if "do" not in reply:
                if type(reply.get("m", {})) is not dict:
                    raise wire.WireError("no answer")
                return reply
            self._call_back(reply)

    def _call_back(self, question: dict[str, Any]) -> None:
        """Call a callable of the tests' for the candidate. Only what the tests passed can be named."""
        passed = self._passed.get(question.get("cb", 0))
        args = self._decode(question.get("a", []))
        kwargs = question.get("k", {})
        if passed is None or type(args) is not list or type(kwargs) is not dict:
            raise wire.WireError("no question")
        try:
            if question["do"] == "next":
                value = next(passed)
            else:
                value = passed(*args, **{name: self._decode(item) for name, item in kwargs.items()})
            answer = {"v": wire.encode(value, self._outside)}
        except Exception as error:
            known = wire.CLASSES_BY_NAME
            answer = {"x": next(k.__name__ for k in type(error).__mro__ if known.get(k.__name__) is k)}
        wire.send(self._channel, answer)

    def _decode(self, message: Any) -> Any:
        return wire.decode(message, self._inside)

    def _inside(self, message: Any, *, own: bool = False, makes_own: bool = False) -> Any:
        """What a reference of the child's stands for here."""
        if type(message) is dict and message.get("cb") in self._passed:
            return self._passed[message["cb"]]
        if not _is_reference(message):
            raise wire.WireError("unknown tag")
        number, methods = message["h"], message.get("m")
        if type(number) is not int or type(methods) is not list or len(methods) > 100:
            raise wire.WireError("not a reference")
        if number in self._handles:
            return self._handles[number]
        if not own and not makes_own and message.get("base") is not None:
            return self._decode(message["base"])
        kind = _handle_class(frozenset(str(name) for name in methods), str(message.get("n")), own)
        handle = object.__new__(kind)
        for name, value in (("_link", self), ("_number", number), ("_makes_own", makes_own)):
            object.__setattr__(handle, name, value)
        self._handles[number] = handle
        return handle

    def _outside(self, value: Any) -> Any:
        """How an object of the tests' that has no value on the wire is passed to the candidate."""
        if isinstance(value, Handle):
            return {"h": value._number}
        name = getattr(value, "__name__", None)
        if type(name) is str and getattr(builtins, name, None) is value:
            return {"w": name}
        if isinstance(value, BaseException) and type(value) in wire.CLASSES_BY_NAME.values():
            return {"x": [type(value).__name__, wire.encode(list(value.args), self._outside)]}
        is_iterator = hasattr(value, "__next__")
        if not is_iterator and not callable(value):
            raise TypeError(f"{type(value).__name__} objects cannot be passed to the program")
        self._passed[id(value)] = value
        return {"cb": id(value), "kind": "iterator" if is_iterator else "callable"}

    def _relayed(self, said: Any, may_stop: bool) -> BaseException:
        """The candidate's exception as one of this side's."""
        if type(said) is not dict or type(said.get("c")) is not list or not said["c"]:
            raise wire.WireError("not an exception")
        kind = self._mirror(said["c"])
        if issubclass(kind, (StopIteration, StopAsyncIteration, GeneratorExit)) and not may_stop:
            kind = RuntimeError
        args = self._decode(said.get("a", []))
        try:
            error = kind(*args) if type(args) is list else kind()
        except Exception:  # classes such as UnicodeDecodeError insist on their arguments
            kind = next((k for k in (ValueError, Exception) if issubclass(kind, k)), Exception)
            error = kind()
        setattr(error, _RELAYED, (_class_name(said["c"][0][0]), said.get("l")))
        return error

    def _mirror(self, lineage: Any) -> type[BaseException]:
        """A class with the name and the ancestry that the child tells; builtin ancestors are the real ones."""
        try:
            base: type = Exception
            chain = []
            for name, number in lineage:
                known = wire.CLASSES_BY_NAME.get(name)
                if number == 0 and known is not None and issubclass(known, BaseException):
                    base = known
                    break
                chain.append((_class_name(name), number))
            for name, number in reversed(chain):
                base = self._mirrors.setdefault(number, type(name, (base,), {}))
        except (TypeError, ValueError):
            raise wire.WireError("not a class of exceptions") from None
        return base


def relayed(error: BaseException) -> tuple[str, object] | None:
    """Class name and line of an exception that came from the candidate; None for the tests' own."""
    found: tuple[str, object] | None = getattr(error, _RELAYED, None)
    return found


def _is_reference(message: Any) -> bool:
    return type(message) is dict and "h" in message


def _class_name(name: object) -> str:
    return name if type(name) is str and name.isidentifier() and len(name) <= 80 else "Exception"


def _assume(old: Any, new: Any) -> None:
    """Give `old` the contents of `new`, keeping the identity of what is inside where the shapes allow it."""
    if type(old) is not type(new):
        return
    if isinstance(old, tuple):
        for before, after in zip(old, new, strict=False):
            _assume(before, after)
    elif isinstance(old, list):
        old[:] = [_kept(before, after) for before, after in zip(old, new, strict=False)] + new[len(old) :]
    elif isinstance(old, dict):
        kept = {key: _kept(old[key], item) if key in old else item for key, item in new.items()}
        old.clear()
        dict.update(old, kept)
    elif isinstance(old, set):
        old.clear()
        old.update(new)
    elif isinstance(old, bytearray):
        old[:] = new
    elif isinstance(old, deque):
        old.clear()
        old.extend(new)


def _kept(before: Any, after: Any) -> Any:
    if type(before) is type(after) and isinstance(before, (list, dict, set, bytearray, deque)):
        _assume(before, after)
        return before
    return after
