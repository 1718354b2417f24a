"""Progress bars with a rate and an ETA; on a log file a line every ten seconds instead of a moving bar."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Bar(Protocol):
    """What long work reports to."""

    def update(self, n: float = 1) -> object:
        """Say that `n` more units are done."""

    def set_postfix_str(self, s: str = "", refresh: bool = True) -> None:
        """Show a short text behind the bar."""


@contextmanager
def progress_bar(label: str, total: int, unit: str, done: int = 0) -> Iterator[Bar]:
    """A bar for `total` units of work, of which `done` were finished by an earlier run."""
    from tqdm import tqdm

    interval = 0.5 if sys.stderr.isatty() else 10.0
    with tqdm(
        total=total, initial=done, desc=label, unit=unit, mininterval=interval, dynamic_ncols=True, leave=True
    ) as bar:
        yield bar
