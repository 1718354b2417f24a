"""A warm interpreter that forks one child for each sample, inside all the isolation that this machine gives.

Started by the tester as a script of its own. It speaks on one socket: `F` with a descriptor forks a child that serves
a candidate on that descriptor; `P` forks one that tries what is forbidden and tells how it ended; `E` ends whatever
the last child left behind and answers `e`. At the end of the stream the zygote ends, and everything below it.
"""

from __future__ import annotations

import fcntl
import gc
import json
import os
import random
import resource
import signal
import socket
import sys
import sysconfig
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from crlhf.evaluation.sandbox import child, landlock, namespaces, probes, seccomp

_PRELOADED = (
    "abc", "array", "bisect", "calendar", "cmath", "collections", "copy", "dataclasses", "datetime", "decimal",
    "enum", "fractions", "functools", "hashlib", "heapq", "itertools", "json", "math", "numbers", "operator", "random",
    "re", "statistics", "string", "sys", "textwrap", "time", "types", "typing", "unicodedata", "weakref", "threading",
)  # fmt: skip
_PACKAGES = ("site-packages", "dist-packages")
_FILE_MIB = 16
_FOLDER_MIB = 64
_MAX_FILES = 64
_MAX_PROCESSES = 256


class Zygote:
    """The set-up of one worker: which layers hold, and what a child enters after its fork."""

    def __init__(self, control: socket.socket, config: dict[str, Any]) -> None:
        self._control = control
        self._config = config
        self._folder = str(config["folder"])
        self._ruleset: int | None = None
        self._filter: seccomp.FilterTemplate | None = None
        self._failures: dict[str, str] = {}
        self._in_namespaces = False

    def set_up(self) -> None:
        """Build every layer that can be built; what fails is noted and told to the tester."""
        for name in _PRELOADED:
            __import__(name)
        layers = self._config["layers"]
        if "namespaces" in layers:
            self._try("namespaces", self._enter_namespaces)
        self._give_up_privileges()
        if "landlock" in layers:
            self._try("landlock", self._make_ruleset)
        if "seccomp" in layers:
            self._try("seccomp", self._make_filter)
        with suppress(OSError):
            namespaces.be_subreaper()
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
        namespaces.enter_new_root(self._config["new_root"], readable_folders(), _FOLDER_MIB)
        if not {name for _, name in socket.if_nameindex()} <= {"lo"}:
            raise OSError(0, "the network of this machine is still there")
        self._folder = namespaces.SAMPLE_FOLDER
        self._in_namespaces = True

    def _give_up_privileges(self) -> None:
        """Root becomes nobody wherever nobody can still read the interpreter."""
        uid = None
        if os.geteuid() == 0 and (self._in_namespaces or self._config["may_become_nobody"]):
            uid = namespaces.NOBODY
            os.chown(self._folder, uid, uid)
        with suppress(OSError):
            namespaces.drop_privileges(uid)

    def _make_ruleset(self) -> None:
        ruleset = landlock.make_ruleset([*readable_paths(), "/dev/urandom", "/dev/zero"], [self._folder, "/dev/null"])
        self._ruleset = fcntl.fcntl(ruleset, fcntl.F_DUPFD_CLOEXEC, 64)  # out of the way of a child's descriptors
        os.close(ruleset)

    def _make_filter(self) -> None:
        if not seccomp.is_supported():
            raise OSError(0, f"no table of system calls for {os.uname().machine}")
        self._filter = seccomp.FilterTemplate(may_change_metadata=self._in_namespaces)

    def serve(self) -> None:
        """Fork for the tester until it hangs up."""
        os.chdir(self._folder)
        hello = {"failures": self._failures, "in_namespaces": self._in_namespaces, "pid": os.getpid()}
        self._control.sendall(json.dumps(hello).encode() + b"\n")
        while True:
            command, descriptors, _, _ = socket.recv_fds(self._control, 1, 1)
            if not command:
                break
            if command == b"E":
                self._clean_up()
                self._control.sendall(b"e")
                continue
            channel = descriptors[0]
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
            os.closerange(5, max(channel, 512) + 1)
            served = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=3)
            if not self._in_namespaces:
                namespaces.die_with_parent()
            _limit(self._config["memory_mib"], self._config["cpu_s"])
            random.seed(0)
            os.environ["HOME"] = os.environ["TMPDIR"] = self._folder
            if ruleset is not None:
                seccomp.no_new_privileges()
                landlock.enter(ruleset)
                os.close(ruleset)
            if self._filter is not None:
                self._filter.enter()
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
                for pid in _children():
                    for kill in (os.killpg, os.kill):
                        with suppress(OSError):
                            kill(pid, signal.SIGKILL)
            try:
                while os.waitpid(-1, 0 if self._in_namespaces else os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                break
            time.sleep(0.0002)
        empty_folder(self._folder)


def _limit(memory_mib: int, cpu_s: int) -> None:
    for what, limit in (
        (resource.RLIMIT_AS, memory_mib << 20),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_FSIZE, _FILE_MIB << 20),
        (resource.RLIMIT_NOFILE, _MAX_FILES),
        (resource.RLIMIT_NPROC, _MAX_PROCESSES),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(what)[1]
        if hard != resource.RLIM_INFINITY:
            limit = min(limit, hard)
        resource.setrlimit(what, (limit, limit))


def _children() -> list[int]:
    """Children of this process, orphans it inherited included."""
    try:
        text = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    except OSError:
        return _children_by_parent()
    return [int(word) for word in text.split()]


def _children_by_parent() -> list[int]:
    """The same, on kernels that keep no list of children."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):
            if int(folder.joinpath("stat").read_text().rsplit(")", 1)[1].split()[1]) == os.getpid():
                found.append(int(folder.name))
    return found


def _wait_and_leave(pid: int) -> None:
    """In the process outside: wait for the first process inside, then end as it did."""
    with suppress(OSError):
        os.waitpid(pid, 0)
    os._exit(0)


def empty_folder(folder: str) -> None:
    """Remove all that is in `folder`. Depth does not matter: folders inside folders are moved up, then removed."""
    moved = 0
    while entries := list(Path(folder).iterdir()):
        for entry in entries:
            if entry.is_symlink() or not entry.is_dir():
                entry.unlink()
                continue
            entry.chmod(0o700)
            for inner in list(entry.iterdir()):
                if inner.is_symlink() or not inner.is_dir():
                    inner.unlink()
                else:
                    moved += 1
                    inner.chmod(0o700)
                    inner.rename(f"{folder}/.{moved}.removed")
            entry.rmdir()


def readable_folders() -> list[str]:
    """Folders the interpreter needs: its library, and the system's shared libraries."""
    paths = sysconfig.get_paths()
    multiarch = sysconfig.get_config_var("MULTIARCH") or "none"
    shared = [f"{root}/{name}" for root in ("/lib", "/usr/lib") for name in (multiarch,)]
    own = Path(sys.base_prefix) / "lib"
    libraries = [str(path) for path in own.glob("*.so*")] if own.is_dir() else []
    found = [paths["stdlib"], paths["platstdlib"], *shared, "/lib64", "/usr/lib64", *libraries, "/usr/share/zoneinfo"]
    return list(dict.fromkeys(path for path in found if Path(path).exists()))


def readable_paths() -> list[str]:
    """The same as single paths that leave installed packages out: a data set may be among them."""
    found: list[str] = []
    for folder in map(Path, readable_folders()):
        inside = sorted(folder.iterdir()) if folder.is_dir() else []
        is_library = (folder / "os.py").exists()
        kept = [path for path in inside if path.name not in _PACKAGES and (is_library or "python" not in path.name)]
        found += [str(folder)] if len(kept) == len(inside) else map(str, kept)
    return found


def main() -> None:
    """Entry point: the descriptor of the control socket and the configuration are arguments."""
    control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=int(sys.argv[1]))
    namespaces.die_with_parent()
    zygote = Zygote(control, json.loads(sys.argv[2]))
    zygote.set_up()
    sys.argv[:] = [""]
    sys.path[:] = [path for path in sys.path if path != zygote._config["source"]]
    zygote.serve()
