"""Modes and times of a program's own files where the kernel's filter refuses to change any file's.

`shutil.copy` sets a mode, `shutil.copy2` a time: with an error for it, right programs would fail. Nothing is contained
here, and nothing needs to be: a program that goes round these functions meets the filter.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any


def keep_quietly(folder: str) -> None:
    """Have `os.chmod` and `os.utime` do nothing, without an error, for files in `folder`, a real path."""
    os.chmod = _quiet_in(folder, os.chmod)
    os.utime = _quiet_in(folder, os.utime)


def _quiet_in(folder: str, change: Callable[..., None]) -> Any:
    def changed(path: Any, *args: Any, **kwargs: Any) -> None:
        if isinstance(path, int) or kwargs.get("dir_fd") is not None or not _is_in(folder, path):
            change(path, *args, **kwargs)

    return changed


def _is_in(folder: str, path: Any) -> bool:
    real = os.path.realpath(os.fsdecode(path))
    return (real == folder or real.startswith(f"{folder}/")) and os.access(real, os.F_OK)
