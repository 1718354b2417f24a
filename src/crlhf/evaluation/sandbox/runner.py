"""Runs one program in a fresh interpreter. Argument: the descriptor of the answer."""

import json
import os
import resource
import sys


def _answer(fd: int, **said: object) -> None:
    os.write(fd, json.dumps(said).encode())
    os._exit(0)


def _limit(memory_mib: int, timeout_s: float) -> None:
    for what, limit in (
        (resource.RLIMIT_AS, memory_mib * 2**20),
        (resource.RLIMIT_CPU, int(timeout_s) + 1),
        (resource.RLIMIT_FSIZE, 16 * 2**20),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_NPROC, 256),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (limit, limit))


def _line_no(error: BaseException) -> int | None:
    """Deepest line of the candidate on the way of the exception."""
    if isinstance(error, SyntaxError) and error.filename == "<candidate>":
        return error.lineno
    found, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<candidate>":
            found = trace.tb_lineno
        trace = trace.tb_next
    return found


def _reason(error: BaseException, is_test: bool) -> tuple[str, str]:
    if isinstance(error, SyntaxError) and error.filename == "<candidate>":
        return "error", "syntax error"
    if isinstance(error, AssertionError) and is_test:
        return "fail", "assertion"
    return "error", type(error).__name__[:80]


def main() -> None:
    """Read the job, run the program, then each test, and answer once."""
    fd = int(sys.argv[1])
    job = json.loads(sys.stdin.buffer.read())
    key = job.pop("key")
    _limit(job["memory_mib"], job["timeout_s"])
    namespace: dict[str, object] = {"__name__": "__main__"}
    sources = [job["code"], job["setup_code"], *job["tests"]]
    names = ["<candidate>", "<setup>", *["<test>"] * len(job["tests"])]
    for test_no, (source, name) in enumerate(zip(sources, names, strict=True), -2):
        at = test_no if test_no >= 0 else None
        try:
            exec(compile(source, name, "exec"), namespace)
        except BaseException as error:
            verdict, reason = _reason(error, at is not None)
            _answer(fd, key=key, verdict=verdict, reason=reason, line_no=_line_no(error), failed_test_no=at)
    _answer(fd, key=key, verdict="pass", reason="all tests passed", line_no=None, failed_test_no=None)


if __name__ == "__main__":
    main()
