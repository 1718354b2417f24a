"""A warm interpreter that forks one child for each sample, inside all the isolation that this machine gives.

Started by the tester as a script of its own. It speaks on one socket: `F` with a descriptor forks a child that serves
a candidate on that descriptor; `P` forks one that tries what is forbidden and tells how it ended; `E` ends whatever
the last child left behind and answers `e`. At the end of the stream the zygote ends, and everything below it.
"""

from __future__ import annotations

import _socket
import fcntl
import gc
import json
import os
import resource
import signal
import sys
import time
from contextlib import suppress
from typing import Any

from crlhf.evaluation.sandbox import child, landlock, metadata, namespaces, probes, seccomp
from crlhf.evaluation.sandbox.folders import empty_folder, readable_paths

_PRELOADED = (
    "abc", "bisect", "collections", "copy", "datetime", "decimal", "enum", "fractions", "functools",
    "heapq", "itertools", "json", "math", "numbers", "operator", "random", "re", "string", "sys", "time", "types",
    "typing",
)  # fmt: skip
_FILE_MIB = 16
_FOLDER_MIB = 64
_MAX_FILES = 64
_HIGH_FD = 32
_MAX_PROCESSES = 256
_ROOM_FOR_ONE = _socket.CMSG_SPACE(4)


class Zygote:
    """The set-up of one worker: which layers hold, and what a child enters after its fork."""

    def __init__(self, control: _socket.socket, config: dict[str, Any]) -> None:
        self._control = control
        self._config = config
        self._folder = str(config["folder"])
        self._ruleset: int | None = None
        self._filters: seccomp.Filters | None = None
        self._failures: dict[str, str] = {}
        self._in_namespaces = False
        self._max_processes = _MAX_PROCESSES + int(config["tasks_of_user"])

    def set_up(self) -> None:
        """Build every layer that can be built; what fails is noted and told to the tester."""
        _preload()
        child.rehearse()
        layers = self._config["layers"]
        if "namespaces" in layers:
            self._try("namespaces", self._enter_namespaces)
        self._give_up_privileges()
        if "landlock" in layers:
            self._try("landlock", self._enter_landlock)
        if "seccomp" in layers:
            self._try("seccomp", self._enter_seccomp)
        with suppress(OSError):
            namespaces.be_subreaper()
            namespaces.hide_memory()
        os.environ["HOME"] = os.environ["TMPDIR"] = self._folder
        _limit(self._config["memory_mib"])
        gc.collect()
        gc.freeze()

    def _try(self, layer: str, step: Any) -> None:
        try:
            step()
        except (OSError, KeyError) as error:
            self._failures[layer] = f"{type(error).__name__}: {error}"

    def _enter_namespaces(self) -> None:
        namespaces.unshare()
        first = os.fork()
        if first:
            self._control.close()
            _wait_and_leave(first)
        namespaces.die_with_parent()
        os.setsid()
        namespaces.enter_new_root(self._config["new_root"], self._config["readable"], _FOLDER_MIB)
        if not {name for _, name in _socket.if_nameindex()} <= {"lo"}:
            raise OSError(0, "the network of this machine is still there")
        self._folder = namespaces.SAMPLE_FOLDER
        self._in_namespaces = True

    def _give_up_privileges(self) -> None:
        """Root becomes a user of no rights wherever that user can still read the interpreter."""
        uid = None
        if os.geteuid() == 0 and (self._in_namespaces or self._config["may_change_user"]):
            uid = namespaces.FIRST_UID + self._config["tester_pid"]
            os.chown(self._folder, uid, uid)
            self._max_processes = _MAX_PROCESSES  # this user has nothing else that runs
        with suppress(OSError):
            namespaces.drop_privileges(uid)

    def _enter_landlock(self) -> None:
        """Inside a mount namespace the zygote needs no more files than a child; elsewhere it reads /proc."""
        readable = [*readable_paths(self._config["readable"]), "/dev/urandom", "/dev/zero"]
        ruleset = landlock.make_ruleset(readable, [self._folder, "/dev/null"])
        if self._in_namespaces:
            seccomp.no_new_privileges()
            landlock.enter(ruleset)
        else:
            self._ruleset = fcntl.fcntl(ruleset, fcntl.F_DUPFD_CLOEXEC, _HIGH_FD)  # beside a child's descriptors
        os.close(ruleset)

    def _enter_seccomp(self) -> None:
        if not seccomp.is_supported():
            raise OSError(0, f"no table of system calls for {os.uname().machine}")
        filters = seccomp.Filters(may_change_metadata=self._in_namespaces)
        filters.enter_shared()
        self._filters = filters

    def serve(self) -> None:
        """Fork for the tester until it hangs up."""
        os.chdir(self._folder)
        self._folder = os.getcwd()  # without links on the way
        self._folder_mode = os.stat(self._folder).st_mode
        hello = {"failures": self._failures, "in_namespaces": self._in_namespaces, "pid": os.getpid()}
        self._control.sendall(json.dumps(hello).encode() + b"\n")
        while True:
            command, sent, _, _ = self._control.recvmsg(1, _ROOM_FOR_ONE)
            if not command:
                break
            if command == b"E":
                self._clean_up()
                self._control.sendall(b"e")
                continue
            channel = int.from_bytes(sent[0][2][:4], sys.byteorder)  # SCM_RIGHTS: nothing else is ever sent
            if os.fork() == 0:
                self._become_child(channel, command)
            os.close(channel)
        self._clean_up()

    def _become_child(self, channel: int, command: bytes) -> None:
        """In the child: never returns."""
        try:
            os.setsid()
            os.dup2(channel, 3)
            ruleset = None if self._ruleset is None else os.dup2(self._ruleset, 4, inheritable=False)
            os.closerange(5, _MAX_FILES)
            served = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, fileno=3)
            if not self._in_namespaces:
                namespaces.die_with_parent()
            _lower(resource.RLIMIT_CPU, self._config["cpu_s"])
            _lower(resource.RLIMIT_NPROC, self._max_processes)
            if ruleset is not None:
                seccomp.no_new_privileges()
                landlock.enter(ruleset)
                os.close(ruleset)
            if self._filters is not None:
                self._filters.enter_child()
                if not self._in_namespaces:
                    metadata.keep_quietly(self._folder)
            if command == b"P":
                probes.tell(served, self._config["marker"], self._config["tester_pid"])
            else:
                child.run(served)
        finally:
            os._exit(1)

    def _clean_up(self) -> None:
        """Kill everything below this process, wait for it, empty the folder."""
        deadline = time.monotonic() + 5.0
        while time.monotonic() < deadline:
            if self._in_namespaces:
                with suppress(OSError):
                    os.kill(-1, signal.SIGKILL)
            else:
                for pid in own_children():
                    for kill in (os.killpg, os.kill):
                        with suppress(OSError):
                            kill(pid, signal.SIGKILL)
            try:
                while os.waitpid(-1, 0 if self._in_namespaces else os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                break
            time.sleep(0.0002)
        if os.stat(self._folder).st_mode != self._folder_mode:  # the folder itself may be the program's own
            os.chmod(self._folder, self._folder_mode)
        if os.listdir(self._folder):
            empty_folder(self._folder)


def _preload() -> None:
    """Import what programs commonly import, where it is small: a fork costs time by the page. Hooks that run after each
    fork are left out: they cost more than the fork, and one of them would give `random` another seed in every child.
    """
    register, os.register_at_fork = os.register_at_fork, lambda **_: None
    try:
        for name in _PRELOADED:
            __import__(name)
    finally:
        os.register_at_fork = register
    sys.modules["random"].seed(0)


def _limit(memory_mib: int) -> None:
    """Limits that the zygote keeps as well, and its children inherit."""
    for what, limit in (
        (resource.RLIMIT_AS, memory_mib << 20),
        (resource.RLIMIT_FSIZE, _FILE_MIB << 20),
        (resource.RLIMIT_NOFILE, _MAX_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        _lower(what, limit)


def _lower(what: int, limit: int) -> None:
    """Limit this process and its children for good, to less where it is held to less already."""
    hard = resource.getrlimit(what)[1]
    allowed = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(what, (allowed, allowed))


def own_children() -> list[int]:
    """Children of this process, orphans it inherited included."""
    try:
        return [int(word) for word in _read(f"/proc/self/task/{os.getpid()}/children").split()]
    except OSError:
        return _children_by_parent()


def _children_by_parent() -> list[int]:
    """The same, on kernels that keep no list of children."""
    found = []
    for name in os.listdir("/proc"):
        with suppress(OSError, ValueError, IndexError):
            if int(_read(f"/proc/{name}/stat").rsplit(b")", 1)[1].split()[1]) == os.getpid():
                found.append(int(name))
    return found


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.read(descriptor, 1 << 16)
    finally:
        os.close(descriptor)


def _wait_and_leave(pid: int) -> None:
    """In the process outside: wait for the first process inside, then end as it did."""
    with suppress(OSError):
        os.waitpid(pid, 0)
    os._exit(0)


def main() -> None:
    """Entry point: the descriptor of the control socket and the configuration are arguments."""
    control = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, fileno=int(sys.argv[1]))
    namespaces.die_with_parent()
    zygote = Zygote(control, json.loads(sys.argv[2]))
    zygote.set_up()
    sys.argv[:] = [""]
    sys.path[:] = [path for path in sys.path if path != zygote._config["source"]]
    zygote.serve()
