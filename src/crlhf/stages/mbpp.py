"""Stage `mbpp`: MBPP programs of one policy with their verdicts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crlhf.stages import benchmark

if TYPE_CHECKING:
    from crlhf.schema import Summary
    from crlhf.stages.runner import Context

SECTIONS = ("seed", "benchmarks", "sandbox")


def run(context: Context) -> Summary:
    """Write the policy's table `mbpp`; see `benchmark.run`."""
    return benchmark.run(context, "mbpp", context.params.benchmarks.mbpp)
