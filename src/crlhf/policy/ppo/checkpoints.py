"""Checkpoint folders that are whole or not there, and that say when they were damaged.

A checkpoint is written to a folder with another name; every file is hashed into a manifest and flushed to disk; then
the folder is renamed. A process killed at any moment leaves the last good checkpoint in place.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from crlhf.errors import CrlhfError, DiskFullError

MANIFEST = "manifest.json"
STAGING = ".incomplete"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# What safetensors and torch.save say of a write that came out short; the latter without the reason.
_FULL_SIGNS = ("No space left", "File too large", "unexpected pos", "iostream error", "file write failed")


class Found(NamedTuple):
    """The checkpoint to go on from (None: start anew), and how many newer ones were damaged and removed."""

    path: Path | None
    step: int
    n_damaged: int


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def staging_folder(folder: Path) -> Path:
    """An empty folder beside the checkpoints to write the next one into; what a killed process left there goes."""
    staging = folder / STAGING
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    return staging


def commit(written: Path, folder: Path, key: str, step: int, keep: int) -> Path:
    """Turn the files in `written` into the checkpoint of `step`, and remove all but the newest `keep`.

    Args:
        written: a folder below `staging_folder(folder)` with all of the checkpoint's files.
        folder: where checkpoints lie.
        key: hash of what the run depends on; `newest` passes over checkpoints of another key.
        step: the optimiser step.
        keep: how many checkpoints stay, at least 1.

    Returns:
        The checkpoint's folder.
    """
    files = {name: file_sha256(written / name) for name in _files(written)}
    manifest = {"key": key, "step": step, "files": files}
    (written / MANIFEST).write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    flush_folder(written)
    target = folder / f"checkpoint-{step}"
    shutil.rmtree(target, ignore_errors=True)
    written.rename(target)
    _fsync(folder)
    shutil.rmtree(folder / STAGING, ignore_errors=True)
    for old in _checkpoints(folder)[keep:]:
        shutil.rmtree(old)
    return target


def newest(folder: Path, key: str) -> Found:
    """Find the newest whole checkpoint of the run `key`; remove damaged ones and those of other runs."""
    n_damaged = 0
    for path in _checkpoints(folder):
        manifest = _read_manifest(path)
        if manifest is not None and manifest["key"] != key:
            shutil.rmtree(path)
        elif manifest is None or not _is_whole(path, manifest["files"]):
            n_damaged += 1
            shutil.rmtree(path)
        else:
            return Found(path, int(manifest["step"]), n_damaged)
    return Found(None, 0, n_damaged)


def flush_folder(folder: Path) -> None:
    """Flush everything in a folder, and the folder's own entries, to disk."""
    for path in sorted(folder.rglob("*")):
        _fsync(path)
    _fsync(folder)


def _files(folder: Path) -> list[str]:
    """Paths of all files in a folder, below it; sharded optimisers are folders of their own."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@contextmanager
def disk_full_explained(folder: Path) -> Iterator[None]:
    """Turn the several errors that writers raise on a full disk into one clear one.

    Raises:
        DiskFullError: there is no room below `folder`; the last checkpoint is untouched.
    """
    try:
        yield
    except CrlhfError:
        raise
    except Exception as error:
        # torch and safetensors wrap the operating system's error in their own types.
        is_full = getattr(error, "errno", None) in _FULL or any(sign in str(error) for sign in _FULL_SIGNS)
        if not is_full and shutil.disk_usage(folder).free > 2**20:
            raise
        shutil.rmtree(folder / STAGING, ignore_errors=True)
        raise DiskFullError(
            f"{folder}: no space left on the disk (or a quota or limit on file sizes is reached); free some and run "
            "again, PPO goes on from its last checkpoint"
        ) from None


def _checkpoints(folder: Path) -> list[Path]:
    """Checkpoint folders, newest first."""
    paths = [path for path in folder.glob("checkpoint-*") if path.name.split("-")[1].isdigit()]
    return sorted(paths, key=lambda path: int(path.name.split("-")[1]), reverse=True)


def _read_manifest(path: Path) -> dict[str, Any] | None:
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(manifest, dict) or not {"key", "step", "files"} <= manifest.keys():
        return None
    return manifest


def _is_whole(path: Path, files: object) -> bool:
    if not isinstance(files, dict):
        return False
    present = set(_files(path)) - {MANIFEST}
    return present == set(files) and all(file_sha256(path / name) == sha256 for name, sha256 in files.items())


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
