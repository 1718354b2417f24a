"""The project's key for pseudonyms: 32 random bytes in a file that only its owner can read, never in git.

The file is `.annotator.key` in the project's folder (git and DVC ignore it), or where the environment variable
`CRLHF_ANNOTATOR_KEY` says. It is made when annotators are first imported. Who loses it cannot tell any more which
pseudonym is whose, and annotators who come again get a second one; docs/importers.md says what to do.
"""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

from crlhf.annotations.pseudonyms import Pseudonyms
from crlhf.errors import InputError, IntegrityError
from crlhf.stages.batches import read_ledger

KEY_FILE = ".annotator.key"
SETTING = "CRLHF_ANNOTATOR_KEY"
_FORM = re.compile(rb"[0-9a-f]{64}\n?")


def key_path(root: Path) -> Path:
    """Where the key of the project at `root` lies."""
    named = os.environ.get(SETTING, "")
    return (root / Path(named).expanduser()) if named else root / KEY_FILE


def read_key(root: Path) -> bytes:
    """The project's key; made on first use, with mode 600.

    Raises:
        InputError: other users can read the file, or it cannot be read or made.
        IntegrityError: it is not a key.
    """
    path = key_path(root)
    try:
        if not path.exists():
            _make(path)
        others = path.stat().st_mode & 0o077
        text = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: the key for pseudonyms cannot be read or made: {error.strerror}") from None
    if others and os.name == "posix":
        raise InputError(f"{path}: others can read the key for pseudonyms; run `chmod 600 {path}`")
    if not _FORM.fullmatch(text):
        raise IntegrityError(f"{path}: not a key for pseudonyms (64 hex digits); restore it from a copy")
    return bytes.fromhex(text.decode().strip())


def lost_key(root: Path) -> str | None:
    """What is wrong when the key under which the newest import was made is not there; None when nothing is.

    Raises:
        InputError, IntegrityError: as `read_key`; or the ledger's chain is broken.
    """
    used = [event["key"] for event in read_ledger(root) if "key" in event]
    if not used:
        return None
    path = key_path(root)
    if not path.exists():
        return f"{path}: the key that earlier imports used is missing"
    if Pseudonyms(read_key(root)).fingerprint != used[-1]:
        return f"{path}: not the key that earlier imports used"
    return None


def _make(path: Path) -> None:
    """Write a new key whole, unless another process was first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_hex(32).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)
    except FileExistsError:
        return
    finally:
        temporary.unlink(missing_ok=True)
