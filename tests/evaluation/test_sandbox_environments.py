"""The sandbox where it gets less: inside a plain container, without Landlock, as a user of no rights."""

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from crlhf.evaluation import sandbox

SOURCE = Path(__file__).resolve().parents[2] / "src"
HOSTILE = ("equal_object", "kills_the_parent", "double_fork_daemon", "owner_by_ioctl", "core_dump")
WRITES = "writes_outside"  # run only where a layer contains files: elsewhere it would litter this machine
SCRIPT = """
import ctypes, json, struct, sys, warnings
refused = json.loads(sys.argv[1])
if refused:  # what a container's own filter does: these system calls answer EPERM
    steps = [(0x20, 0, 0, 0)]
    for number in refused:
        steps += [(0x15, 0, 1, number), (6, 0, 0, 0x50001)]
    code = b"".join(struct.pack("=HBBI", *step) for step in [*steps, (6, 0, 0, 0x7FFF0000)])
    class Filter(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))
    libc = ctypes.CDLL(None)
    assert not libc.prctl(38, 1, 0, 0, 0)
    assert not libc.prctl(22, 2, ctypes.byref(Filter(len(code) // 8, code)), 0, 0)
from crlhf.evaluation import sandbox
from crlhf.schema import Program
programs = [Program(n, code, "solve", "", ("assert solve(3) == 9",)) for n, code in json.loads(sys.argv[2]).items()]
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for _ in range(2):
        verdicts = sandbox.run_programs(programs, timeout_s=5, memory_mib=512, workers=2)
print(json.dumps({
    "levels": sorted({v.isolation for v in verdicts}),
    "passed": [v.program_id for v in verdicts if v.verdict == "pass"],
    "warnings": [str(w.message) for w in caught],
}))
"""
UNSHARE, MOUNT, LANDLOCK = 272, 165, 444
CASES = {
    "whole": ([], {"landlock", "seccomp", "namespaces"}),
    "plain container": ([UNSHARE, MOUNT], {"landlock", "seccomp"}),
    "plain container on an older kernel": ([UNSHARE, MOUNT, LANDLOCK], {"seccomp"}),
}


def hostile_in(layers):
    contains_files = layers & {"landlock", "namespaces"} & set(sandbox.isolation_level().split("+"))
    return (*HOSTILE, WRITES) if contains_files else HOSTILE


def run(refused, names, before=(), python=sys.executable):
    folder = Path(__file__).parent / "hostile"
    right = "def solve(x):\n    return x * x\n"
    programs = {"right": right}
    for name in names:
        code = (folder / f"{name}.py.txt").read_text()
        programs |= {name: code.replace("CANARY", "/nowhere").replace("SITE", "/nowhere"), f"right after {name}": right}
    command = [*before, python, "-c", SCRIPT, json.dumps(refused), json.dumps(programs)]
    environment = os.environ | {"PYTHONPATH": str(SOURCE), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd="/", timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def check(said, layers, names):
    there = layers & set(sandbox.isolation_level().split("+"))
    assert len(said["levels"]) == 1
    assert set(said["levels"][0].split("+")) == there | {"hygiene"}
    assert [name for name in said["passed"] if not name.startswith("right")] == []
    assert len(said["passed"]) == 1 + len(names)
    assert len(said["warnings"]) == (there != {"landlock", "seccomp", "namespaces"})


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers of system calls are those of x86_64")
@pytest.mark.parametrize("case", CASES)
def test_less_is_named_warned_of_once_and_still_holds(case):
    refused, layers = CASES[case]
    if "seccomp" not in sandbox.isolation_level():
        pytest.skip("hostile programs are not run without a sandbox")
    names = hostile_in(layers)
    check(run(refused, names), layers, names)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers of system calls are those of x86_64")
@pytest.mark.parametrize("case", CASES)
def test_the_same_holds_for_a_user_of_no_rights(case):
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("becoming another user takes root and setpriv")
    with tempfile.TemporaryDirectory() as folder:
        before, python = as_nobody(folder)
        refused, layers = CASES[case]
        names = hostile_in(layers - {"namespaces"})
        said = run(refused, names, before, python)
        unprivileged = layers if said["levels"][0].endswith("namespaces") else layers - {"namespaces"}
        check(said, unprivileged, names)


def as_nobody(folder):
    """What starts a command as a user of no rights that can write to `folder`, and a Python it can run."""
    # An own user for each run: a hostile program may kill whatever else its user runs.
    user = str(100_000 + os.getpid() % 50_000)
    nobody = ["setpriv", "--reuid", user, "--regid", user, "--clear-groups", "--inh-caps=-all"]
    Path(folder).chmod(0o777)
    before = [*nobody, "env", f"TMPDIR={folder}", f"HOME={folder}"]
    probe = "import sys; assert sys.version_info >= (3, 11); import crlhf.schema"
    for python in (sys.executable, "/usr/bin/python3"):
        asked = subprocess.run([*before, f"PYTHONPATH={SOURCE}", python, "-c", probe], capture_output=True, cwd="/")
        if asked.returncode == 0:
            return before, python
    pytest.skip("no Python that another user can run")


BUSY = """
import sys, threading, warnings
warnings.simplefilter("ignore")
from crlhf.evaluation import sandbox
from crlhf.schema import Program
threading.stack_size(1 << 16)
for _ in range(300):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
code = (
    "import threading\\ndef f(x):\\n    found = []\\n"
    "    threads = [threading.Thread(target=found.append, args=(i,)) for i in range(x)]\\n"
    "    [t.start() for t in threads]\\n    [t.join() for t in threads]\\n    return sorted(found)\\n"
)
program = Program("p", code, "f", "", ("assert f(3) == [0, 1, 2]",))
print(sandbox.run_programs([program], timeout_s=5, memory_mib=512, workers=1, isolation=sys.argv[1])[0].verdict)
"""


@pytest.mark.parametrize("isolation", ["auto", "only:landlock+seccomp", "only:hygiene"])
def test_threads_work_for_a_user_who_runs_a_lot_besides(isolation):
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("becoming another user takes root and setpriv")
    with tempfile.TemporaryDirectory() as folder:
        before, python = as_nobody(folder)
        environment = os.environ | {"PYTHONPATH": str(SOURCE), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [*before, python, "-c", BUSY, isolation]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd="/", timeout=120)
        assert done.stdout == "pass\n", done.stderr
