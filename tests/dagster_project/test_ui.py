"""`make ui` on servers of straw: how it ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CHILD = "import time; print('ready', flush=True); time.sleep(600)"
SERVER = f"""
import signal, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {CHILD!r}])
try:
    signal.pause()
except KeyboardInterrupt:
    print("ended", child.pid, flush=True)
"""
UI = f"""
import sys
from dagster_project import ui
ui.commands = lambda root: [[sys.executable, "-c", {SERVER!r}]] * 2
sys.exit(ui.main())
"""


def test_ctrl_c_ends_the_servers_and_what_they_started_without_a_traceback(tmp_path):
    command = [sys.executable, "-c", UI]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env=os.environ | {"DAGSTER_HOME": str(tmp_path)},
    ) as process:  # fmt: skip
        said = [process.stdout.readline() for _ in range(3)]  # its own line is one of them
        assert said.count("ready\n") == 2
        os.killpg(process.pid, signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (0, "")
    children = [int(line.split()[1]) for line in stdout.splitlines()]
    assert len(children) == 2
    for pid in children:
        state = Path(f"/proc/{pid}/stat")
        assert not state.exists() or state.read_text().split()[2] == "Z"
