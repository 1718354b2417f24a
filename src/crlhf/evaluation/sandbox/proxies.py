"""The trusted side of the wire: stand-ins for the candidate's objects, and the rules of what they may answer.

Rules, in the order in which they matter:

1. A value of a known builtin type crosses by value and is compared here, by the tests, with values never sent out.
2. An instance of a class derived from a builtin one is read as its builtin content.
3. Any other object is a `Handle`. Attributes, calls, length, iteration, items and conversions are asked of the
   candidate. It equals nothing but itself, has no order, and takes part in no arithmetic; `in` walks over it and
   compares here; a method that also builtin types have takes no arguments, for an argument may be an expected value.
4. Objects made by a class that the tests use as one (see `intent`) are under test: they also answer operators, and
   comparisons with each other; rule 2 does not apply to them. Compared with a value, they are read by rule 2 after
   all, or differ: a value in a comparison is an expected one.
5. Exceptions cross as the name of their class and arguments. Classes of the candidate's own become classes here with
   the same ancestry, so that `except` works.
   What the tests' own assertions say is never swallowed by a context manager of the candidate's.
6. Of the tests' objects, callables and iterators can be passed to the candidate, and only called or advanced there.
   Other objects that have no value on the wire raise TypeError. Arguments that a call changed are changed here too,
   and an argument that a call returns is the same object here.
7. StopIteration and GeneratorExit out of anything but an iterator's next step become RuntimeError, unless the tests
   name StopIteration: raised inside `map` or `all`, they would end the tests in silence.
"""

from __future__ import annotations

import builtins
from socket import socket
from typing import Any

from crlhf.evaluation.sandbox import wire
from crlhf.evaluation.sandbox.changes import assume
from crlhf.evaluation.sandbox.handles import KNOWN_METHODS, RELAYED, Handle, handle_class
from crlhf.evaluation.sandbox.intent import Intent

_MAX_LINEAGE = 16


class ModuleName(str):
    """Says that the program imported the module of this name under its own name."""


class Link:
    """The questions of one program's tests to its child."""

    def __init__(self, channel: socket) -> None:
        self._channel = channel
        self._intent = Intent((), frozenset(), frozenset(), False)
        self._handles: dict[int, Handle] = {}
        self._mirrors: dict[int, type] = {}
        self._passed: dict[int, Any] = {}
        self.has_classes = self.has_answered = False

    def load(self, code: str, intent: Intent) -> dict[str, Any]:
        """Run the program in the child; what it made of each name that the tests read, as stand-ins or values.

        Raises:
            SyntaxError: the program does not compile; `lineno` is the line the child named.
        """
        self._intent, self.has_classes, names = intent, bool(intent.classes), intent.names
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

    def exchange(self, request: dict[str, Any]) -> Any:
        """The child's answer to a question of another language's runner, as it came."""
        wire.send(self._channel, request)
        reply = wire.receive(self._channel, wire.REPLY_CAP)
        self.has_answered = True
        return reply

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
        self._change(args, kwargs or {}, reply.get("m", {}))
        value = reply.get("v")
        if type(value) is dict and "arg" in value and operation == "call":
            return _argument(args, kwargs or {}, value["arg"])
        if _is_reference(value):
            return self._inside(value, own=own, makes_own=makes_own)
        return self._decode(value)

    def _change(self, args: tuple[Any, ...], kwargs: dict[str, Any], changes: dict[str, Any]) -> None:
        """Give arguments the contents that a call left them with."""
        for place, changed in changes.items():
            assume(_argument(args, kwargs, place), self._decode(changed))

    def _reply(self, may_stop: bool = False) -> dict[str, Any]:
        """The child's answer to the last question; meanwhile it may have the tests' callables called."""
        while True:
            reply = wire.receive(self._channel, wire.REPLY_CAP)
            self.has_answered = True
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
        known = frozenset(name for name in methods if type(name) is str and name in KNOWN_METHODS)
        kind = handle_class(known, "generator" if message.get("n") == "generator" else "object", own)
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
        setattr(error, RELAYED, (_class_name(said["c"][0][0]), said.get("l")))
        return error

    def _mirror(self, lineage: Any) -> type[BaseException]:
        """A class with the name and the ancestry that the child tells; builtin ancestors are the real ones."""
        try:
            base: type = Exception
            chain = []
            for name, number in lineage[:_MAX_LINEAGE]:
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


def _argument(args: tuple[Any, ...], kwargs: dict[str, Any], place: object) -> Any:
    """The argument that the child calls `place`: a position after the callable's, or a keyword."""
    if type(place) is str and place in kwargs:
        return kwargs[place]
    if type(place) is not str or not place.isdecimal() or not 0 < int(place[:9]) < len(args):
        raise wire.WireError("no such argument")
    return args[int(place)]


def _is_reference(message: Any) -> bool:
    return type(message) is dict and "h" in message


def _class_name(name: object) -> str:
    return name if type(name) is str and name.isidentifier() and len(name) <= 80 else "Exception"
