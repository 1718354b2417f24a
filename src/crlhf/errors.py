"""Errors that a user can act on, each with the exit code that the command line ends with."""

from __future__ import annotations

import errno


class CrlhfError(Exception):
    """Something the user can mend. `str(error)` is one clear sentence that says what is wrong and what to do.

    The command line prints it without a traceback and exits with `exit_code`.
    """

    exit_code = 1


class ParamsError(CrlhfError):
    """params.yaml is missing, is not YAML, or a value breaks its bounds."""

    exit_code = 2


class InputError(CrlhfError):
    """A file given by the user breaks its format: the message names the file, the row and the rule."""

    exit_code = 3


class MissingInputError(CrlhfError):
    """A file that an earlier stage, a download or the user should have put in place is not there."""

    exit_code = 4


class IntegrityError(CrlhfError):
    """Bytes are not the bytes they should be: a wrong hash, a cut file, a table that breaks its schema."""

    exit_code = 5


class DiskFullError(CrlhfError):
    """There is no room on the disk. Nothing that existed before was touched."""

    exit_code = 6


class WaitingError(CrlhfError):
    """The crowd has not given all the verdicts yet that a round needs. A state, not a failure: run again later.

    The exit code is EX_TEMPFAIL of sysexits.h, "try again later". Nothing was written.
    """

    exit_code = 75


class IsolationError(CrlhfError):
    """Programs cannot be run in the isolation that the params ask for."""

    exit_code = 7


_PATH_MISTAKES = {
    errno.EISDIR: "is a folder, not a file",
    errno.ENOTDIR: "not a folder, or below something that is none",
    errno.EEXIST: "is there already, and is not a folder",
    errno.ENOTEMPTY: "is a folder that is not empty",
    errno.EACCES: "may not be read or written here",
    errno.EPERM: "may not be read or written here",
    errno.EROFS: "may only be read, as all of its file system",
    errno.ENAMETOOLONG: "a name that is too long",
    errno.ELOOP: "links that lead in a circle",
}


def path_error(error: OSError) -> CrlhfError | None:
    """What `error` says of a path that the user can mend, as an error of ours; None: a bug, or another failure.

    InputError for a path of the wrong kind or without access, MissingInputError where nothing is, DiskFullError.
    """
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        path = error.filename or "while writing"
        return DiskFullError(f"no space left on the disk ({path}); free some and run again")
    if not isinstance(error.filename, str) or error.errno is None:
        return None
    if error.errno == errno.ENOENT:
        return MissingInputError(f"{error.filename}: no such file or folder")
    if error.errno in _PATH_MISTAKES:
        return InputError(f"{error.filename}: {_PATH_MISTAKES[error.errno]}")
    return None
