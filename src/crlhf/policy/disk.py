"""Work on the shared cache folder that other checkouts use at the same time, and that the disk may be too small for."""

from __future__ import annotations

import errno
import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crlhf.errors import CrlhfError, DiskFullError, MissingInputError
from crlhf.fetch import Say

_RESERVE = 64 << 20  # bytes left free for everything else
_ADVICE = "free some, or set CRLHF_CACHE to a folder on a larger disk, and run again; nothing was lost"
_NO_SPACE = ("No space left on device", "Disk quota exceeded", "os error 28")


@contextmanager
def locked(folder: Path, say: Say) -> Iterator[None]:
    """Hold the lock of `folder`, which is made; wait while another process holds it, and say so.

    The system lets go of the lock when its process ends, however it ends.
    """
    with clear_disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder.parent / f".{folder.name}.lock").open("a")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another process is preparing {folder}; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def clear_disk_errors(folder: Path) -> Iterator[None]:
    """Turn a full disk, or a folder that may not be written to, into an error that says what to do."""
    try:
        yield
    except CrlhfError:
        raise
    except Exception as error:
        number = getattr(error, "errno", None)
        if number in (errno.ENOSPC, errno.EDQUOT) or any(text in str(error) for text in _NO_SPACE):
            raise DiskFullError(f"{folder}: no space left on the disk; {_ADVICE}") from None
        if number in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise MissingInputError(f"{folder}: may not be written to; set CRLHF_CACHE to a folder that may") from None
        raise


def require_space(folder: Path, n_bytes: int) -> None:
    """Raise DiskFullError unless `n_bytes` more fit on the disk that holds `folder`, which exists."""
    free = shutil.disk_usage(folder).free
    if free < n_bytes + _RESERVE:
        raise DiskFullError(f"{folder}: {n_bytes / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free; {_ADVICE}")


def one_line(error: object) -> str:
    """What an error says, in one line, without its final full stop."""
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def raise_known(error: Exception) -> None:
    """Raise `error` again if it already says what to do."""
    if isinstance(error, CrlhfError):
        raise error
