"""Policies on disk: `models/base` and, for each round, `models/<round>`: a manifest, and what training wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from crlhf.errors import MissingInputError
from crlhf.fetch import cache_folder
from crlhf.stages import BASE
from crlhf.store import read_json

MODELS = "models"
MANIFEST = "manifest.json"
ADAPTER = "adapter"


class Policy(NamedTuple):
    """A policy that can be loaded.

    Attributes:
        name: its full name.
        policy_id: identifies its weights.
        folder: weights to load: the base policy's in the cache, or, of a round that tuned all weights, its own.
        adapter: the LoRA adapter of the round that made it; None where `folder` says it all.
        home: the round's folder, which the next round goes on from; None for the base.
        is_simulated: True when a simulated crowd taught it.
        base: the manifest of the base policy.
    """

    name: str
    policy_id: str
    folder: Path
    adapter: Path | None
    home: Path | None
    is_simulated: bool
    base: dict[str, Any]

    @property
    def base_folder(self) -> Path:
        """The base policy's weights in the cache: the reference policy of every round."""
        from crlhf.policy.base import policy_folder

        return policy_folder(self.base, cache_folder())


def policy_path(name: str) -> str:
    """The folder of the policy `name` (`base` or a round), below the project's root."""
    return f"{MODELS}/{name}"


def read_manifest(root: Path, name: str) -> dict[str, Any]:
    """The manifest of the policy `name`; raises MissingInputError where its stage has not run."""
    path = root / policy_path(name) / MANIFEST
    if not path.exists():
        command = "base_policy" if name == BASE else f"ppo --round {name}"
        raise MissingInputError(f"{path}: no such file; `crlhf {command}` makes this policy")
    manifest: dict[str, Any] = read_json(path)
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
    weights = None if is_base else home / manifest["weights"]
    is_whole = weights is not None and weights.name != ADAPTER
    return Policy(
        name=manifest["name"],
        policy_id=manifest["policy_id"],
        folder=weights if weights is not None and is_whole else policy_folder(base, cache_folder()),
        adapter=None if is_whole else weights,
        home=None if is_base else home,
        is_simulated=not is_base and manifest["is_simulated"],
        base=base,
    )
