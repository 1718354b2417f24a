"""What crosses between the trusted tester and the untrusted child: length-prefixed JSON with tagged builtin types.

A frame is four bytes of length (big endian) and that many bytes of JSON. JSON's own null, booleans, strings and lists
stand for None, bool, str and list, its numbers for small int and finite float; every other value is an object with
one key, its tag: `{"t": [...]}` is a tuple. Only values whose type *is* one of the known types cross by value
(`type(x) is`, never `isinstance`); nothing is ever unpickled, and no code crosses but the candidate's own source.
A value that cannot cross is handed to the caller's `outside`, which may send a reference instead.

Reading is strict: a frame that is too long, is not JSON, or holds an unknown tag raises WireError.
"""

from __future__ import annotations

import builtins
import json
import math
import struct
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _socket import socket

REPLY_CAP = 1 << 20
REQUEST_CAP = 1 << 28
_SMALL = 1 << 53
_MAX_DIGITS = 20
_MAX_HEX_DIGITS = 100_000
_HEADER = struct.Struct(">I")
_MOST_FRAMES = 4096
_WORDS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}

Outside = Callable[[Any], Any]

CLASSES_BY_NAME: dict[str, type] = {
    **{
        name: value
        for name, value in vars(builtins).items()
        if isinstance(value, type) and issubclass(value, BaseException)
    },
    **{
        kind.__name__: kind
        for kind in (bool, int, float, complex, str, bytes, bytearray, list, tuple, dict, set, frozenset, range, object)
    },
    "NoneType": type(None),
}
"""Builtin classes that cross by name in both directions."""


class WireError(Exception):
    """The other side sent something that is no answer, or went away."""


def send(channel: socket, message: Any) -> None:
    """Send one frame; raises WireError when the other side went away."""
    data = _to_json(message).encode()
    try:
        channel.sendall(_HEADER.pack(len(data)) + data)
    except ConnectionError:
        raise WireError("the stream ended") from None


def receive(channel: socket, cap: int) -> Any:
    """Receive one frame of at most `cap` bytes.

    The two sides take turns, so that nothing can lie behind a frame; mostly one system call reads it.

    Raises:
        WireError: the stream ended, or what came is no frame, or more than one.
    """
    data = _some(channel, _MOST_FRAMES)
    while len(data) < _HEADER.size:
        data += _some(channel, _HEADER.size - len(data))
    (length,) = _HEADER.unpack_from(data)
    if length > cap:
        raise WireError(f"a frame of {length} bytes, at most {cap} are read")
    size = _HEADER.size + length
    if len(data) < size:
        data = _the_rest(channel, data, size)
    if len(data) > size:
        raise WireError("something lies behind the frame")
    try:
        return _from_json(data[_HEADER.size :].decode("ascii"))
    except (ValueError, RecursionError) as error:
        raise WireError(f"not a frame: {type(error).__name__}") from None


def _the_rest(channel: socket, start: bytes, size: int) -> bytes:
    whole = bytearray(start)
    while len(whole) < size:
        whole += _some(channel, min(size - len(whole), 1 << 20))
    return bytes(whole)


def _some(channel: socket, at_most: int) -> bytes:
    try:
        part = channel.recv(at_most)
    except ConnectionError:
        part = b""
    if not part:
        raise WireError("the stream ended")
    return part


def _parse_int(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError("large integers cross in hexadecimal")
    return int(digits)


def _refuse(word: str) -> float:
    raise ValueError(f"{word} is not JSON")


_to_json = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
_read_json = json.JSONDecoder(parse_int=_parse_int, parse_constant=_refuse).raw_decode


def _from_json(text: str) -> Any:
    """The value that all of `text` is. `decode` would look for blanks around it as well, at ten times the cost."""
    value, end = _read_json(text)
    if end != len(text):
        raise ValueError("more than a value")
    return value


def encode(value: Any, outside: Outside) -> Any:
    """`value` as something JSON holds; `outside(value)` answers for a value whose type is not a known one."""
    kind = type(value)
    if value is None or kind is str or kind is bool:
        return value
    if kind is int:
        return value if -_SMALL < value < _SMALL else {"i": hex(value)}
    if kind is float:
        return value if math.isfinite(value) else {"f": repr(value)}
    if kind is list:
        return [encode(item, outside) for item in value]
    encoder = _ENCODERS.get(kind)
    return outside(value) if encoder is None else encoder(value, outside)


def _items(tag: str) -> Callable[[Any, Outside], Any]:
    return lambda value, outside: {tag: [encode(item, outside) for item in value]}


def _pairs(tag: str) -> Callable[[Any, Outside], Any]:
    return lambda value, outside: {
        tag: [[encode(key, outside), encode(item, outside)] for key, item in dict.items(value)]
    }


def _class(value: type, outside: Outside) -> Any:
    return {"g": value.__name__} if CLASSES_BY_NAME.get(value.__name__) is value else outside(value)


def _datetime(value: datetime, outside: Outside) -> Any:
    if value.tzinfo is not None:
        return outside(value)
    return {"dt": [value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond]}


def _time(value: time, outside: Outside) -> Any:
    if value.tzinfo is not None:
        return outside(value)
    return {"tm": [value.hour, value.minute, value.second, value.microsecond]}


_ENCODERS: dict[type, Callable[[Any, Outside], Any]] = {
    tuple: _items("t"),
    dict: _pairs("d"),
    set: _items("s"),
    frozenset: _items("z"),
    bytes: lambda value, _: {"b": value.hex()},
    bytearray: lambda value, _: {"B": value.hex()},
    complex: lambda value, outside: {"c": [encode(value.real, outside), encode(value.imag, outside)]},
    range: lambda value, outside: {"r": [encode(end, outside) for end in (value.start, value.stop, value.step)]},
    Decimal: lambda value, _: {"D": str(value)},
    Fraction: lambda value, _: {"F": [hex(value.numerator), hex(value.denominator)]},
    date: lambda value, _: {"da": [value.year, value.month, value.day]},
    datetime: _datetime,
    time: _time,
    timedelta: lambda value, _: {"td": [value.days, value.seconds, value.microseconds]},
    Counter: _pairs("C"),
    OrderedDict: _pairs("od"),
    defaultdict: lambda value, outside: {
        "dd": [encode(value.default_factory, outside), _pairs("d")(value, outside)["d"]]
    },
    deque: lambda value, outside: {"q": [value.maxlen, [encode(item, outside) for item in value]]},
    type: _class,
    type(Ellipsis): lambda value, _: {"e": 0},
}


def decode(message: Any, outside: Outside) -> Any:
    """The value that `encode` wrote; `outside(message)` answers for an object whose tag is not known here.

    Raises:
        WireError: the message is no encoded value.
    """
    kind = type(message)
    if kind is list:
        return [decode(item, outside) for item in message]
    if kind is not dict:
        return message
    if len(message) != 1:
        return outside(message)
    ((tag, body),) = message.items()
    decoder = _DECODERS.get(tag)
    if decoder is None:
        return outside(message)
    try:
        return decoder(body, outside)
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        raise WireError(f"not a value: {type(error).__name__}") from None


def _decode_items(make: Callable[[list[Any]], Any]) -> Callable[[Any, Outside], Any]:
    return lambda body, outside: make([decode(item, outside) for item in body])


def _decode_pairs(make: Callable[[dict[Any, Any]], Any]) -> Callable[[Any, Outside], Any]:
    return lambda body, outside: make({decode(key, outside): decode(item, outside) for key, item in body})


def _int(digits: Any) -> int:
    if type(digits) is not str or len(digits) > _MAX_HEX_DIGITS:
        raise ValueError("arithmetic with it would take this side's time")
    return int(digits, 16)


def _float(body: Any, outside: Outside) -> float:
    value = decode(body, outside)
    if type(value) not in (int, float):
        raise TypeError("not a number")
    return float(value)


_DECODERS: dict[str, Callable[[Any, Outside], Any]] = {
    "i": lambda body, _: _int(body),
    "f": lambda body, _: _WORDS[body],
    "t": _decode_items(tuple),
    "s": lambda body, outside: {decode(item, outside) for item in body},  # one by one: a deadline can come between
    "z": _decode_items(frozenset),
    "d": _decode_pairs(dict),
    "C": _decode_pairs(Counter),
    "od": _decode_pairs(OrderedDict),
    "dd": lambda body, outside: defaultdict(decode(body[0], outside), _decode_pairs(dict)(body[1], outside)),
    "q": lambda body, outside: deque((decode(item, outside) for item in body[1]), body[0]),
    "b": lambda body, _: bytes.fromhex(body),
    "B": lambda body, _: bytearray.fromhex(body),
    "c": lambda body, outside: complex(_float(body[0], outside), _float(body[1], outside)),
    "r": lambda body, outside: range(*(decode(end, outside) for end in body)),
    "D": lambda body, _: Decimal(body),
    "F": lambda body, _: Fraction(_int(body[0]), _int(body[1])),
    "da": lambda body, _: date(*body),
    "dt": lambda body, _: datetime(*body),
    "tm": lambda body, _: time(*body),
    "td": lambda body, _: timedelta(*body),
    "g": lambda body, _: CLASSES_BY_NAME[body],
    "e": lambda body, _: ...,
}
