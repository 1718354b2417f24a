"""Programs that try to be scored right without being right, or to harm: none passes, nothing is left behind."""

import hashlib
import os
import sysconfig
import tempfile
from pathlib import Path

import pytest

from crlhf.evaluation import sandbox
from crlhf.schema import Program

FOLDER = Path(__file__).parent / "hostile"
PROGRAMS = {path.name.removesuffix(".py.txt"): path.read_text() for path in sorted(FOLDER.glob("*.py.txt"))}
RIGHT = "def solve(x):\n    return x * x\n"

VICTIMS = {
    "bare asserts": ("", ("assert solve(3) == 9", "assert solve(4) == 16")),
    "check": (
        "",
        ("def check(candidate):\n    assert candidate(3) == 9, 'no'\n    assert 4 == candidate(-2)\ncheck(solve)",),
    ),
    "not unequal": ("", ("assert not solve(3) != 9",)),
    "tolerance": ("import math", ("assert abs(solve(3) - 9) < 1e-6", "assert math.isclose(solve(2), 4)")),
    "round": ("", ("assert round(solve(3), 2) == 9 and round(9 - solve(3)) == 0",)),
    "order": ("", ("assert 8 < solve(3) < 10", "assert solve(5) >= 25 and solve(5) <= 25")),
}
SEQUENCES = {
    "list": ("", ("assert list(solve(3)) == [9]",)),
    "sorted": ("", ("assert sorted(solve(2)) == [4]",)),
    "set": ("", ("assert set(solve(2)) == {4}",)),
    "member": ("", ("assert 9 in solve(3)", "assert 7 not in solve(3)")),
    "item": ("", ("assert len(solve(3)) == 1 and solve(3)[0] == 9",)),
    "text": ("", ("assert solve(3).startswith('9')",)),
    "map": ("", ("for value in map(solve, [3]):\n    assert value == 9", "assert all(map(solve, [3]))")),
    "count": ("", ("assert solve(3).count(9) == 1",)),
    "argument": ("", ("x = [3, 1]\nassert solve(x) == [9, 1]",)),
}


def programs(victims, code_of):
    return [
        Program(f"{name} | {victim}", code, "solve", setup, tests)
        for name, code in code_of.items()
        for victim, (setup, tests) in victims.items()
    ]


def level_or_skip(layers):
    if not set(layers) & set(sandbox.isolation_level().split("+")):
        pytest.skip("this machine gives hygiene only; hostile programs are not run without a sandbox")


@pytest.fixture(scope="module")
def canary(tmp_path_factory):
    folder = tmp_path_factory.mktemp("canary")
    (folder / "canary.txt").write_text("secret")
    for path in (folder, *folder.parents):
        if path.is_relative_to("/tmp") and path != Path("/tmp"):
            path.chmod(0o777 if path == folder else 0o755)
    (folder / "canary.txt").chmod(0o666)
    return folder


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """Where the sandbox keeps its folders during a test; the path marks its processes."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def fingerprint(folder):
    return [
        (str(path), path.lstat().st_mode, path.lstat().st_mtime_ns, path.lstat().st_uid, path.lstat().st_nlink)
        for path in sorted([folder, *folder.rglob("*")])
    ] + [hashlib.sha256((folder / "canary.txt").read_bytes()).hexdigest()]


def processes_with(text):
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if text.encode() in (folder / "cmdline").read_bytes() and int(folder.name) != os.getpid():
                found.append(folder.name)
        except OSError:
            continue
    return found


def pwned():
    places = ["/tmp", "/var/tmp", "/dev/shm", "/", str(Path.home()), sysconfig.get_path("purelib"), str(Path.cwd())]
    return [str(path) for place in places for path in Path(place).glob("*crlhf_pwned*")]


def run_all(isolation, code_of, victims, canary, temporary):
    """Verdicts by name, after checks of what must hold whatever the programs did."""
    before = fingerprint(canary)
    site = sysconfig.get_path("purelib")
    code_of = {name: code.replace("CANARY", str(canary)).replace("SITE", site) for name, code in code_of.items()}
    hostile = programs(victims, code_of)
    right = [
        Program(f"right {number}", RIGHT, "solve", "", ("assert solve(3) == 9",)) for number in range(len(hostile))
    ]
    mixed = [program for pair in zip(hostile, right, strict=True) for program in pair]
    verdicts = sandbox.run_programs(mixed, timeout_s=1.5, memory_mib=512, workers=2, isolation=isolation)
    assert [verdict.program_id for verdict in verdicts] == [program.program_id for program in mixed]
    wrongly_failed = [v for v in verdicts[1::2] if v.verdict != "pass"]
    assert not wrongly_failed
    assert not processes_with(str(temporary))
    assert not pwned()
    assert fingerprint(canary) == before
    assert not list(temporary.iterdir())
    return {verdict.program_id: verdict for verdict in verdicts[::2]}


def test_there_are_enough_hostile_programs():
    assert len(PROGRAMS) >= 170


def test_no_hostile_program_passes_or_leaves_anything(canary, temporary):
    level_or_skip(("seccomp", "namespaces"))
    one = {"bare asserts": VICTIMS["bare asserts"]}
    verdicts = run_all("auto", PROGRAMS, one, canary, temporary)
    assert not [name for name, verdict in verdicts.items() if verdict.verdict == "pass"]
    assert verdicts["late_answer | bare asserts"].verdict == "timeout"
    assert verdicts["reads_secrets | bare asserts"].reason == "assertion"


def test_no_hostile_program_passes_without_namespaces(canary, temporary):
    level_or_skip(("seccomp",))
    one = {"check": VICTIMS["check"]}
    verdicts = run_all("only:landlock+seccomp", PROGRAMS, one, canary, temporary)
    assert not [name for name, verdict in verdicts.items() if verdict.verdict == "pass"]
    assert verdicts["reads_secrets | check"].reason == "assertion"


def test_no_object_satisfies_tests_that_it_has_not_solved(canary, temporary):
    """The programs that return odd objects, against every shape of test."""
    level_or_skip(("seccomp", "namespaces"))
    odd = ("equal", "spoof", "meta", "always", "learns", "contains", "class_", "generator_of", "hash", "shadows", "nan",
           "exception_that", "pickle", "check_of", "mutates", "imports_the_ev", "patches", "infinite_l", "answers",
           "stop_iteration", "generator_exit", "returns_the", "subclasses", "formats", "reduces", "suppresses",
           "patched", "forged", "learns_between", "bool_for", "huge", "length_w", "unicode",
           "lies", "odd_json", "exits_in")  # fmt: skip
    code_of = {name: code for name, code in PROGRAMS.items() if name.startswith(odd)}
    verdicts = run_all("auto", code_of, VICTIMS | SEQUENCES, canary, temporary)
    assert not [name for name, verdict in verdicts.items() if verdict.verdict == "pass"]
