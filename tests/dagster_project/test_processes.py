"""Nothing outlives the launcher: not an orphan, not a process in a session of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="prctl and /proc are Linux's")

# DVC's part is played by a process that starts a stage; the stage starts a helper in a session of its own, as the
# sandbox does. Each writes its pid, and the stage ignores or obeys SIGTERM.
STAGE = """
import os, signal, subprocess, sys, time
from pathlib import Path
if sys.argv[2] == "deaf": signal.signal(signal.SIGTERM, signal.SIG_IGN)
helper = subprocess.Popen(["sleep", "60"], start_new_session=True)
Path(sys.argv[1]).write_text(f"{os.getpid()} {helper.pid}")
time.sleep(60)
"""
DVC = "import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', sys.argv[3], *sys.argv[1:3]]))"
LAUNCHER = """
import os, subprocess, sys, time
from pathlib import Path
from dagster_project.processes import *
WRITER = "import time; time.sleep(0.5)"
adopt_orphans()
dvc = subprocess.Popen([sys.executable, "-c", sys.argv[4], *sys.argv[1:4]], start_new_session=True)
guardian = start_guardian(dvc.pid)
while not Path(sys.argv[1]).exists(): time.sleep(0.01)
if sys.argv[5] == "end":
    end_tree(dvc, 1.0, guardian.pid); dismiss(guardian)
elif sys.argv[5] == "end without stage":
    writer = subprocess.Popen([sys.executable, "-c", WRITER], start_new_session=True)
    for pid in descendants(dvc.pid)[::-1] + [dvc.pid]: os.kill(pid, 9)
    dvc.wait(); end_tree(writer, 5.0, guardian.pid); print(writer.returncode); dismiss(guardian)
elif sys.argv[5] == "dvc killed":
    dvc.kill(); dvc.wait(); print(kill_others(guardian.pid)); dismiss(guardian)
else:
    time.sleep(60)
"""


def _start(tmp_path: Path, stage_is: str, then: str) -> tuple[subprocess.Popen[str], list[int]]:
    pids_file = tmp_path / "pids"
    command = [sys.executable, "-c", LAUNCHER, str(pids_file), stage_is, STAGE, DVC, then]
    environment = {**os.environ, "PYTHONPATH": f"{REPO}{os.pathsep}{REPO / 'src'}"}
    launcher = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    return launcher, _pids(pids_file)


def _pids(file: Path) -> list[int]:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if file.exists() and len(pids := file.read_text().split()) == 2:
            return [int(pid) for pid in pids]
        time.sleep(0.01)
    pytest.fail("the stage did not start")


def _all_end(pids: list[int], within_s: float = 5.0) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if not any(_lives(pid) for pid in pids):
            return True
        time.sleep(0.02)
    return False


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("stage_is", ["obedient", "deaf"])
def test_a_stage_that_obeys_ends_at_once_and_a_deaf_one_after_the_grace(tmp_path, stage_is):
    launcher, pids = _start(tmp_path, stage_is, "end")  # both wrote their pids; both may have ended
    assert launcher.wait(timeout=10) == 0
    assert _all_end(pids)


def test_a_stage_orphaned_by_a_killed_dvc_is_found_and_killed(tmp_path):
    launcher, pids = _start(tmp_path, "deaf", "dvc killed")
    stdout, _ = launcher.communicate(timeout=10)
    assert stdout.strip() == "2"  # the stage and its helper
    assert _all_end(pids)


def test_a_dvc_without_a_stage_is_left_to_finish_what_it_writes(tmp_path):
    launcher, _ = _start(tmp_path, "obedient", "end without stage")
    stdout, _ = launcher.communicate(timeout=15)
    assert stdout.strip() == "0"  # not -15: it was not interrupted


def test_a_killed_launcher_takes_everything_with_it(tmp_path):
    launcher, pids = _start(tmp_path, "deaf", "wait")
    assert all(_lives(pid) for pid in pids)
    launcher.send_signal(signal.SIGKILL)
    launcher.wait(timeout=5)
    assert _all_end(pids)
