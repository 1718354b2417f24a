"""Files that are fetched once and reused by every checkout: the cache folder, hashes, downloads.

The cache folder is `$CRLHF_CACHE`, else `$XDG_CACHE_HOME/crlhf`, else `~/.cache/crlhf`. What lies there is never
fetched again, and nothing there belongs to one checkout.
"""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from crlhf.errors import IntegrityError, MissingInputError
from crlhf.store import atomic_write

Say = Callable[[str], None]
_CHUNK = 1 << 20


def cache_folder() -> Path:
    """The folder of fetched files, which may not exist yet."""
    if explicit := os.environ.get("CRLHF_CACHE"):
        return Path(explicit)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "crlhf"


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def check_sha256(path: Path, expected: str) -> None:
    """Raise IntegrityError, saying what to do, unless the file at `path` has the SHA-256 `expected`."""
    found = sha256_file(path)
    if found != expected:
        raise IntegrityError(
            f"{path}: its sha256 is {found[:12]}..., expected {expected[:12]}...; remove the file and run again"
        )


def download(url: str, target: Path, sha256: str, timeout_s: float = 20.0) -> None:
    """Fetch `url` to `target`, atomically, and only if its bytes have the SHA-256 `sha256`.

    Raises:
        MissingInputError: the address cannot be reached.
        IntegrityError: other bytes came; nothing is kept.
    """
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as answer, atomic_write(target) as file:
            digest = hashlib.sha256()
            while chunk := answer.read(_CHUNK):
                digest.update(chunk)
                file.write(chunk)
            if digest.hexdigest() != sha256:
                raise IntegrityError(f"{url}: its sha256 is {digest.hexdigest()[:12]}..., expected {sha256[:12]}...")
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        raise MissingInputError(f"{url}: cannot be reached ({reason})") from None
