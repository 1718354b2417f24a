"""Policies on disk: `models/base` and, for each round, `models/<round>`: a manifest, and the adapter and value head."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from crlhf.fetch import cache_folder
from crlhf.store import read_json

MODELS = "models"
MANIFEST = "manifest.json"
ADAPTER = "adapter"
VALUE_HEAD = "value_head.safetensors"


class Policy(NamedTuple):
    """A policy that can be loaded.

    Attributes:
        name: its full name.
        policy_id: identifies its weights.
        folder: the base policy's weights in the cache.
        adapter: the LoRA adapter of the round that made it; None for the base.
        value_head: what PPO learned of values in that round; None for the base.
        is_simulated: True when a simulated crowd taught it.
        base: the manifest of the base policy.
    """

    name: str
    policy_id: str
    folder: Path
    adapter: Path | None
    value_head: Path | None
    is_simulated: bool
    base: dict[str, Any]


def policy_path(name: str) -> str:
    """The folder of the policy `name` (`base` or a round), below the project's root."""
    return f"{MODELS}/{name}"


def read_manifest(root: Path, name: str) -> dict[str, Any]:
    """The manifest of the policy `name`; raises MissingInputError where its stage has not run."""
    manifest: dict[str, Any] = read_json(root / policy_path(name) / MANIFEST)
    return manifest


def find_policy(root: Path, name: str) -> Policy:
    """The policy `name`, `base` or a round's, whose weights are in the cache.

    Raises:
        MissingInputError: the stage that makes it has not run, or the cache lacks the base policy.
    """
    from crlhf.policy.base import policy_folder

    manifest = read_manifest(root, name)
    base = manifest.get("base", manifest)
    is_base = base is manifest
    home = root / policy_path(name)
    return Policy(
        name=manifest["name"],
        policy_id=manifest["policy_id"],
        folder=policy_folder(base, cache_folder()),
        adapter=None if is_base else home / ADAPTER,
        value_head=None if is_base else home / VALUE_HEAD,
        is_simulated=not is_base and manifest["is_simulated"],
        base=base,
    )
