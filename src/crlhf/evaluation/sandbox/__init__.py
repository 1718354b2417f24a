"""Verdicts on programs that a model wrote. Has effects by nature: it starts and ends processes.

The verdict is split. A trusted tester process runs the tests against stand-ins; the candidate sits in a child of its
own and answers "call this with these arguments". Tests and expected values never enter the child, and what comes out
of it is data of exact builtin types. Around the child lie layers, each used where the machine has it and proved by
trying what it forbids:

- `hygiene`, always: own session, limits on memory, CPU, files, descriptors and core; clean environment, own temporary
  folder, a deadline kept by the tester, SIGKILL of everything left, orphans included;
- `landlock`: no file outside the interpreter's library can be read, none outside the temporary folder written, no TCP;
- `seccomp`: no processes, no signals to others, no sockets, tracing, mounts or namespaces;
- `namespaces`: own pids, network, mounts, IPC and host name.

Not contained, at any level: time (a program may use its whole deadline on its worker's core); guessing, and answers
from a problem's text; a class under test that lies about how its own instances compare; tests that evaluate what a
program returned; covert channels between samples through numbers that the kernel hands out; bugs of the kernel. With
`hygiene` alone: files of this user, the network, and signals to this user's processes. Without `namespaces`: disk space
up to the deadline. What is only hygiene is no sandbox, and `Verdict.isolation` says which it was. docs/sandbox.md has
the threats one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crlhf.evaluation.sandbox.pool import Isolation, Sandbox
    from crlhf.schema import Program, Verdict


def isolation_level() -> str:
    """The strongest level that this machine gives, found by trying it: `hygiene+landlock+seccomp+namespaces`."""
    from crlhf.evaluation.sandbox import pool

    return pool.isolation_level()


def describe_isolation(isolation: str = "auto") -> Isolation:
    """The level, the layers that are missing and why, and how each probe ended; see `pool.Isolation`."""
    from crlhf.evaluation.sandbox import pool

    return pool.describe_isolation(isolation)


def open_sandbox(*, timeout_s: float, memory_mib: int, workers: int, isolation: str = "auto") -> Sandbox:
    """Warm workers for many calls; see `pool.Sandbox`. Use it in a `with` statement."""
    from crlhf.evaluation.sandbox import pool

    return pool.Sandbox(timeout_s=timeout_s, memory_mib=memory_mib, workers=workers, isolation=isolation)


def run_programs(
    programs: Iterable[Program],
    *,
    timeout_s: float,
    memory_mib: int,
    workers: int,
    on_verdict: Callable[[Verdict], None] | None = None,
    isolation: str = "auto",
) -> list[Verdict]:
    """Run each program against its tests; verdicts in the order of `programs`.

    One bad program never costs another's verdict: its processes are killed, its folder emptied, and a helper that was
    lost is started anew.

    Args:
        programs: what to run.
        timeout_s: wall time of one program with its tests.
        memory_mib: address space of one program.
        workers: programs run at a time.
        on_verdict: called with each verdict as soon as it is known, in the calling thread.
        isolation: auto | require:<layers> | only:<layers>.

    Raises:
        IsolationError: a required layer is missing.
    """
    listed = list(programs)
    if not listed:
        return []
    with open_sandbox(
        timeout_s=timeout_s, memory_mib=memory_mib, workers=min(workers, len(listed)), isolation=isolation
    ) as sandbox:
        return sandbox.run(listed, on_verdict)
