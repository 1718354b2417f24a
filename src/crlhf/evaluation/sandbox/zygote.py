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
_HIGH_FD = 32
_MAX_PROCESSES = 256


class Zygote:
    """The set-up of one worker: which layers hold, and what a child enters after its fork."""

    def __init__(self, control: socket.socket, config: dict[str, Any]) -> None:
        self._control = control
        self._config = config
        self._folder = str(config["folder"])
        self._ruleset: int | None = None
        self._filters: seccomp.Filters | None = None
        self._failures: dict[str, str] = {}
        self._in_namespaces = False

    def set_up(self) -> None:
        """Build every layer that can be built; what fails is noted and told to the tester."""
        _preload()
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
        namespaces.enter_new_root(self._config["new_root"], readable_folders(), _FOLDER_MIB)
        if not {name for _, name in socket.if_nameindex()} <= {"lo"}:
            raise OSError(0, "the network of this machine is still there")
        self._folder = namespaces.SAMPLE_FOLDER
        self._in_namespaces = True

    def _give_up_privileges(self) -> None:
        """Root becomes a user of no rights wherever that user can still read the interpreter."""
        uid = None
        if os.geteuid() == 0 and (self._in_namespaces or self._config["may_change_user"]):
            uid = namespaces.FIRST_UID + self._config["tester_pid"]
            os.chown(self._folder, uid, uid)
        with suppress(OSError):
            namespaces.drop_privileges(uid)

    def _enter_landlock(self) -> None:
        """Inside a mount namespace the zygote needs no more files than a child; elsewhere it reads /proc."""
        ruleset = landlock.make_ruleset([*readable_paths(), "/dev/urandom", "/dev/zero"], [self._folder, "/dev/null"])
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
            os.closerange(5, _MAX_FILES)
            served = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=3)
            if not self._in_namespaces:
                namespaces.die_with_parent()
            resource.setrlimit(resource.RLIMIT_CPU, (self._config["cpu_s"], self._config["cpu_s"]))
            resource.setrlimit(resource.RLIMIT_NPROC, (_MAX_PROCESSES, _MAX_PROCESSES))
            if ruleset is not None:
                seccomp.no_new_privileges()
                landlock.enter(ruleset)
                os.close(ruleset)
            if self._filters is not None:
                self._filters.enter_child()
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
        if os.listdir(self._folder):  # noqa: PTH208 - pathlib would be a tenth of the whole clean-up
            empty_folder(self._folder)


def _preload() -> None:
    """Import what programs commonly import. Hooks that run after each fork are left out: they cost more than the fork,
    and one of them would give `random` another seed in every child.
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
        hard = resource.getrlimit(what)[1]
        allowed = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(what, (allowed, allowed))


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
        kept = [path for path in inside if not _is_installed(path, is_library)]
        found += [str(folder)] if len(kept) == len(inside) else map(str, kept)
    return found


def _is_installed(path: Path, in_library: bool) -> bool:
    """Whether `path` holds installed packages: site-packages, or another Python's folder beside shared libraries."""
    return path.name in _PACKAGES or (not in_library and path.name.startswith("python") and path.is_dir())


def main() -> None:
    """Entry point: the descriptor of the control socket and the configuration are arguments."""
    control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=int(sys.argv[1]))
    namespaces.die_with_parent()
    zygote = Zygote(control, json.loads(sys.argv[2]))
    zygote.set_up()
    sys.argv[:] = [""]
    sys.path[:] = [path for path in sys.path if path != zygote._config["source"]]
    zygote.serve()
