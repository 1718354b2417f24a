"""Running generated programs for the stages: the sandbox with the params' limits and a progress bar."""

from __future__ import annotations

from collections.abc import Sequence

from crlhf.params import SandboxParams
from crlhf.progress import Bar, progress_bar
from crlhf.schema import Program, Verdict


def run_programs(programs: Sequence[Program], params: SandboxParams, label: str) -> list[Verdict]:
    """Verdicts of `programs`, in their order; see `crlhf.evaluation.sandbox.run_programs`."""
    from crlhf.evaluation import sandbox

    def advance(bar: Bar) -> None:
        bar.update(1)

    with progress_bar(label, len(programs), "program") as bar:
        return sandbox.run_programs(
            programs,
            timeout_s=params.timeout_s,
            memory_mib=params.memory_mib,
            workers=params.workers,
            isolation=params.isolation,
            on_verdict=lambda verdict: advance(bar),
        )
