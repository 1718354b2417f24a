import datetime
import json
import socket
import struct
import threading
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crlhf.evaluation.sandbox import intent, wire

HASHABLE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
    | st.text()
    | st.binary()
    | st.fractions()
    | st.dates()
    | st.datetimes()
    | st.times()
    | st.timedeltas(),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=5,
)
VALUES = st.recursive(
    HASHABLE | st.builds(bytearray, st.binary()) | st.builds(range, st.integers(), st.integers()),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(HASHABLE, inner, max_size=3)
        | st.sets(HASHABLE, max_size=3)
    ),
    max_leaves=12,
)


def refuse(value):
    raise LookupError(value)


def same(one, other):
    """Equal, and of equal types all the way down, signs of zero included."""
    if type(one) is not type(other):
        return False
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return same(list(one.items()), list(other.items()))
    return repr(one) == repr(other) if isinstance(one, (float, complex)) else one == other


@settings(max_examples=60, deadline=None)
@given(VALUES)
def test_every_value_comes_back_the_same_through_a_socket(value):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        wire.send(ours, wire.encode(value, refuse))
        assert same(wire.decode(wire.receive(theirs, wire.REPLY_CAP), refuse), value)


def test_only_exact_types_cross_by_value():
    class Int(int):
        pass

    class Text(str):
        pass

    for value in (Int(1), Text("x"), object(), lambda: 1, datetime.datetime.now(datetime.UTC)):
        with pytest.raises(LookupError):
            wire.encode([value], refuse)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_message_or_a_wire_error(data):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(struct.pack(">I", len(data)) + data)
        ours.close()
        try:
            wire.decode(wire.receive(theirs, wire.REPLY_CAP), refuse)
        except (wire.WireError, LookupError):
            return


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(wire._DECODERS)), inner, max_size=1)
    ),
    max_leaves=8,
)


@given(JSON)
def test_any_json_is_a_value_or_a_wire_error(message):
    try:
        wire.decode(message, lambda unknown: None)
    except wire.WireError:
        return


def test_frames_too_long_or_cut_are_refused():
    for data, what in ((struct.pack(">I", 2000) + b"1", "a frame of 2000"), (b"\0\0\0\4[1", "ended"), (b"\0", "ended")):
        ours, theirs = socket.socketpair()
        with theirs:
            ours.sendall(data)
            ours.close()
            with pytest.raises(wire.WireError, match=what):
                wire.receive(theirs, 1000)


def test_nothing_may_lie_behind_a_frame_or_around_its_value():
    for data in (b"\0\0\0\1" + b"1" + b"\0\0\0\1" + b"1", b"\0\0\0\2" + b"1 ", b"\0\0\0\2" + b" 1", b"\0\0\0\0"):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.sendall(data)
            with pytest.raises(wire.WireError, match=r"behind the frame|not a frame"):
                wire.receive(theirs, wire.REPLY_CAP)


def test_a_frame_arrives_in_any_pieces():
    text = '["' + "x" * 10_000 + '"]'
    data = struct.pack(">I", len(text)) + text.encode()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sender = threading.Thread(target=lambda: [ours.sendall(data[at : at + 3]) for at in range(0, len(data), 3)])
        sender.start()
        assert wire.receive(theirs, wire.REPLY_CAP) == ["x" * 10_000]
        sender.join()


def test_long_digits_and_words_that_are_not_json_are_refused():
    for text in ("1" * 5000, "NaN", "Infinity", "[" * 100000):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.sendall(struct.pack(">I", len(text)) + text.encode())
            with pytest.raises(wire.WireError):
                wire.receive(theirs, wire.REPLY_CAP)


def test_no_name_but_a_class_of_the_list_is_resolved():
    assert wire.decode({"g": "int"}, refuse) is int
    for name in ("eval", "exec", "open", "type", "__import__"):
        with pytest.raises(wire.WireError):
            wire.decode({"g": name}, refuse)


def test_integers_are_exact_beyond_the_numbers_of_json():
    value = [2**53 - 1, 2**53, -(2**200), Fraction(10**30, 7)]
    assert wire.decode(json.loads(json.dumps(wire.encode(value, refuse))), refuse) == value


@pytest.mark.parametrize(
    ("tests", "classes"),
    [
        (("assert solve(1) == 2",), set()),
        (("assert solve(1).startswith('a')", "x = solve(2)\nassert x.count(1) == 2"), set()),
        (("assert Sum([1]) == 2", "assert abs(Sum([2]) - 3) < 1e-6"), set()),
        (("s = Stack()\ns.push(1)\nassert s.pop() == 1",), {"Stack"}),
        (("q = Queue()\nq.append(1)\nassert q.pop() == 1",), {"Queue"}),
        (("assert V(1) + V(2) == V(3)",), {"V"}),
        (("assert make(1).total == 2",), {"make"}),
        (("assert isinstance(make(1), Shape)",), {"Shape"}),
        (("def check(candidate):\n    assert candidate(1).area() == 2\ncheck(solve)",), {"solve"}),
        (("import math\nassert math.isclose(solve(1), 2)",), set()),
    ],
)
def test_what_the_tests_mean_as_a_class_is_read_from_them(tests, classes):
    assert intent.read_intent("solve", "", tests).classes == classes


def test_names_are_those_that_the_program_may_define():
    names = intent.read_intent("sum", "root = Node(1)", ("assert sum(root, len([1])) == helper",)).names
    assert names == ("Node", "helper", "root", "sum")


def test_modules_are_left_to_the_program_only_as_modules():
    tests = ("assert size(1) == sys.getsizeof(1) and queue(2) == 3",)
    assert intent.read_intent("size", "", tests).modules == {"sys"}
    assert intent.read_intent("size", "import sys", tests).modules == set()
