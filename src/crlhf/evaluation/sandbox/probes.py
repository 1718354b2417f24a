"""Each layer of isolation is proved by doing what it forbids, in a child that stands where a candidate would.

Runs before any candidate in that process tree. The answers are told to the tester, who draws the conclusion.
"""

from __future__ import annotations

import _socket
import ctypes
import errno
import json
import os
from collections.abc import Callable

_PTRACE_TRACEME = 0


def _error_of(act: Callable[[], object]) -> int:
    """0 when `act` succeeded, else its errno."""
    try:
        act()
    except OSError as error:
        return error.errno or -1
    return 0


def _write(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))


def _fork() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def _unshare() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(1 << 28):
        raise OSError(ctypes.get_errno(), "unshare")


TRIED = {
    "open_marker": "read a file of this machine",
    "write_marker": "write to a file of this machine",
    "write_root": "make a file in /",
    "list_root": "list /",
    "signal_tester": "signal the process that tests it",
    "interfaces": "see the network's interfaces",
    "socket": "open a socket",
    "fork": "start a process",
    "unshare": "make namespaces of its own",
    "write_own": "write in its own folder",
}
"""What each probe does, in words."""


def outcome(said: object) -> str:
    """How a probe ended, in words: `said` is its error number, or what it saw."""
    if isinstance(said, list):
        return ", ".join(map(str, said)) or "none"
    return "done" if said == 0 else f"refused ({errno.errorcode.get(said, said) if isinstance(said, int) else said})"


def tell(channel: _socket.socket, marker: str, tester_pid: int) -> None:
    """Try everything, send the error numbers as one line of JSON, leave.

    Args:
        channel: where to tell it.
        marker: a file outside, which the tester has made.
        tester_pid: the tester's process, as the tester knows it.
    """
    said = {
        "open_marker": _error_of(lambda: os.close(os.open(marker, os.O_RDONLY))),
        "write_marker": _error_of(lambda: _write(marker)),
        "write_root": _error_of(lambda: _write("/crlhf-probe")),
        "list_root": _error_of(lambda: os.listdir("/")),
        "write_own": _error_of(lambda: _write("probe")),
        "signal_tester": _error_of(lambda: os.kill(tester_pid, 0)),
        "interfaces": [name for _, name in _socket.if_nameindex()] if not _error_of(_socket.if_nameindex) else [],
        "socket": _error_of(lambda: _socket.socket().close()),
        "fork": _error_of(_fork),
        "unshare": _error_of(_unshare),
    }
    channel.sendall(json.dumps(said).encode() + b"\n")
    os._exit(0)


def proved_layers(said: dict[str, object]) -> set[str]:
    """The layers whose prohibitions held."""
    eperm, eacces, enoent, esrch, erofs = 1, 13, 2, 3, 30
    proved: set[str] = set()
    if said["write_own"] != 0:
        return proved
    hidden = said["open_marker"] == enoent and said["signal_tester"] in (esrch, eperm)
    if hidden and said["interfaces"] in ([], ["lo"]):
        proved.add("namespaces")
    if (
        said["list_root"] == eacces
        and said["write_root"] in (eacces, erofs)
        and said["open_marker"] in (eacces, enoent)
    ):
        proved.add("landlock")
    if said["socket"] == eperm and said["fork"] == eperm and said["unshare"] == eperm:
        proved.add("seccomp")
    return proved
