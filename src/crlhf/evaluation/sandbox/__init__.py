"""Verdicts on programs that a model wrote. Has effects by nature: it starts and ends processes.

Each program runs in a process of its own: own session, limits on memory, CPU, files and descriptors, clean
environment, own temporary folder. The deadline is kept by the parent; at the deadline the whole group is killed.

Not contained: reading files of this user, the network, and a program that looks for its own tests.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from crlhf.schema import Program, Verdict

_RUNNER = Path(__file__).with_name("runner.py")
_LEVEL = "hygiene"


def isolation_level() -> str:
    """What separates the programs from this machine."""
    return _LEVEL


def run_programs(
    programs: Iterable[Program],
    *,
    timeout_s: float,
    memory_mib: int,
    workers: int,
    on_verdict: Callable[[Verdict], None] | None = None,
) -> list[Verdict]:
    """Run each program against its tests; verdicts in the order of `programs`.

    Args:
        programs: what to run.
        timeout_s: wall time of one program with its tests.
        memory_mib: address space of one program.
        workers: programs run at a time.
        on_verdict: called with each verdict, in the same order, as soon as it is known.
    """
    verdicts = []
    with ThreadPoolExecutor(max_workers=workers) as pool:
        for verdict in pool.map(lambda program: _run(program, timeout_s, memory_mib), programs):
            verdicts.append(verdict)
            if on_verdict is not None:
                on_verdict(verdict)
    return verdicts


def _run(program: Program, timeout_s: float, memory_mib: int) -> Verdict:
    """Run one program in a fresh interpreter and read what its runner says of it."""
    key = secrets.token_hex(16)
    job = json.dumps({**program._asdict(), "key": key, "memory_mib": memory_mib, "timeout_s": timeout_s})
    started = time.monotonic()
    read_end, write_end = os.pipe()
    with tempfile.TemporaryDirectory(prefix="crlhf-", ignore_cleanup_errors=True) as folder:
        child = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_RUNNER), str(write_end)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env={"HOME": folder, "TMPDIR": folder, "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1"},
            pass_fds=(write_end,),
            start_new_session=True,
        )
        os.close(write_end)
        with suppress(BrokenPipeError):
            _send(child, job.encode())
        is_late = False
        try:
            child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            is_late = True
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        answer = _read(read_end)
    seconds = time.monotonic() - started
    if is_late:
        return Verdict(program.program_id, "timeout", "timeout", None, None, _LEVEL, seconds)
    try:
        said = json.loads(answer)
        if said["key"] != key:
            raise ValueError("a forged answer")
        return Verdict(
            program.program_id,
            said["verdict"],
            said["reason"],
            said["line_no"],
            said["failed_test_no"],
            _LEVEL,
            seconds,
        )
    except (ValueError, KeyError, TypeError):
        return Verdict(program.program_id, "error", "process ended", None, None, _LEVEL, seconds)


def _send(child: subprocess.Popen[bytes], job: bytes) -> None:
    assert child.stdin is not None
    child.stdin.write(job)
    child.stdin.close()


def _read(read_end: int) -> bytes:
    """What the runner wrote, at most 64 KiB; other writers may still hold the pipe, so it never waits."""
    os.set_blocking(read_end, False)
    try:
        return os.read(read_end, 65536)
    except BlockingIOError:
        return b""
    finally:
        os.close(read_end)
