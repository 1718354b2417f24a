"""The untrusted side: holds one candidate program and answers the tester's questions about it.

Nothing that is said here is believed for more than what it is: a value, an exception's name, a line. The candidate
shares this process and may make it say anything; it learns arguments, never an expected value.

Objects that cannot cross by value stay here, under a number. An object whose class derives from a builtin one is sent
with its builtin content beside its number, and the tester chooses.
"""

from __future__ import annotations

import _socket
import copy
import operator
import os
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import date, datetime, timedelta
from types import FunctionType, GeneratorType, ModuleType
from typing import Any

from crlhf.evaluation.sandbox import sql_child, wire

CANDIDATE = "<candidate>"
SPECIAL = (
    "__call__", "__len__", "__iter__", "__next__", "__bool__", "__str__", "__repr__", "__format__", "__hash__",
    "__getitem__", "__setitem__", "__delitem__", "__contains__", "__reversed__", "__enter__", "__exit__", "__abs__",
    "__neg__", "__pos__", "__invert__", "__int__", "__float__", "__complex__", "__index__", "__round__",
    "__lt__", "__le__", "__gt__", "__ge__", "__add__", "__sub__", "__mul__", "__matmul__", "__truediv__",
    "__floordiv__", "__mod__", "__divmod__", "__pow__", "__and__", "__or__", "__xor__", "__lshift__", "__rshift__",
    "__radd__", "__rsub__", "__rmul__", "__rmatmul__", "__rtruediv__", "__rfloordiv__", "__rmod__", "__rpow__",
    "__rand__", "__ror__", "__rxor__", "__rlshift__", "__rrshift__",
    "__iadd__", "__isub__", "__imul__", "__iand__", "__ior__", "__ixor__",
)  # fmt: skip
_BASES: tuple[type, ...] = (
    bool, int, float, complex, str, bytes, bytearray, OrderedDict, Counter, defaultdict, dict, tuple, list, set,
    frozenset, deque, datetime, date, timedelta,
)  # fmt: skip
_CHANGEABLE = (list, dict, set, bytearray, deque, OrderedDict, Counter, defaultdict, tuple)
_MRO_SHOWN = 8
_KNOWN: dict[int, tuple[type, list[str]]] = {}


def _call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return function(*args, **kwargs)


_OPERATIONS: dict[str, Callable[..., Any]] = {
    "call": _call, "getattr": getattr, "setattr": setattr, "delattr": delattr, "isinstance": isinstance,
    "issubclass": issubclass, "len": len, "iter": iter, "next": next, "bool": bool, "str": str, "repr": repr,
    "format": format, "hash": hash, "reversed": reversed, "abs": abs, "round": round, "int": int, "float": float,
    "complex": complex, "divmod": divmod, "pow": pow, "dir": dir, "copy": copy.copy, "deepcopy": copy.deepcopy,
    "enter": lambda manager: type(manager).__enter__(manager),
    "exit": lambda manager, *error: type(manager).__exit__(manager, *error),
    **{
        name: getattr(operator, name)
        for name in (
            "getitem", "setitem", "delitem", "contains", "index", "neg", "pos", "invert", "eq", "ne", "lt", "le", "gt",
            "ge", "add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "and_", "or_", "xor", "lshift",
            "rshift", "iadd", "isub", "imul", "iand", "ior", "ixor",
        )
    },
}  # fmt: skip


class Callback:
    """A callable or an iterator of the tester's, as the candidate sees it."""

    def __init__(self, answers: Answers, number: int) -> None:
        self._answers, self._number = answers, number

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Have the tester call it."""
        return self._answers.ask_back(self._number, "call", args, kwargs)


class CallbackIterator(Callback):
    """An iterator of the tester's."""

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return self._answers.ask_back(self._number, "next", (), {})


class Answers:
    """One candidate and the objects of it that the tester holds a number for."""

    def __init__(self, channel: _socket.socket) -> None:
        self._channel = channel
        self._module = ModuleType("candidate")
        self._objects: dict[int, Any] = {}
        self._numbers: dict[int, int] = {}

    def serve(self) -> None:
        """Answer until the tester hangs up."""
        while True:
            self._answer(wire.receive(self._channel, wire.REQUEST_CAP))

    def _answer(self, request: dict[str, Any]) -> None:
        try:
            if request["op"] == "sql":
                reply = sql_child.answer(request)
            elif request["op"] == "load":
                reply = self._load(request["code"], request["names"])
            else:
                reply = self._operate(request)
        except BaseException as error:  # whatever the candidate raises is an answer
            reply = {"x": self._raised(error)}
        wire.send(self._channel, reply)

    def _load(self, code: str, names: list[str]) -> dict[str, Any]:
        """Run the candidate; tell what it made of each of `names`."""
        sys.modules["candidate"] = self._module
        try:
            compiled = compile(code, CANDIDATE, "exec", dont_inherit=True)
        except BaseException as error:
            return {"syntax": getattr(error, "lineno", None)}
        namespace = vars(self._module)
        exec(compiled, namespace)
        return {"v": {name: self._named(name, namespace[name]) for name in names if name in namespace}}

    def _named(self, name: str, value: Any) -> Any:
        if value is sys.modules.get(name):
            return {"module": name}
        if isinstance(value, type) and issubclass(value, BaseException):
            return {"exception": self._lineage(value)}
        return wire.encode(value, self._outside)

    def _operate(self, request: dict[str, Any]) -> dict[str, Any]:
        sent, named = request["a"], request.get("k", {})
        args = [wire.decode(item, self._inside) for item in sent]
        kwargs = {name: wire.decode(item, self._inside) for name, item in named.items()}
        if request["op"] == "content":
            return {"v": self._content_of(args[0])}
        value = _OPERATIONS[request["op"]](*args, **kwargs)
        if request["op"] != "call":
            return {"v": wire.encode(value, self._outside)}
        places = [*zip(map(str, range(1, len(args))), args[1:], sent[1:], strict=True), *_triples(kwargs, named)]
        places = [place for place in places if type(place[1]) in _CHANGEABLE]
        returned = [name for name, arg, _ in places if arg is value]
        reply = {"v": {"arg": returned[0]} if returned else wire.encode(value, self._outside)}
        changed = self._changed(places)
        if changed:
            reply["m"] = changed
        return reply

    def _changed(self, places: list[tuple[str, Any, Any]]) -> dict[str, Any]:
        """Arguments, by position or keyword, that the call left with other contents."""
        changed = {}
        for name, arg, before in places:
            after = wire.encode(arg, self._outside)
            if after != before:
                changed[name] = after
        return changed

    def _content_of(self, value: Any) -> Any:
        """The builtin content of an object of a derived class; a reference to nothing but itself for others."""
        base = next((base for base in _BASES if base in type(value).__mro__), None)
        content = None if base is None else _content(base, value, self._outside)
        return {"h": 0, "m": [], "n": "object"} if content is None else content

    def _inside(self, message: Any) -> Any:
        """What a reference of the tester's stands for."""
        if "h" in message:
            return self._objects[message["h"]]
        if "w" in message:
            return __builtins__[message["w"]] if isinstance(__builtins__, dict) else getattr(__builtins__, message["w"])
        if "x" in message:
            return wire.CLASSES_BY_NAME[message["x"][0]](*wire.decode(message["x"][1], self._inside))
        kind = CallbackIterator if message["kind"] == "iterator" else Callback
        return kind(self, message["cb"])

    def _outside(self, value: Any) -> Any:
        """A reference to an object that stays here."""
        kind = type(value)
        if kind is Callback or kind is CallbackIterator:
            return {"cb": value._number, "kind": "iterator" if kind is CallbackIterator else "callable"}
        number = self._numbers.get(id(value))
        if number is None:
            number = self._numbers[id(value)] = len(self._objects) + 1
            self._objects[number] = value
        reference: dict[str, Any] = {"h": number, "m": self._methods(kind), "n": "object"}
        if kind is GeneratorType:
            reference["n"] = "generator"
        elif kind is FunctionType:
            reference["n"] = "function"
        elif isinstance(value, type):
            reference["n"] = "class"
        for base in _BASES:
            if base in kind.__mro__:
                reference["base"] = _content(base, value, self._outside)
                break
        return reference

    @staticmethod
    def _methods(kind: type) -> list[str]:
        """Special methods of a class; found by identity, for a metaclass may make classes equal."""
        if id(kind) not in _KNOWN:
            _KNOWN[id(kind)] = kind, [name for name in SPECIAL if _has(kind, name)]
        return _KNOWN[id(kind)][1]

    def ask_back(self, number: int, what: str, args: Any, kwargs: Any) -> Any:
        """Have the tester call its own callable; answer its questions meanwhile."""
        question = {
            "cb": number,
            "do": what,
            "a": [wire.encode(item, self._outside) for item in args],
            "k": {name: wire.encode(item, self._outside) for name, item in kwargs.items()},
        }
        wire.send(self._channel, question)
        while True:
            message = wire.receive(self._channel, wire.REQUEST_CAP)
            if "op" in message:
                self._answer(message)
            elif "v" in message:
                return wire.decode(message["v"], self._inside)
            else:
                kind = wire.CLASSES_BY_NAME.get(message["x"], Exception)
                raise kind() if issubclass(kind, BaseException) else Exception()

    def _raised(self, error: BaseException) -> dict[str, Any]:
        line_no, trace = None, error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == CANDIDATE:
                line_no = trace.tb_lineno
            trace = trace.tb_next
        if line_no is None and isinstance(error, SyntaxError) and error.filename == CANDIDATE:
            line_no = error.lineno
        try:
            args = wire.encode(list(error.args), self._outside)
        except BaseException:
            args = []
        return {"c": self._lineage(type(error)), "l": line_no, "a": args}

    def _lineage(self, kind: type) -> list[list[Any]]:
        """Names of the exception's classes, nearest first; classes of the candidate's own with their number."""
        lineage: list[list[Any]] = []
        for ancestor in kind.__mro__[:_MRO_SHOWN]:
            is_builtin = wire.CLASSES_BY_NAME.get(ancestor.__name__) is ancestor
            lineage.append([ancestor.__name__, 0 if is_builtin else self._outside(ancestor)["h"]])
        return lineage


def _triples(kwargs: dict[str, Any], sent: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    return ((name, value, sent[name]) for name, value in kwargs.items())


def _content(base: type, value: Any, outside: wire.Outside) -> Any:
    """The builtin content of an instance of a class derived from `base`, whatever its methods say."""
    if base in (dict, OrderedDict, Counter, defaultdict):
        return wire.encode(dict(dict.items(value)), outside)
    if base in (list, tuple, set, frozenset, deque):
        items = list(base.__iter__(value))
        return wire.encode(items if base is list else base(items), outside)
    if base in (datetime, date, timedelta):
        return None
    plain: dict[type, Callable[[], Any]] = {
        bool: lambda: bool(int.__int__(value)),
        int: lambda: int.__int__(value),
        float: lambda: float.__float__(value),
        complex: lambda: complex.__add__(value, 0j),
        str: lambda: "".join(str.__iter__(value)),
        bytes: lambda: bytes(list(bytes.__iter__(value))),
        bytearray: lambda: bytearray(list(bytearray.__iter__(value))),
    }
    return wire.encode(plain[base](), outside)


def _has(kind: type, name: str) -> bool:
    """Whether the class defines the special method; a hash by identity does not count, nor does one set to None."""
    method = getattr(kind, name, None)
    return method is not None and not (name == "__hash__" and method == object.__hash__)


_REHEARSAL = """
import math
class A(Exception):
    def m(self): return [1, (2.5, "x"), {"k": {1}}]
def f(x, y=None):
    if x == 3:
        raise A(x)
    if x == 4:
        return (n for n in range(3))
    return [x, (1, 2.5), {"a": {1, 2}}, "text", None, True]
"""


def rehearse(times: int = 24) -> None:
    """Serve a harmless program in this process, before any fork.

    The interpreter rewrites code as it warms up and fills caches of its own. Done once here, no child does it again in
    pages that it would first have to copy.
    """
    for _ in range(times):
        ours, theirs = _socket.socketpair()
        with closing(ours), closing(theirs):
            answers = Answers(theirs)
            arguments = (1, 2, 3, 4, [1, [2]], {"t": [1, {"d": [["k", 2.5]]}]}, "text")
            for request in (
                {"op": "load", "code": _REHEARSAL, "names": ["f", "A", "nothing"]},
                *({"op": "call", "a": [{"h": 1}, argument]} for argument in arguments),
                {"op": "next", "a": [{"h": 3}]},
            ):
                wire.send(ours, request)
                answers._answer(wire.receive(theirs, wire.REQUEST_CAP))
                wire.receive(ours, wire.REPLY_CAP)
    sys.modules.pop("candidate", None)


def run(channel: _socket.socket) -> None:
    """Serve on `channel` until it ends, then leave the process without any of the candidate's clean-up."""
    try:
        Answers(channel).serve()
    finally:
        os._exit(0)
