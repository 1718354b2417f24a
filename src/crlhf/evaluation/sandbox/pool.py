"""The pipeline's side: workers, each a trusted tester with its zygote, and the queue of programs between them."""

from __future__ import annotations

import json
import os
import queue
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from crlhf.errors import IsolationError
from crlhf.evaluation.sandbox.tasks import tasks_of_user
from crlhf.schema import Program, Verdict

LAYERS = ("landlock", "seccomp", "namespaces")
_SOURCE = str(Path(__file__).resolve().parents[3])
_BOOT = "import sys; sys.path.insert(0, sys.argv.pop(1)); from crlhf.evaluation.sandbox.tester import main; main()"
_GRACE_S = 15.0
_START_S = 60.0
_PAUSES_S = (0.2, 1.0, 5.0)


class _Worker:
    """One tester process."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._folder = tempfile.mkdtemp(prefix="crlhf-sandbox-")
        config = {**config, "work_folder": self._folder}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-s", "-S", "-W", "ignore", "-c", _BOOT, _SOURCE, json.dumps(config)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1"},
            start_new_session=True,
        )
        said = self._read(_START_S)
        if said is None:
            self.kill()
            raise IsolationError("the sandbox did not start: its helper process ended; run with PYTHONPATH unset")
        self.layers: tuple[str, ...] = tuple(said["layers"])
        self.failures: dict[str, str] = said["failures"]
        self.probed: dict[str, Any] = said["probed"]

    def _read(self, patience_s: float) -> dict[str, Any] | None:
        """One line of the tester's, or None when it ended or `patience_s` went by."""
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], patience_s)[0]:
            return None
        line = self._process.stdout.readline()
        return json.loads(line) if line.endswith(b"\n") else None

    def judge(self, program: Program, timeout_s: float) -> dict[str, Any] | None:
        """The tester's answer for `program`, or None when the tester is lost."""
        assert self._process.stdin is not None
        try:
            job = {"program": program._asdict(), "timeout_s": timeout_s}
            self._process.stdin.write(json.dumps(job).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            return None
        return self._read(2 * timeout_s + _GRACE_S)  # the tester may judge twice

    def close(self) -> None:
        """Let the tester end by itself; kill it when it does not."""
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self._tidy_up()

    def kill(self) -> None:
        """End the tester now; its zygote ends with it."""
        with suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._tidy_up()

    def _tidy_up(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        shutil.rmtree(self._folder, ignore_errors=True)


class Sandbox:
    """Workers that stay warm between calls of `run`. A context manager; leaving it ends every process.

    Args:
        timeout_s: wall time of one program with its tests.
        memory_mib: address space of one program.
        workers: programs run at a time.
        isolation: `auto` takes every layer there is and warns once of those missing; `require:<layers>` (for example
            `require:landlock+seccomp`) refuses to start without the named layers; `only:<layers>` builds no others.

    Raises:
        IsolationError: a required layer is missing.
    """

    def __init__(self, *, timeout_s: float, memory_mib: int, workers: int, isolation: str = "auto") -> None:
        self._timeout_s, self._n_workers = timeout_s, workers
        wanted, self._required = _read_isolation(isolation)
        self._config: dict[str, Any] = {
            "source": _SOURCE,
            "layers": wanted,
            "memory_mib": memory_mib,
            "cpu_s": int(timeout_s) + 2,
            "tasks_of_user": tasks_of_user(os.getuid()),  # counted once, before a program can add to them
            "test_packages": [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))],
            "shows_errors": False,
        }
        self._workers: list[_Worker] = []
        self.level = ""
        try:
            with ThreadPoolExecutor(workers) as threads:
                started = [threads.submit(self._start, number) for number in range(workers)]
                wait(started)
            self._workers = [one.result() for one in started if one.exception() is None]
            for one in started:
                self._check(one.result())
        except BaseException:
            self.close(at_once=True)
            raise

    def _start(self, number: int) -> _Worker:
        """Worker `number`, on one core with all it starts.

        Its processes take turns, so that on one core no other has to be woken for each question; and a program that
        starts many threads takes time from no other worker. The pool's pid spreads pools of one worker over the cores.
        """
        cores = sorted(os.sched_getaffinity(0))
        return _Worker({**self._config, "core": cores[(os.getpid() + number) % len(cores)]})

    def _restart(self, number: int) -> _Worker:
        """A worker in place of one that was lost; what killed that one may still be at work."""
        for pause_s in _PAUSES_S:
            try:
                return self._start(number)
            except (IsolationError, OSError):
                time.sleep(pause_s)
        return self._start(number)

    def _check(self, worker: _Worker) -> _Worker:
        """`worker`, unless a layer is missing that is required."""
        missing = [layer for layer in self._required if layer not in worker.layers]
        if missing:
            why = "; ".join(f"{layer}: {worker.failures.get(layer, 'not effective')}" for layer in missing)
            worker.close()
            raise IsolationError(f"isolation asks for {', '.join(missing)}, which this machine does not give ({why})")
        absent = tuple(layer for layer in self._config["layers"] if layer not in worker.layers)
        if absent:
            _warn_once(absent, "; ".join(f"{layer}: {worker.failures.get(layer, 'not effective')}" for layer in absent))
        level = "+".join(("hygiene", *worker.layers))
        self.level = level if not self.level or level == self.level else min(level, self.level, key=len)
        return worker

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(at_once=kind is not None)

    def close(self, at_once: bool = False) -> None:
        """End every process of the sandbox."""
        for worker in self._workers:
            if at_once:
                worker.kill()
            else:
                worker.close()
        self._workers = []

    def run(self, programs: Iterable[Program], on_verdict: Callable[[Verdict], None] | None = None) -> list[Verdict]:
        """Verdicts of `programs`, in their order; `on_verdict` sees each as it comes, in this thread."""
        jobs: queue.SimpleQueue[tuple[int, Program]] = queue.SimpleQueue()
        for job in enumerate(programs):
            jobs.put(job)
        n_jobs = jobs.qsize()
        done: queue.SimpleQueue[tuple[int, Verdict | BaseException]] = queue.SimpleQueue()
        stopped = threading.Event()
        threads = [
            threading.Thread(target=self._work, args=(number, jobs, done, stopped), daemon=True)
            for number in range(min(self._n_workers, n_jobs))
        ]
        for thread in threads:
            thread.start()
        verdicts: list[Verdict | None] = [None] * n_jobs
        try:
            for _ in range(n_jobs):
                position, verdict = done.get()
                if isinstance(verdict, BaseException):
                    raise verdict
                verdicts[position] = verdict
                if on_verdict is not None:
                    on_verdict(verdict)
        except BaseException:
            stopped.set()
            for worker in self._workers:
                worker.kill()
            for thread in threads:
                thread.join()
            self.close(at_once=True)  # once more: a thread may just have replaced a worker that it found dead
            raise
        for thread in threads:
            thread.join()
        return [verdict for verdict in verdicts if verdict is not None]

    def _work(
        self,
        number: int,
        jobs: queue.SimpleQueue[tuple[int, Program]],
        done: queue.SimpleQueue[tuple[int, Verdict | BaseException]],
        stopped: threading.Event,
    ) -> None:
        """One worker's thread: takes programs until there are none."""
        try:
            while not stopped.is_set():
                position, program = jobs.get_nowait()
                done.put((position, self._judge(number, program, stopped)))
        except queue.Empty:
            return
        except BaseException as error:
            if not stopped.is_set():
                done.put((-1, error))

    def _judge(self, number: int, program: Program, stopped: threading.Event) -> Verdict:
        """The verdict of worker `number`. A worker that was lost before the time was up is replaced, and its program
        judged once more: another's program may have killed it.
        """
        started = time.monotonic()
        said, is_late = None, False
        for _ in range(2):
            said = self._workers[number].judge(program, self._timeout_s)
            if said is not None or stopped.is_set():
                break
            is_late = time.monotonic() - started >= self._timeout_s
            self._workers[number].kill()
            self._workers[number] = self._check(self._restart(number))
            if is_late:
                break
        if said is None:
            what, seconds = "timeout" if is_late else "error", time.monotonic() - started
            reason = "timeout" if is_late else "process ended"
            said = {"verdict": what, "reason": reason, "line_no": None, "failed_test_no": None, "seconds": seconds}
        return Verdict(
            program.program_id,
            said["verdict"],
            said["reason"],
            said["line_no"],
            said["failed_test_no"],
            self.level,
            said["seconds"],
        )


def _read_isolation(isolation: str) -> tuple[list[str], list[str]]:
    """Layers to build, and those that must hold."""
    mode, _, named = isolation.partition(":")
    layers = [layer for layer in named.split("+") if layer and layer != "hygiene"]
    unknown = [layer for layer in layers if layer not in LAYERS]
    if unknown or mode not in ("auto", "require", "only") or (mode == "auto" and named):
        raise IsolationError(
            f"isolation {isolation!r} is not known; use auto, require:<layers> or only:<layers> with layers among "
            f"{', '.join(('hygiene', *LAYERS))} joined by +"
        )
    return (layers if mode == "only" else list(LAYERS)), layers


@lru_cache(maxsize=8)
def _warn_once(absent: tuple[str, ...], why: str) -> None:
    warnings.warn(
        f"programs run without {', '.join(absent)} ({why}); every verdict says so in its isolation",
        RuntimeWarning,
        stacklevel=4,
    )


@lru_cache(maxsize=1)
def isolation_level() -> str:
    """The strongest level that this machine gives, found by trying it."""
    return describe_isolation().level


class Isolation(NamedTuple):
    """What isolates programs here.

    Attributes:
        level: the layers that hold, as verdicts name them.
        missing: the other layers, each with the reason.
        probed: how each probe ended (see `probes.TRIED`).
    """

    level: str
    missing: dict[str, str]
    probed: dict[str, Any]


def describe_isolation(isolation: str = "auto") -> Isolation:
    """What holds on this machine under `isolation`, found by trying what each layer forbids."""
    with Sandbox(timeout_s=1.0, memory_mib=256, workers=1, isolation=isolation) as sandbox:
        worker = sandbox._workers[0]
        absent = [layer for layer in LAYERS if layer not in worker.layers]
        missing = {layer: worker.failures.get(layer, "not effective") for layer in absent}
        return Isolation(sandbox.level, missing, worker.probed)
