"""Stage `sql`: SQL scripts of one policy with their verdicts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crlhf.stages import benchmark

if TYPE_CHECKING:
    from crlhf.schema import Summary
    from crlhf.stages.runner import Context

SECTIONS = ("seed", "benchmarks", "sandbox")


def run(context: Context) -> Summary:
    """Write the policy's table `sql`; see `benchmark.run`."""
    return benchmark.run(context, "sql", context.params.benchmarks.sql)
