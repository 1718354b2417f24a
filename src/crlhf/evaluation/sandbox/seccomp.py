"""seccomp: system calls that no test needs answer EPERM. x86_64 and aarch64.

Refused: starting processes, signals to others (also by way of a descriptor's owner), sockets, tracing, core dumps,
mounts, namespaces, keys, kernel interfaces, memory outside the address space, watching files, shared memory that
outlives a process, resources that are counted for the whole machine. Of sockets only connected pairs of streams are
given out, which reach nobody else; event loops are built on one. Where there is no mount namespace, also changing
the metadata of files is refused, because a filter sees no paths. Threads work: `clone` is let through when it makes a
thread, and `clone3` answers ENOSYS, so that the C library falls back to it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterable

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _MODE_FILTER = 38, 22, 2
_LOAD, _JUMP_EQUAL, _JUMP_GREATER_EQUAL, _JUMP_SET, _RETURN, _AND = 0x20, 0x15, 0x35, 0x45, 0x06, 0x54
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_AT_NR, _AT_ARCH, _AT_ARGUMENTS = 0, 4, 16
_CLONE_THREAD = 0x10000
_X32 = 0x40000000

_COMMON = {
    "pidfd_send_signal": 424, "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427,
    "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsmount": 432, "pidfd_open": 434, "clone3": 435,
    "pidfd_getfd": 438, "process_madvise": 440, "mount_setattr": 442, "process_mrelease": 448, "fchmodat2": 452,
    "fsconfig": 431, "fspick": 433, "quotactl_fd": 443, "memfd_secret": 447, "statmount": 457, "listmount": 458,
    "setxattrat": 463, "removexattrat": 466, "open_tree_attr": 467, "file_setattr": 469,
}  # fmt: skip
_X86_64 = {
    "shmget": 29, "shmat": 30, "shmctl": 31, "socket": 41, "socketpair": 53, "clone": 56, "fork": 57, "vfork": 58,
    "execve": 59, "kill": 62, "semget": 64, "msgget": 68, "truncate": 76, "chmod": 90, "fchmod": 91, "chown": 92,
    "fchown": 93, "lchown": 94, "ptrace": 101, "syslog": 103, "rt_sigqueueinfo": 129, "utime": 132, "mknod": 133,
    "personality": 135, "setpriority": 141, "sched_setparam": 142, "sched_setscheduler": 144, "vhangup": 153,
    "modify_ldt": 154, "pivot_root": 155, "adjtimex": 159, "chroot": 161, "acct": 163, "settimeofday": 164,
    "mount": 165, "umount2": 166, "swapon": 167, "swapoff": 168, "reboot": 169, "sethostname": 170,
    "setdomainname": 171, "iopl": 172, "ioperm": 173, "init_module": 175, "delete_module": 176, "quotactl": 179,
    "setxattr": 188, "lsetxattr": 189, "fsetxattr": 190, "removexattr": 197, "lremovexattr": 198,
    "fremovexattr": 199, "tkill": 200, "sched_setaffinity": 203, "clock_settime": 227, "tgkill": 234, "utimes": 235,
    "mq_open": 240, "mq_unlink": 241, "kexec_load": 246, "add_key": 248, "request_key": 249, "keyctl": 250,
    "ioprio_set": 251, "migrate_pages": 256, "mknodat": 259, "fchownat": 260, "futimesat": 261, "fchmodat": 268,
    "unshare": 272, "move_pages": 279, "utimensat": 280, "rt_tgsigqueueinfo": 297, "perf_event_open": 298,
    "fanotify_init": 300, "prlimit64": 302, "name_to_handle_at": 303, "open_by_handle_at": 304, "clock_adjtime": 305,
    "setns": 308, "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312, "finit_module": 313,
    "sched_setattr": 314, "kexec_file_load": 320, "bpf": 321, "execveat": 322, "userfaultfd": 323, "ioctl": 16,
    "fcntl": 72, "prctl": 157, "sync": 162, "io_setup": 206, "inotify_init": 253, "inotify_add_watch": 254,
    "inotify_init1": 294, "syncfs": 306, "seccomp": 317, "memfd_create": 319,
}  # fmt: skip
_AARCH64 = {
    "setxattr": 5, "lsetxattr": 6, "fsetxattr": 7, "removexattr": 14, "lremovexattr": 15, "fremovexattr": 16,
    "ioprio_set": 30, "mknodat": 33, "umount2": 39, "mount": 40, "pivot_root": 41, "truncate": 45, "chroot": 51,
    "fchmod": 52, "fchmodat": 53, "fchownat": 54, "fchown": 55, "quotactl": 60, "utimensat": 88, "acct": 89,
    "personality": 92, "unshare": 97, "kexec_load": 104, "init_module": 105, "delete_module": 106,
    "clock_settime": 112, "syslog": 116, "ptrace": 117, "sched_setparam": 118, "sched_setscheduler": 119,
    "sched_setaffinity": 122, "kill": 129, "tkill": 130, "tgkill": 131, "rt_sigqueueinfo": 138, "setpriority": 140,
    "reboot": 142, "sethostname": 161, "setdomainname": 162, "settimeofday": 170, "adjtimex": 171, "mq_open": 180,
    "mq_unlink": 181, "msgget": 186, "semget": 190, "shmget": 194, "shmctl": 195, "shmat": 196, "socket": 198,
    "socketpair": 199, "add_key": 217, "request_key": 218, "keyctl": 219, "clone": 220, "execve": 221, "swapon": 224,
    "swapoff": 225, "migrate_pages": 238, "move_pages": 239, "rt_tgsigqueueinfo": 240, "perf_event_open": 241,
    "prlimit64": 261, "fanotify_init": 262, "name_to_handle_at": 264, "open_by_handle_at": 265,
    "clock_adjtime": 266, "setns": 268, "process_vm_readv": 270, "process_vm_writev": 271, "kcmp": 272,
    "finit_module": 273, "sched_setattr": 274, "bpf": 280, "execveat": 281, "userfaultfd": 282,
    "kexec_file_load": 294, "ioctl": 29, "fcntl": 25, "prctl": 167, "sync": 81, "io_setup": 0, "inotify_init1": 26,
    "inotify_add_watch": 27, "syncfs": 267, "seccomp": 277, "memfd_create": 279,
}  # fmt: skip
_MACHINES = {"x86_64": (0xC000003E, _X86_64), "aarch64": (0xC00000B7, _AARCH64)}
_METADATA = {
    "chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "fchown", "lchown", "fchownat", "utime", "utimes",
    "futimesat", "utimensat", "truncate",
}  # fmt: skip
_AF_UNIX, _SOCK_STREAM, _SOCK_FLAGS = 1, 1, 0x80800
_STARTING = {"fork", "vfork", "execve", "execveat"}
_OWN_PID_ONLY = ("kill", "tkill", "tgkill")
_REFUSED_VALUES = {  # of the argument with this index: a new owner or signal of a descriptor, a lease, being dumpable
    "fcntl": (1, (8, 10, 15, 1024, 1026)),
    "ioctl": (1, (0x8901, 0x8902, 0x5412)),
    "prctl": (0, (4,)),
}

_Step = tuple[int, int, int, int]

_libc = ctypes.CDLL(None, use_errno=True)


class _Filter(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def is_supported() -> bool:
    """Whether the numbers of this machine's system calls are known here."""
    return os.uname().machine in _MACHINES and struct.calcsize("P") == 8


class Filters:
    """Two filters, assembled once. Entering one costs the kernel time that grows with its length, so most of what is
    refused is refused to the zygote already; a child adds what the zygote itself needs.

    Args:
        may_change_metadata: True where a mount namespace already keeps every file outside out of reach.
    """

    _PID = 0x7E57C0DE

    def __init__(self, *, may_change_metadata: bool) -> None:
        self._arch, numbers = _MACHINES[os.uname().machine]
        self._numbers = {**_COMMON, **numbers}
        special = {"clone", "clone3", "prlimit64", "socketpair", *_OWN_PID_ONLY, *_REFUSED_VALUES}
        for_children = _STARTING | (set() if may_change_metadata else _METADATA)
        for_all = self._numbers.keys() - special - _STARTING - _METADATA
        own = [
            *(_rule(self._numbers[name], (self._PID,)) for name in _OWN_PID_ONLY),
            _rule(self._numbers["prlimit64"], (self._PID, 0)),
        ]
        values = [_refuse_values(self._numbers[name], *refused) for name, refused in _REFUSED_VALUES.items()]
        values.append(_stream_pairs_only(self._numbers["socketpair"]))
        self._shared = self._assemble([step for rule in values for step in rule], for_all)
        self._child = self._assemble([*self._no_processes(), *(step for rule in own for step in rule)], for_children)

    def _assemble(self, rules: list[_Step], refused: Iterable[str]) -> bytes:
        code = [(_LOAD, 0, 0, _AT_ARCH), (_JUMP_EQUAL, 1, 0, self._arch), _answer(errno.EPERM), (_LOAD, 0, 0, _AT_NR)]
        if os.uname().machine == "x86_64":
            code += [(_JUMP_GREATER_EQUAL, 0, 1, _X32), _answer(errno.EPERM)]
        code += rules
        for number in sorted(self._numbers[name] for name in refused if name in self._numbers):
            code += [(_JUMP_EQUAL, 0, 1, number), _answer(errno.EPERM)]
        code.append((_RETURN, 0, 0, _ALLOW))
        return b"".join(struct.pack("=HBBI", *step) for step in code)

    def _no_processes(self) -> list[_Step]:
        return [
            (_JUMP_EQUAL, 0, 1, self._numbers["clone3"]),
            _answer(errno.ENOSYS),
            (_JUMP_EQUAL, 0, 4, self._numbers["clone"]),
            (_LOAD, 0, 0, _AT_ARGUMENTS),
            (_JUMP_SET, 0, 1, _CLONE_THREAD),
            (_RETURN, 0, 0, _ALLOW),
            _answer(errno.EPERM),
        ]

    def enter_shared(self) -> None:
        """Put this process, and all it will start, under what is refused to everyone."""
        no_new_privileges()
        _enter(self._shared)

    def enter_child(self) -> None:
        """Put this process under the rest: no processes, no signals to others."""
        _enter(self._child.replace(struct.pack("=I", self._PID), struct.pack("=I", os.getpid())))


def _enter(program: bytes) -> None:
    filter_ = _Filter(len(program) // 8, program)
    if _libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(filter_), 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp")


def no_new_privileges() -> None:
    """No program started from here gains rights; the kernel asks for it before Landlock and seccomp."""
    if _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "no_new_privs")


def _answer(number: int) -> _Step:
    return (_RETURN, 0, 0, _ERRNO | number)


def _rule(number: int, allowed: tuple[int, ...]) -> list[_Step]:
    """System call `number` only with a first argument (its low 32 bits) among `allowed`."""
    tests = [(_JUMP_EQUAL, len(allowed) - i, 0, value) for i, value in enumerate(allowed)]
    body = [(_LOAD, 0, 0, _AT_ARGUMENTS), *tests, _answer(errno.EPERM), (_RETURN, 0, 0, _ALLOW)]
    return [(_JUMP_EQUAL, 0, len(body), number), *body]


def _refuse_values(number: int, index: int, refused: tuple[int, ...]) -> list[_Step]:
    """System call `number`, but not when the low 32 bits of argument `index` are among `refused`."""
    tests = [(_JUMP_EQUAL, len(refused) - i, 0, value) for i, value in enumerate(refused)]
    body = [(_LOAD, 0, 0, _AT_ARGUMENTS + 8 * index), *tests, (_RETURN, 0, 0, _ALLOW), _answer(errno.EPERM)]
    return [(_JUMP_EQUAL, 0, len(body), number), *body]


def _stream_pairs_only(number: int) -> list[_Step]:
    """System call `number` (socketpair) only for AF_UNIX and SOCK_STREAM: other kinds can be sent elsewhere."""
    body = [
        (_LOAD, 0, 0, _AT_ARGUMENTS),
        (_JUMP_EQUAL, 0, 3, _AF_UNIX),
        (_LOAD, 0, 0, _AT_ARGUMENTS + 8),
        (_AND, 0, 0, 0xFFFFFFFF ^ _SOCK_FLAGS),
        (_JUMP_EQUAL, 1, 0, _SOCK_STREAM),
        _answer(errno.EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return [(_JUMP_EQUAL, 0, len(body), number), *body]
