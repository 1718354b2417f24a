"""Stage `base_policy`: the base policy as safetensors in the shared cache, and here its manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crlhf.fetch import cache_folder
from crlhf.schema import Summary
from crlhf.stages import BASE
from crlhf.stages.policies import MANIFEST, policy_path
from crlhf.store import write_json

if TYPE_CHECKING:
    from crlhf.stages.runner import Context

SECTIONS = ("base_policy",)


def run(context: Context) -> Summary:
    """Fetch, verify and convert the base policy unless the cache has it; write `models/base/manifest.json`."""
    from crlhf.policy.base import prepare_base_policy

    manifest = prepare_base_policy(context.params.base_policy, cache_folder(), context.say)
    write_json(context.path(policy_path(BASE)) / MANIFEST, manifest)
    return Summary(
        metrics={
            "n_parameters": manifest["n_parameters"],
            "size_mib": sum(f["size"] for f in manifest["files"].values()) / 2**20,
        },
        facts={"name": manifest["name"], "policy_id": manifest["policy_id"]},
    )
