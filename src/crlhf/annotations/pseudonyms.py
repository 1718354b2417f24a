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
from typing import Any

_FORM = re.compile(r"a_([0-9a-f]{16})([0-9a-f]{4})")
PERSONAL = (
    "completed_by",
    "updated_by",
    "created_by",
    "created_username",
    "last_updated_by",
    "reviews",
    "email",
    "first_name",
    "last_name",
    "username",
    "user",
    "WorkerId",
    "worker",
    "worker_id",
    "annotator",
    "annotator_id",
    "user_id",
)
"""Keys of foreign records whose values name a person."""

_ENDS = (".responses.users", ":worker_id", ".agent")


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


def without_names(record: Any, annotator: str | None, pseudonym: str) -> Any:
    """A foreign record for the quarantine: what names a person is its `pseudonym`, or gone if it is another person."""

    def clean(value: Any, depth: int) -> Any:
        if depth > 50:
            return "..."
        if isinstance(value, dict):
            return {
                key: named(item) if key in PERSONAL or str(key).endswith(_ENDS) else clean(item, depth + 1)
                for key, item in value.items()
            }
        if isinstance(value, list | tuple):
            return [clean(item, depth + 1) for item in value]
        return pseudonym if annotator is not None and isinstance(value, str) and value == annotator else value

    def named(value: Any) -> Any:
        if isinstance(value, list):
            return [named(item) for item in value]
        if isinstance(value, dict):
            value = value.get("id", value.get("email"))
        if value in (None, ""):
            return value
        return pseudonym if annotator is not None and str(value) == annotator else "(removed)"

    return clean(record, 0)
