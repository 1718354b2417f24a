"""Run one stage through DVC and report it to Dagster: `python -m dagster_project.launcher`, started through Pipes.

Every outcome that the stage or DVC decides ends this process with code 0 and a message that says what happened; the
asset turns it into a Dagster event. Another code means that the launcher itself was ended or broke.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

from dagster_pipes import PipesContext, open_dagster_pipes

from crlhf.errors import WaitingError
from dagster_project.processes import adopt_orphans, die_with_parent, dismiss, end_tree, kill_others, start_guardian
from dagster_project.settings import find_dvc, stage_environment
from dagster_project.summaries import describe_stage, locked_outs

EXECUTED, SKIPPED, RUN_CACHED, FAILED, WAITING = "executed", "skipped", "run-cached", "failed", "waiting"
TAIL_LINES = 60
_POLL_S = 0.05
BUSY = re.compile(r"is busy, it is being blocked by|Unable to acquire lock")
_BLOCKER = re.compile(r"\(PID \d+\): ")
_WAITS = re.compile(rf"failed to run: .*, exited with {WaitingError.exit_code}$")
_OF_DVC = re.compile(r"^(ERROR: failed to reproduce|ERROR: failed to run|WARNING: |$)")


class Finished(NamedTuple):
    """What `dvc repro` did with one stage: an outcome, and the last lines of its two streams."""

    outcome: str
    stdout: list[str]
    stderr: list[str]

    @property
    def is_blocked(self) -> bool:
        """True when DVC refused to start because another DVC process holds a lock that it needs."""
        ran = any(line.startswith("Running stage ") for line in self.stdout)
        return self.outcome == FAILED and not ran and any(BUSY.search(line) for line in self.stderr)

    @property
    def is_waiting(self) -> bool:
        """True when the stage ended with the exit code that says it waits for people."""
        return self.outcome == FAILED and any(_WAITS.search(line) for line in self.stderr)

    @property
    def found_damaged_lock(self) -> bool:
        """True when DVC could not read its list of locks."""
        return self.outcome == FAILED and any("Unable to read RWLock-file" in line for line in self.stderr)


class StopRequestedError(Exception):
    """This process was asked to end."""


def main() -> int:
    """Run the stage that Dagster asked for and report it."""
    with open_dagster_pipes() as pipes:
        stop = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        die_with_parent(int(pipes.extras["parent_pid"]))
        adopt_orphans()
        root, stage = Path(pipes.extras["root"]), pipes.extras["stage"]
        run = partial(repro, root, stage, pipes.extras["grace_s"], stop)
        try:
            finished = repro_when_free(run, root, pipes.extras["lock_wait_s"], stop, pipes.log.info)
        except StopRequestedError:
            pipes.log.warning(f"{stage}: asked to end; the stage and DVC have ended")
            return 128 + signal.SIGTERM
        if finished.outcome == FAILED:
            outcome = WAITING if finished.is_waiting else FAILED
            pipes.report_custom_message({"outcome": outcome, **explain(stage, finished)})
            return 0
        _report(pipes, root, stage, finished.outcome)
    return 0


def repro_when_free(
    run: Callable[[], Finished], root: Path, wait_s: float, stop: threading.Event, say: Callable[[str], None]
) -> Finished:
    """Run a stage, and again with growing pauses while another DVC process holds a lock, for at most `wait_s` seconds.

    A lock file that a killed DVC left half-written is removed, see `drop_damaged_rwlock`.

    Raises:
        StopRequestedError: `stop` was set meanwhile.
    """
    deadline, pause_s = time.monotonic() + wait_s, 0.5
    while True:
        finished = run()
        if finished.found_damaged_lock and drop_damaged_rwlock(root):
            say("removed .dvc/tmp/rwlock, which a killed DVC had left half-written")
            continue
        if not finished.is_blocked or time.monotonic() + pause_s > deadline:
            return finished
        blockers = [line.strip() for line in finished.stderr if _BLOCKER.search(line)] or ["another DVC process"]
        say(f"waiting for {'; '.join(blockers)}")
        if stop.wait(pause_s):
            raise StopRequestedError
        pause_s = min(2 * pause_s, 10.0)


def drop_damaged_rwlock(root: Path) -> bool:
    """Remove DVC's list of locks if it is not JSON; True when it was removed.

    DVC rewrites the list in place under a guard, so it is found damaged only after a DVC was killed while writing. All
    entries are lost then; without the removal every DVC command fails from there on.
    """
    path = root / ".dvc" / "tmp" / "rwlock"
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    except ValueError:
        path.unlink(missing_ok=True)
        return True
    return False


def repro(root: Path, stage: str, grace_s: float, stop: threading.Event) -> Finished:
    """Run `dvc repro --single-item` in a session of its own, passing its output on as it comes.

    Raises:
        StopRequestedError: `stop` was set meanwhile; DVC and everything below it have ended.
    """
    dvc = subprocess.Popen(
        [str(find_dvc()), "repro", "--single-item", stage],
        cwd=root,
        env=stage_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    guardian = start_guardian(dvc.pid)
    assert dvc.stdout
    assert dvc.stderr
    tails = (Tail(dvc.stdout, sys.stdout.fileno()), Tail(dvc.stderr, sys.stderr.fileno()))
    while (code := dvc.poll()) is None:
        if stop.wait(_POLL_S):
            end_tree(dvc, grace_s, guardian.pid)
            dismiss(guardian)
            raise StopRequestedError
    kill_others(guardian.pid)
    dismiss(guardian)
    stdout, stderr = (tail.lines() for tail in tails)
    return Finished(_outcome(stage, code, stdout), stdout, stderr)


def _outcome(stage: str, code: int, stdout: list[str]) -> str:
    if code != 0:
        return FAILED
    if f"Stage '{stage}' is cached - skipping run, checking out outputs" in stdout:
        return RUN_CACHED
    return SKIPPED if f"Stage '{stage}' didn't change, skipping" in stdout else EXECUTED


class Tail:
    """Copies a stream to a file descriptor as bytes come, in a thread, and keeps the last lines of it."""

    def __init__(self, stream: IO[bytes], copy_to: int) -> None:
        self._stream = stream
        self._copy_to = copy_to
        self._kept: deque[str] = deque(maxlen=TAIL_LINES)
        self._thread = threading.Thread(target=self._copy, daemon=True)
        self._thread.start()

    def _copy(self) -> None:
        rest = b""
        while chunk := os.read(self._stream.fileno(), 65536):
            os.write(self._copy_to, chunk)
            *whole, rest = (rest + chunk).split(b"\n")
            self._kept.extend(_visible(line) for line in whole)
        if rest:
            self._kept.append(_visible(rest))

    def lines(self) -> list[str]:
        """The last lines; waits for the end of the stream."""
        self._thread.join()
        return list(self._kept)


def _visible(line: bytes) -> str:
    """What a terminal would still show of a line: of a progress bar only its last state."""
    return line.decode(errors="replace").rstrip("\r").rpartition("\r")[2]


def explain(stage: str, finished: Finished) -> dict[str, Any]:
    """Why the stage failed: the last line it wrote to stderr as the headline, and the lines before it.

    DVC adds lines of its own after a stage's; they are the explanation only where the stage never ran.
    """
    ran = any(line.startswith("Running stage ") for line in finished.stdout)
    own = [line for line in finished.stderr if not (ran and _OF_DVC.match(line))]
    lines = [line for line in own if line.strip()] or [line for line in finished.stderr if line.strip()]
    headline = lines[-1].strip() if lines else "it ended with an error and wrote nothing to stderr"
    if not ran:
        headline = " ".join(line.strip() for line in lines[:3]).removeprefix("ERROR: ") or headline
    return {"headline": f"{stage}: {headline}", "stderr": "\n".join(lines), "ran": ran}


def _report(pipes: PipesContext, root: Path, stage: str, outcome: str) -> None:
    """Tell Dagster what the stage made, from dvc.lock and the summary, read now that DVC has returned."""
    outs = locked_outs(root, stage)
    report = describe_stage(
        root,
        stage,
        outs=outs,
        metric_outs=pipes.extras["metric_outs"],
        declared_checks=pipes.extras["checks"],
        how=outcome,
    )
    pipes.report_asset_materialization(metadata=report.metadata, data_version=report.data_version)
    for check in report.checks:
        pipes.report_asset_check(check.name, check.passed, check.severity, check.metadata)  # type: ignore[arg-type]


if __name__ == "__main__":
    sys.exit(main())
