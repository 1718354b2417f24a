"""Keyed pseudonyms of annotators."""

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crlhf.annotations.pseudonyms import ANSWERED, Pseudonyms, without_names

KEY = bytes(range(32))


def test_a_pseudonym_is_the_documented_hash():
    tag = hmac.new(KEY, b"mturk\0A1EXAMPLE", hashlib.sha256).hexdigest()[:16]
    check = hmac.new(KEY, tag.encode(), hashlib.sha256).hexdigest()[:4]
    assert Pseudonyms(KEY).of("A1EXAMPLE", "mturk") == f"a_{tag}{check}"


def test_one_id_in_two_tools_is_two_annotators_and_another_key_gives_other_names():
    ours = Pseudonyms(KEY)
    assert ours.of("10", "label_studio") != ours.of("10", "argilla")
    other = Pseudonyms(bytes(32))
    assert other.of("10", "argilla") != ours.of("10", "argilla")
    assert other.fingerprint != ours.fingerprint


@given(st.text(min_size=1), st.sampled_from(["mturk", "argilla"]), st.sampled_from(["mturk", "collected"]))
def test_a_pseudonym_is_known_again_and_not_hashed_twice(annotator, source, again):
    ours = Pseudonyms(KEY)
    name = ours.of(annotator, source)
    assert ours.is_own(name)
    assert ours.of(name, again) == name
    assert not Pseudonyms(bytes(32)).is_own(name)


def alias(name):
    return f"<{name}>"


def test_who_answered_has_a_pseudonym_in_a_record_and_other_names_are_gone():
    record = {
        "completed_by": {"id": 10, "email": "a@example.org"},
        "updated_by": 11,
        "reviews": [{"id": 3, "created_by": 12}],
        "data": {"code": "x", "worker": "", "first_name": "Pat"},
        "q.responses.users": ["u1", "10"],
        "list": ["10", "20"],
        "labeler": "solo",
    }
    assert without_names(record, alias, "solo") == {
        "completed_by": "<10>",
        "updated_by": "(removed)",
        "reviews": ["(removed)"],
        "data": {"code": "x", "worker": "", "first_name": "(removed)"},
        "q.responses.users": ["<u1>", "<10>"],
        "list": ["<10>", "20"],
        "labeler": "<solo>",
    }


WAYS = [88, "88", {"id": 88, "email": "a@b"}, {"id": None, "email": "88"}, {"username": "88"}]


@pytest.mark.parametrize("key", [*ANSWERED, "wrong.responses.users", "ASSIGNMENT:worker_id"])
@pytest.mark.parametrize(
    "value", [88, "88", {"id": 88, "email": "a@b"}, {"id": None, "email": "88"}, {"username": "88"}]
)
def test_every_key_that_says_who_answered_is_understood_at_any_depth(key, value):
    assert without_names({"a": [{key: value}]}, alias) == {"a": [{key: "<88>"}]}
    assert without_names({key: [value]}, alias) == {key: ["<88>"]}


@pytest.mark.parametrize("value", [True, 1.5, {"name": "Pat"}, [["Pat"]]])
def test_a_person_who_cannot_be_told_is_removed(value):
    assert "Pat" not in str(without_names({"user": value}, alias))
    assert "(removed)" in str(without_names({"user": value}, alias))
