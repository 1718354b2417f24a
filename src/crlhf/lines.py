"""Lines of a program as `line_no` counts them, whatever its language."""

from __future__ import annotations

import hashlib


def sha256_text(text: str) -> str:
    """SHA-256 of `text` in UTF-8, as 64 hex digits; lone surrogates are encoded as they are."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def split_lines(code: str) -> list[str]:
    r"""Split `code` into the lines that `line_no` counts: at `\n` only, the first line is `line_no` 1.

    A trailing `\r` stays on its line. The empty program has one empty line.
    """
    return code.split("\n")
