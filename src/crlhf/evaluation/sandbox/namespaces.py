"""Namespaces: a process tree of its own with its own pids, network, mounts and IPC, through unshare(2).

Root unshares directly and then becomes an ordinary user; an ordinary user takes a user namespace first. The new root
is an empty tmpfs that holds the interpreter's library, the system's shared libraries and three devices, all
read-only, and `/sample`, a small tmpfs to write to. Site packages are hidden: a data set may be installed there.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable

SAMPLE_FOLDER = "/sample"
FIRST_UID = 0x70000000
"""A user of no rights for each worker: this and the number of its tester. Limits on processes count by user."""
_NEWNS, _NEWIPC, _NEWUTS, _NEWUSER, _NEWPID, _NEWNET = 1 << 17, 1 << 27, 1 << 26, 1 << 28, 1 << 29, 1 << 30
_NOSUID, _NODEV, _BIND, _REC, _PRIVATE, _DETACH = 2, 4, 4096, 16384, 1 << 18, 2
_RDONLY = 1
_AT_FDCWD, _AT_RECURSIVE, _MOUNT_SETATTR = -100, 0x8000, 442
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_CAPBSET_DROP, _PR_SET_CHILD_SUBREAPER = 1, 4, 24, 36
_CAPSET_VERSION_3 = 0x20080522
_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom")
_HIDDEN = ("site-packages", "dist-packages")

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result:
        raise OSError(ctypes.get_errno(), what)


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, 9, 0, 0, 0), "pdeathsig")


def be_subreaper() -> None:
    """Have orphans below this process become its children, so that they can be found and killed."""
    _check(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "subreaper")


def hide_memory() -> None:
    """Forbid processes of the same user to trace this one or to read its memory."""
    _check(_libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0), "dumpable")


def unshare() -> None:
    """Leave the namespaces of this machine; processes started from now on get new pids.

    Raises:
        OSError: the kernel or the container refuses.
    """
    spaces = _NEWNS | _NEWPID | _NEWNET | _NEWIPC | _NEWUTS
    if os.geteuid() == 0 and not _libc.unshare(spaces):
        return
    uid, gid = os.geteuid(), os.getegid()
    _check(_libc.unshare(spaces | _NEWUSER), "unshare")
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def enter_new_root(new_root: str, readable: Iterable[str], size_mib: int) -> None:
    """Make `new_root` (an empty folder) the root: `readable` paths read-only at their places, /sample to write to."""
    _mount(None, "/", None, _REC | _PRIVATE, "")
    _mount("tmpfs", new_root, "tmpfs", _NOSUID | _NODEV, "mode=0755,size=1m")
    for path in (*readable, *_DEVICES):
        _bind(path, new_root)
    for path in readable:
        for name in _HIDDEN:
            hidden = f"{new_root}{path}/{name}"
            if os.path.isdir(hidden):
                _mount("tmpfs", hidden, "tmpfs", _NOSUID | _NODEV, "mode=0755,size=4k")
    attributes = (ctypes.c_uint64 * 4)(_RDONLY | _NOSUID, 0, 0, 0)
    os.mkdir(new_root + SAMPLE_FOLDER)
    _check(
        _libc.syscall(_MOUNT_SETATTR, _AT_FDCWD, new_root.encode(), _AT_RECURSIVE, ctypes.byref(attributes), 32),
        "mount_setattr",
    )
    _mount("tmpfs", new_root + SAMPLE_FOLDER, "tmpfs", _NOSUID | _NODEV, f"mode=1777,size={size_mib}m,nr_inodes=4096")
    os.chdir(new_root)
    _check(_libc.syscall(_pivot_root_number(), b".", b"."), "pivot_root")
    _check(_libc.umount2(b".", _DETACH), "umount")
    os.chdir("/")


def _bind(path: str, new_root: str) -> None:
    target = new_root + path
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.islink(path) and os.path.isdir(path):
        os.symlink(os.readlink(path), target)
        return
    if os.path.isdir(path):
        os.makedirs(target, exist_ok=True)
    elif os.path.exists(path):
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY))
    else:
        return
    _mount(path, target, None, _BIND | _REC, "")


def _mount(source: str | None, target: str, kind: str | None, flags: int, data: str) -> None:
    arguments = [value.encode() if value is not None else None for value in (source, target, kind)]
    _check(_libc.mount(*arguments, ctypes.c_ulong(flags), data.encode()), f"mount {target}")


def _pivot_root_number() -> int:
    return {"x86_64": 155}.get(os.uname().machine, 41)


def drop_privileges(uid: int | None) -> None:
    """Give up every capability for ever, and become the user `uid` where it is given."""
    for capability in range(64):
        if _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0):
            break
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    header = (ctypes.c_uint32 * 2)(_CAPSET_VERSION_3, 0)
    nothing = (ctypes.c_uint32 * 6)()
    _check(_libc.capset(ctypes.byref(header), ctypes.byref(nothing)), "capset")
