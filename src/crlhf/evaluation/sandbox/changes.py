"""Changes that a call made to its arguments, carried over to the tests' own objects."""

from __future__ import annotations

from collections import deque
from typing import Any


def assume(old: Any, new: Any) -> None:
    """Give `old` the contents of `new`, keeping the identity of what is inside where the shapes allow it."""
    if type(old) is not type(new):
        return
    if isinstance(old, tuple):
        for before, after in zip(old, new, strict=False):
            assume(before, after)
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
        assume(before, after)
        return before
    return after
