"""The page's database on SQLite and, where a server can be started, on PostgreSQL; a handful of items."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from crlhf.languages.python import judgeable_lines
from crlhf.lines import sha256_text
from crlhf.web import assignment, people
from crlhf.web.database import open_database
from crlhf.web.sources import ShownItem
from crlhf.web.tables import metadata

RULES = assignment.Rules(seed=7, k=3, honeypot_rate=0.2, max_extra=2, lease_s=600.0, pay_per_hour=18.0)
CODE = "def add(a, b):\n    total = a - b\n    # the sum\n    return total\n"


def item(n, *, is_honeypot=False, code=None, **changes):
    code = f"# {n}\n{CODE}" if code is None else code
    one = ShownItem(
        completion_id=sha256_text(f"item {n}")[:16],
        round_name="1",
        problem_id=f"starter/{n}",
        code=code,
        code_sha256=sha256_text(code),
        line_nos=tuple(judgeable_lines(code)),
        is_honeypot=is_honeypot,
        language="python",
        description=f"Write a function to add two numbers ({n}).",
        examples=("add(2, 3) == 5",),
    )
    return one._replace(**changes)


def items(n_tasks=10, n_honeypots=4):
    return [item(n, is_honeypot=n >= n_tasks) for n in range(n_tasks + n_honeypots)]


def postgres_programs():
    found = shutil.which("initdb") or next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))), None)
    return Path(found).parent if found else None


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory):
    programs = postgres_programs()
    if programs is None:
        pytest.skip("no PostgreSQL server is installed (Debian: apt-get install postgresql)")
    folder = tmp_path_factory.mktemp("postgres")
    data, sockets = folder / "data", Path(f"/tmp/crlhf-pg-{os.getpid()}")
    sockets.mkdir()
    as_user = []
    if os.getuid() == 0:  # PostgreSQL refuses to run as root
        as_user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        data.mkdir()
        for path in (data, sockets):
            os.chown(path, 65534, 65534)
        for path in [folder, *folder.parents][:4]:
            path.chmod(path.stat().st_mode | 0o055) if str(path).startswith("/tmp/") else None
    try:
        start = [*as_user, programs / "initdb", "-D", data, "-U", "crlhf", "-A", "trust", "-E", "UTF8", "--no-sync"]
        made = subprocess.run([*map(str, start)], capture_output=True, text=True)
        if made.returncode:
            pytest.skip(f"PostgreSQL cannot be set up here: {made.stderr.strip()[-200:]}")
        options = f"-c listen_addresses= -c unix_socket_directories={sockets} -c fsync=off"
        server = [*as_user, programs / "pg_ctl", "-D", data, "-w", "-l", data / "log", "-o", options, "start"]
        began = subprocess.run([*map(str, server)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if began.returncode:
            pytest.skip("PostgreSQL cannot be started here")
        yield f"postgresql+psycopg://crlhf@/postgres?host={sockets}"
        stop = [*as_user, programs / "pg_ctl", "-D", data, "-m", "immediate", "stop"]
        subprocess.run([*map(str, stop)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    finally:
        shutil.rmtree(sockets, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    return (
        f"sqlite:///{tmp_path}/page.sqlite3" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    )


@pytest.fixture
def database(url):
    opened = open_database(url)
    yield opened
    if not opened.is_sqlite:
        metadata.drop_all(opened.engine)
    opened.close()


@pytest.fixture
def lite(tmp_path):
    opened = open_database(f"sqlite:///{tmp_path}/page.sqlite3")
    yield opened
    opened.close()


def fill(database, shown=None, rules=RULES):
    with database.write() as connection:
        assignment.sync_items(connection, items() if shown is None else shown, rules)


def newcomer(database, now=0.0):
    """The id of an annotator who has joined."""
    with database.write() as connection:
        (made,) = people.invite(connection, 1, "", now, "test")
        assert people.join(connection, made.token, now)
    return made.annotator_id
