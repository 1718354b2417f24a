"""Group commit for SQLite in WAL: one flush of the log makes every transaction durable that ended before it began.

With `synchronous=NORMAL` SQLite ends a transaction when its frames are in the log, and flushes the log before it copies
anything from there into the database. A database is therefore whole after a power cut at any time, and holds every
transaction up to the last flush. Writers that need to know that theirs is on the disk wait for a flush here, outside
the turn in which only one may write: fifty who answer at once wait for two or three flushes, not for fifty.
"""

from __future__ import annotations

import itertools
import os
import threading
from pathlib import Path

from crlhf.errors import CrlhfError
from crlhf.store import fsync_folder


class Log:
    """SQLite's write-ahead log of the database at `path`, as something to flush."""

    def __init__(self, path: Path) -> None:
        self.path = path.with_name(f"{path.name}-wal")
        self._tickets = itertools.count(1)
        self._issued = 0
        self._flushed = 0
        self._error: OSError | None = None
        self._descriptor: int | None = None
        self._counting = threading.Lock()
        self._flushing = threading.Lock()

    def flush(self) -> None:
        """Return when all that was committed before this call is on the disk.

        Raises:
            CrlhfError: the disk did not take it. What it holds is not known from then on, so every later call fails,
                too, until the page is started again.
        """
        with self._counting:
            self._issued = ticket = next(self._tickets)
        with self._flushing:
            if self._flushed >= ticket:  # a flush that began after our commit is over
                return
            if self._error is None:
                issued = self._issued
                try:
                    self._sync()
                except OSError as error:
                    self._error = error
                else:
                    self._flushed = issued
                    return
        raise CrlhfError(f"{self.path}: cannot be flushed to the disk: {self._error.strerror}; start the page again")

    def _sync(self) -> None:
        if self._descriptor is None:
            self._descriptor = os.open(self.path, os.O_RDWR)
            fsync_folder(self.path.parent)
        _fdatasync(self._descriptor)

    def close(self) -> None:
        """Let go of the file."""
        with self._flushing:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None


_fdatasync = getattr(os, "fdatasync", os.fsync)
