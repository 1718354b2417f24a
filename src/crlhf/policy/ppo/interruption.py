"""SIGTERM while a policy is trained: keep what is done, then end. Changes the process's signal handler."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class StopAskedError(BaseException):
    """SIGTERM came at a moment when the weights are those of the last finished step."""


class StopRequest:
    """Whether SIGTERM has come.

    Attributes:
        asked: True once it has.
    """

    def __init__(self) -> None:
        self.asked = False
        self._may_raise = False

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Work that may be left at once, wherever it is: no weight changes in it.

        Raises:
            StopAskedError: SIGTERM came within it, or before.
        """
        if self.asked:
            raise StopAskedError
        self._may_raise = True
        try:
            yield
        finally:
            self._may_raise = False

    def on_signal(self, signum: int, frame: object) -> None:
        """The handler."""
        self.asked = True
        if self._may_raise:
            self._may_raise = False
            raise StopAskedError


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Watch for SIGTERM; what was to be done on SIGTERM before is done at the end, if it came.

    In a thread that is not the main one there is nothing to watch: signals go to the main thread.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = signal.signal(signal.SIGTERM, request.on_signal)
    try:
        yield request
    finally:
        signal.signal(signal.SIGTERM, before)
        if request.asked:
            _do(before)


def _do(handler: Any) -> None:
    if callable(handler):
        handler(signal.SIGTERM, None)
    elif handler == signal.SIG_DFL:
        os.kill(os.getpid(), signal.SIGTERM)
