"""Pseudonyms of annotators: a keyed hash, so that whoever lacks the project's key cannot tell who is meant.

    pseudonym(id) = "a_" + t + c,   t = HMAC-SHA256(key, source + NUL + id)[:16 hex],   c = HMAC-SHA256(key, t)[:4 hex]

(RFC 2104). A plain hash would not do: ids of platforms can be listed and tried. `t` has 64 bits: among a million
annotators two share it with a probability below 3e-8. `c` lets the holder of the key recognise the project's own
pseudonyms, so that an exported table can be imported again without hashing twice. An id is unique within its `source`
only: annotator 10 of one tool is not annotator 10 of another.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Iterator
from typing import Any

_FORM = re.compile(r"a_([0-9a-f]{16})([0-9a-f]{4})")
ANSWERED = (
    "completed_by",
    "created_by",
    "email",
    "username",
    "user",
    "user_id",
    "WorkerId",
    "worker",
    "worker_id",
    "annotator",
    "annotator_id",
)
"""Keys of foreign records whose values name who answered."""
PERSONAL = (*ANSWERED, "updated_by", "created_username", "last_updated_by", "reviews", "first_name", "last_name")
"""Keys of foreign records whose values name a person."""

_ANSWERED_ENDS = (".responses.users", ":worker_id")
_ENDS = (*_ANSWERED_ENDS, ".agent")
_DEEPEST = 50


class Pseudonyms:
    """The pseudonyms under one key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def of(self, annotator: str, source: str) -> str:
        """The pseudonym of the annotator called `annotator` in `source`; one of our own pseudonyms stays as it is."""
        return annotator if self.is_own(annotator) else self._make(annotator, source)

    def is_own(self, text: str) -> bool:
        """Whether `text` is a pseudonym that was made with this key."""
        found = _FORM.fullmatch(text)
        return found is not None and self._mac(found[1])[:4] == found[2]

    @property
    def fingerprint(self) -> str:
        """Tells keys apart and says nothing else about them: 16 hex digits."""
        return self._mac("fingerprint of the key")[:16]

    def _make(self, annotator: str, source: str) -> str:
        tag = self._mac(f"{source}\0{annotator}")[:16]
        return f"a_{tag}{self._mac(tag)[:4]}"

    def _mac(self, text: str) -> str:
        return hmac.new(self._key, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def is_pseudonym(text: str) -> bool:
    """Whether `text` has the form of a pseudonym, under whatever key."""
    return _FORM.fullmatch(text) is not None


def person_in(value: Any) -> str | None:
    """The id of a person: text or a number, in a whole user record its `id`, else the address or the name."""
    if isinstance(value, dict):
        named = (value.get(key) for key in ("id", "email", "username"))
        value = next((one for one in named if one not in (None, "")), None)
    return str(value) or None if isinstance(value, int | str) and not isinstance(value, bool) else None


def answered_in(record: Any, depth: int = 0) -> Iterator[str]:
    """Who answered, by the keys of a foreign record; a record may hold the answers of several people."""
    if depth > _DEEPEST:
        return
    if isinstance(record, list | tuple):
        for item in record:
            yield from answered_in(item, depth + 1)
    elif isinstance(record, dict):
        for key, item in record.items():
            if key in ANSWERED or str(key).endswith(_ANSWERED_ENDS):
                people = map(person_in, item if isinstance(item, list) else [item])
                yield from (name for name in people if name is not None)
            else:
                yield from answered_in(item, depth + 1)


def without_names(record: Any, pseudonym: Callable[[str], str], annotator: str | None = None) -> Any:
    """A foreign record for the quarantine: who answered has a pseudonym, and other people's names are gone.

    Args:
        record: what the tool wrote.
        pseudonym: gives the pseudonym of a name.
        annotator: who answered, where that is known beside the record.
    """
    names = {name: pseudonym(name) for name in (*answered_in(record), annotator) if name is not None}

    def clean(value: Any, depth: int) -> Any:
        if depth > _DEEPEST:
            return "..."
        if isinstance(value, dict):
            return {
                key: named(item, depth) if key in PERSONAL or str(key).endswith(_ENDS) else clean(item, depth + 1)
                for key, item in value.items()
            }
        if isinstance(value, list | tuple):
            return [clean(item, depth + 1) for item in value]
        return names.get(value, value) if isinstance(value, str) else value

    def named(value: Any, depth: int) -> Any:
        if isinstance(value, list) and depth <= _DEEPEST:
            return [named(item, depth + 1) for item in value]
        return value if value in (None, "") else names.get(person_in(value) or "", "(removed)")

    return clean(record, 0)
