"""A time limit inside a test: for tests that give each of their inputs a limit of its own."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

_TICK_S = 0.05


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Within, the program's deadline is `seconds` from now, unless its own comes first; after, its own again.

    For use in tests that the tester runs: it is the tester's timer that is set.
    """
    left, _ = signal.getitimer(signal.ITIMER_REAL)
    started = time.monotonic()
    if seconds < left:
        signal.setitimer(signal.ITIMER_REAL, seconds, _TICK_S)
    yield
    if seconds < left:
        signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - started), 1e-4), _TICK_S)
