"""Keyed pseudonyms of annotators."""

import hashlib
import hmac

from hypothesis import given
from hypothesis import strategies as st

from crlhf.annotations.pseudonyms import Pseudonyms, without_names

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


def test_what_names_a_person_is_taken_out_of_a_record():
    record = {
        "completed_by": {"id": 10, "email": "a@example.org"},
        "updated_by": 11,
        "data": {"code": "x", "worker": ""},
        "q.responses.users": ["u1", "10"],
        "list": ["10", "20"],
    }
    assert without_names(record, "10", "a_x") == {
        "completed_by": "a_x",
        "updated_by": "(removed)",
        "data": {"code": "x", "worker": ""},
        "q.responses.users": ["(removed)", "a_x"],
        "list": ["a_x", "20"],
    }
