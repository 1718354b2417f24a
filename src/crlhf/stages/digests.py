"""Hashes that stages draw from: the seed of a round, and the name of work that depends on certain inputs."""

from __future__ import annotations

import hashlib
import json


def round_seed(seed: int, round_name: str) -> int:
    """The seed of a round's draws, of 32 bits: the same in every project with this seed, another in every round."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{round_name}".encode()).digest()[:4], "big")


def digest(*inputs: object) -> str:
    """SHA-256 of values that JSON can hold (anything else by its text)."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True, default=str).encode()).hexdigest()
