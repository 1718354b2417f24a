"""Processes that end together. Effects: signals, and on Linux the settings of prctl(2).

A stage is a grandchild: Dagster's step starts the launcher, the launcher DVC, DVC the stage. Any of them can be
terminated or killed at any time, and none may leave another behind that goes on writing. Three means:

* the launcher asks the kernel for a signal when its parent dies (PR_SET_PDEATHSIG);
* the launcher becomes the one who adopts orphans below it (PR_SET_CHILD_SUBREAPER), so it can find and end them;
* a guardian process waits for the launcher's end, however it comes, and kills what is left below DVC.

On systems without prctl only the guardian's part remains, for processes that still descend from DVC or share its group.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def die_with_parent(parent_pid: int | None = None) -> None:
    """Get SIGTERM when the parent dies. `parent_pid`: who the parent was; if it has died already, exit now."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if parent_pid is not None and os.getppid() != parent_pid:
        sys.exit(128 + signal.SIGTERM)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def descendants(pid: int) -> list[int]:
    """Pids of all living processes below `pid`, parents first; empty where there is no /proc."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError, ValueError):
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                children.setdefault(int(parent), []).append(int(folder.name))
    found, waiting = [], [pid]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def signal_all(pids: list[int], number: int) -> None:
    """Send a signal to each process that still lives."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def end_tree(process: subprocess.Popen[bytes], grace_s: float, spare: int) -> None:
    """End `process`, which is DVC, and everything else below the caller. `spare` is the guardian's pid.

    Only the processes below DVC get SIGTERM: DVC keeps its locks in files that it rewrites in place, so it is left to
    notice that its stage ended and to put them back. Whoever lives after `grace_s` seconds is killed.
    """
    told: set[int] = set()
    deadline = time.monotonic() + grace_s
    while time.monotonic() < deadline:
        stages = [pid for pid in others(spare) if pid != process.pid]
        if process.poll() is not None and not stages:
            return
        new = [pid for pid in stages if pid not in told]
        signal_all(new, signal.SIGTERM)
        told.update(new)
        time.sleep(0.05)
    if process.poll() is None:
        process.kill()
        process.wait()
    kill_others(spare)


def others(spare: int) -> list[int]:
    """The caller's descendants except the process `spare`."""
    return [pid for pid in descendants(os.getpid()) if pid != spare]


def kill_others(spare: int) -> int:
    """Kill the caller's descendants except `spare` until none is left; returns how many there were at first."""
    first = left = others(spare)
    while left:
        signal_all(left, signal.SIGKILL)
        _reap_orphans()
        time.sleep(0.01)
        left = others(spare)
    return len(first)


def _reap_orphans() -> None:
    """Collect adopted processes that have ended; their exit codes belong to nobody."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def kill_group(leader: int) -> None:
    """Kill everything below the process `leader` and its process group."""
    below = descendants(leader)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
    signal_all(below, signal.SIGKILL)


def start_guardian(leader: int) -> subprocess.Popen[bytes]:
    """Start a process that kills the group of `leader` once the caller has ended or closed the guardian's stdin."""
    command = [sys.executable, "-I", __file__, str(leader)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True)


def dismiss(guardian: subprocess.Popen[bytes]) -> None:
    """Tell the guardian that all went well; nothing is killed."""
    with contextlib.suppress(BrokenPipeError):
        guardian.communicate(b"well")


def _guard(leader: int) -> None:
    if sys.stdin.buffer.read() != b"well":
        kill_group(leader)


if __name__ == "__main__":
    _guard(int(sys.argv[1]))
