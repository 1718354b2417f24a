"""The deadline of one program, kept in the process that runs its tests."""

from __future__ import annotations

import signal

_TICK_S = 0.05


class Deadline(BaseException):
    """The program's time is up. Not an Exception: a test's own `except Exception` does not hold it.

    `test_no` is the 0-based test that was being run, None before the first.
    """

    test_no: int | None = None


class Alarm:
    """Raises `Deadline` in this process at the deadline, and again every tick until it is put off."""

    def __init__(self) -> None:
        self.is_armed = False
        self.rang = False
        signal.signal(signal.SIGALRM, self._ring)

    def _ring(self, *_: object) -> None:
        if self.is_armed:
            self.rang = True
            raise Deadline

    def arm(self, seconds: float) -> None:
        """Ring in `seconds`."""
        self.is_armed, self.rang = True, False
        signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-4), _TICK_S)

    def put_off(self) -> None:
        """Ring no more."""
        self.is_armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
