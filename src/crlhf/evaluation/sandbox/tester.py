"""The trusted helper of one worker: runs a program's tests against stand-ins and decides the verdict.

Reads one program a line (JSON) on its standard input and answers one line for each. It starts its zygote, times every
program, and after each has the zygote end all that the program left. A zygote that went away is started anew. When
the pipeline goes away the input ends, and so does everything below.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import random
import resource
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

from crlhf.evaluation.sandbox import apart, namespaces, probes, sql_checks, wire
from crlhf.evaluation.sandbox.deadline import Alarm, Deadline
from crlhf.evaluation.sandbox.folders import empty_folder, readable_folders
from crlhf.evaluation.sandbox.handles import relayed
from crlhf.evaluation.sandbox.intent import read_intent
from crlhf.evaluation.sandbox.proxies import Link, ModuleName
from crlhf.evaluation.sandbox.zygote import own_children

LAYERS = ("landlock", "seccomp", "namespaces")
_BOOT = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); "
    "from crlhf.evaluation.sandbox.zygote import main; sys.argv.pop(0); sys.argv.insert(0, ''); main()"
)
_PATIENCE_S = 10.0
_OWN_MIB = 1024
ENDED = "process ended"


class Outcome(NamedTuple):
    """A verdict without the program's name and the run's circumstances."""

    verdict: str
    reason: str
    line_no: int | None = None
    failed_test_no: int | None = None


class ZygoteGoneError(Exception):
    """The zygote ended or does not answer."""


class ZygoteClient:
    """Starts a zygote and speaks with it."""

    def __init__(self, config: dict[str, Any], folder: Path) -> None:
        self._config, self._folder = config, folder
        self._process: subprocess.Popen[bytes] | None = None
        self._start()

    def _start(self) -> None:
        sample_folder = Path(tempfile.mkdtemp(prefix="sample-", dir=self._folder))
        self._sample_folder = str(sample_folder)
        self._new_root = tempfile.mkdtemp(prefix="root-", dir=self._folder)
        marker = self._folder / "marker"
        marker.touch()
        ours, theirs = socket.socketpair()
        config = {
            **self._config,
            "folder": str(sample_folder),
            "new_root": self._new_root,
            "marker": str(marker),
            "readable": readable_folders(),
            "tester_pid": os.getpid(),
            "may_change_user": _anyone_can_reach(Path(os.__file__)) and _anyone_can_reach(sample_folder),
        }
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-s", "-S", "-c", _BOOT, config["source"], str(theirs.fileno()), json.dumps(config)],
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=None if config["shows_errors"] else subprocess.DEVNULL,
            env=clean_environment(str(sample_folder)),
            start_new_session=True,
        )
        theirs.close()
        ours.settimeout(_PATIENCE_S)
        self._control, self._is_cleaning = ours, False
        self._last_channel: socket.socket | None = None
        self.hello = json.loads(self._line(ours))
        self.layers = self._probe()

    def _line(self, channel: socket.socket) -> bytes:
        data = bytearray()
        while not data.endswith(b"\n"):
            try:
                part = channel.recv(4096)
            except OSError:
                part = b""
            if not part:
                raise ZygoteGoneError("the sandbox's zygote did not start")
            data += part
        return bytes(data)

    def _probe(self) -> tuple[str, ...]:
        """The layers that hold, each shown by trying what it forbids."""
        ours = self.fork(b"P")
        ours.settimeout(_PATIENCE_S)
        try:
            self.probed = json.loads(self._line(ours))
        finally:
            self.end(ours)
        proved = probes.proved_layers(self.probed)
        if self.hello["pid"] != 1:
            proved.discard("namespaces")
        return tuple(layer for layer in LAYERS if layer in proved)

    def fork(self, command: bytes = b"F") -> socket.socket:
        """A channel to a new child, once the last one has been cleaned up."""
        ours, theirs = socket.socketpair()
        try:
            self._wait_for_clean_up()
            socket.send_fds(self._control, [command], [theirs.fileno()])
        except OSError:
            ours.close()
            raise ZygoteGoneError("the zygote went away") from None
        finally:
            theirs.close()
        return ours

    def end(self, channel: socket.socket) -> None:
        """Have the last child and all it started ended, while the tester goes on.

        Its channel stays open until then: a child that sees the end of it wakes up once more, only to leave.
        """
        self._is_cleaning, self._last_channel = True, channel
        with contextlib.suppress(OSError):  # a zygote that is gone is found when the next child is asked for
            self._control.sendall(b"E")

    def _wait_for_clean_up(self) -> None:
        if self._is_cleaning:
            if self._control.recv(1) != b"e":
                raise OSError
            self._is_cleaning = False
            self._close_last()

    def _close_last(self) -> None:
        if self._last_channel is not None:
            self._last_channel.close()

    def replace(self) -> None:
        """Start another zygote in place of one that is gone or does not answer."""
        self.stop()
        self._start()

    def stop(self) -> None:
        """End the zygote and everything below it, orphans included."""
        self._control.close()
        self._close_last()
        assert self._process is not None
        with contextlib.suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        end_descendants()
        with contextlib.suppress(OSError):
            empty_folder(self._sample_folder)
        for folder in (self._sample_folder, self._new_root):
            shutil.rmtree(folder, ignore_errors=True)


class Tester:
    """Decides verdicts, one program after the other."""

    def __init__(self, config: dict[str, Any], folder: Path) -> None:
        self._alarm = Alarm()
        self._zygote = ZygoteClient(config, folder)
        self._n_judged = 0  # by this zygote

    def describe(self) -> dict[str, Any]:
        """What isolates the programs, and why a layer is missing."""
        zygote = self._zygote
        return {"layers": list(zygote.layers), "failures": zygote.hello["failures"], "probed": zygote.probed}

    def close(self) -> None:
        """End the zygote."""
        self._zygote.stop()

    def judge(self, program: dict[str, Any], timeout_s: float) -> Outcome:
        """Run the program and its tests in at most `timeout_s` of wall time.

        A program that gets no further than its start may be paying for an earlier one that spoiled the zygote, by
        stopping it or by lowering its limits. It is judged again, by a new zygote.
        """
        outcome, has_answered = self._judge_once(program, timeout_s)
        if not has_answered and self._may_be_spoiled(outcome):
            self._zygote.replace()
            self._n_judged = 0
            outcome, _ = self._judge_once(program, timeout_s)
        self._n_judged += 1
        return outcome

    def _may_be_spoiled(self, outcome: Outcome) -> bool:
        """Under seccomp no program can stop its zygote: time that ran out there is the program's own."""
        is_late = outcome.verdict == "timeout" and "seccomp" not in self._zygote.layers
        return self._n_judged > 0 and (is_late or outcome.reason == ENDED)

    def _judge_once(self, program: dict[str, Any], timeout_s: float) -> tuple[Outcome, bool]:
        """The outcome, and whether the program's process answered at all."""
        channel = self._fork()
        try:
            if not may_change_the_tester(program):
                return self._run(program, channel, timeout_s)
            apart.load_modules(program["setup_code"], tuple(program["tests"]))
            outcome, has_answered = apart.run(lambda: self._run(program, channel, timeout_s))
            return Outcome(*outcome), has_answered
        finally:
            self._zygote.end(channel)

    def _run(self, program: dict[str, Any], channel: socket.socket, timeout_s: float) -> tuple[Outcome, bool]:
        """The same, for the child at the other end of `channel`."""
        link = Link(channel)
        try:
            try:
                self._alarm.arm(timeout_s)
                outcome = RUNNERS[program["language"]](program, link)
            finally:
                self._alarm.put_off()
        except Deadline as late:
            outcome = Outcome("timeout", "timeout", None, late.test_no)
        if self._alarm.rang:
            outcome = Outcome("timeout", "timeout", None, outcome.failed_test_no)
        return outcome, link.has_answered

    def _fork(self) -> socket.socket:
        try:
            return self._zygote.fork()
        except ZygoteGoneError:
            self._zygote.replace()
            return self._zygote.fork()


def may_change_the_tester(program: dict[str, Any]) -> bool:
    """Whether the program's tests could leave something behind in the process that runs them."""
    if program["language"] != "python":
        return False
    setup_code, tests = program["setup_code"], tuple(program["tests"])
    return apart.is_needed(setup_code, tests, read_intent(program["entry_point"], setup_code, tests).modules)


def run_tests(program: dict[str, Any], link: Link) -> Outcome:
    """Load the program, run the setup code and each test, stop at the first that does not hold."""
    tests = tuple(program["tests"])
    intent = read_intent(program["entry_point"], program["setup_code"], tests)
    last_line = program["code"].count("\n") + 1
    if "random" in f"{program['setup_code']}{tests}":  # else seeding, which costs as much as a question, is for nothing
        random.seed(0)
    namespace: dict[str, Any] = {"__name__": "tests"}
    test_no: int | None = None
    try:
        for name, value in link.load(program["code"], intent).items():
            namespace[name] = importlib.import_module(name) if isinstance(value, ModuleName) else value
        if program["setup_code"]:
            exec(_compiled(program["setup_code"]), namespace)
        for number, test in enumerate(tests):
            test_no = number
            exec(_compiled(test), namespace)
    except Deadline as late:
        late.test_no = test_no
        raise
    except wire.WireError as error:
        reason = ENDED if str(error) == "the stream ended" else "unreadable answer"
        return Outcome("error", reason, None, test_no)
    except BaseException as error:
        return _outcome_of(error, test_no, last_line)
    return Outcome("pass", "all tests passed")


def run_sql(program: dict[str, Any], link: Link) -> Outcome:
    """Run an SQL script on its check databases."""
    return Outcome(*sql_checks.run_checks(program, link.exchange))


RUNNERS: dict[str, Callable[[dict[str, Any], Link], Outcome]] = {"python": run_tests, "sql": run_sql}
"""How a problem's checks are run, by language."""


def _outcome_of(error: BaseException, test_no: int | None, last_line: int) -> Outcome:
    said = relayed(error)
    if said is not None:
        return Outcome("error", said[0], _line_no(said[1], last_line), test_no)
    if test_no is None and type(error) is SyntaxError and error.filename is None:
        return Outcome("error", "syntax error", _line_no(error.lineno, last_line), None)
    if isinstance(error, AssertionError) and test_no is not None:
        return Outcome("fail", "assertion", None, test_no)
    return Outcome("error", type(error).__name__, None, test_no)


def _line_no(said: object, last_line: int) -> int | None:
    return min(max(said, 1), last_line) if type(said) is int else None


@lru_cache(maxsize=4096)
def _compiled(source: str) -> CodeType:
    return compile(source, "<test>", "exec", dont_inherit=True)


def _anyone_can_reach(path: Path) -> bool:
    """Whether a user of no rights can walk to `path`; the last part itself is not looked at."""
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in path.resolve().parents)


def clean_environment(folder: str) -> dict[str, str]:
    """What a process of the sandbox sees of this machine's environment: nothing. Hashes are the same in every run."""
    return {
        "HOME": folder,
        "TMPDIR": folder,
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }


def limit_memory(memory_mib: int) -> None:
    """Keep tests that unfold an answer (`list` of a huge range) from taking this machine's memory with them."""
    allowed = (memory_mib + _OWN_MIB) << 20
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (allowed if hard == resource.RLIM_INFINITY else min(allowed, hard), hard))


def end_descendants() -> None:
    """Kill and wait for everything below this process; orphans come here because it is a subreaper."""
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        for pid in own_children():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.001)


def main() -> None:
    """Entry point: the configuration is the first argument."""
    config = json.loads(sys.argv[1])
    os.sched_setaffinity(0, {config["core"]})
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)
    with contextlib.suppress(OSError):
        namespaces.be_subreaper()
        namespaces.hide_memory()
    sys.path += config["test_packages"]
    limit_memory(config["memory_mib"])
    folder = Path(config["work_folder"])
    tester = Tester(config, folder)
    try:
        print(json.dumps(tester.describe()), file=answers, flush=True)
        gc.freeze()
        for line in sys.stdin:
            job = json.loads(line)
            started = time.monotonic()
            outcome = tester.judge(job["program"], job["timeout_s"])
            seconds = time.monotonic() - started
            print(json.dumps({**outcome._asdict(), "seconds": seconds}), file=answers, flush=True)
    except (BrokenPipeError, apart.LostError):  # the pipeline was killed and nobody hears the rest, or starts another
        os.dup2(null, answers.fileno())
    finally:
        tester.close()
        shutil.rmtree(folder, ignore_errors=True)  # the pipeline does it too, unless it was killed
