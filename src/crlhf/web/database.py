"""The page's database: SQLite in WAL by default, PostgreSQL by URL; every write is one transaction that waits its turn.

SQLite: `BEGIN IMMEDIATE` takes the write lock before anything is read, so no transaction decides on what another is
about to change; a flush of the log (`flushing`) makes a commit outlive the machine's power. Within one process writers
queue on a lock of Python's, because SQLite's own waiting sleeps longer the longer it waits. PostgreSQL: an advisory
lock held to the end of the transaction does the same.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, insert, inspect, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from crlhf.errors import InputError, IntegrityError, MissingInputError
from crlhf.web import tables
from crlhf.web.flushing import Log

DEFAULT = "data/page/page.sqlite3"
"""Where the database lies below the project's root unless a URL says otherwise. `make clean` leaves it alone."""

_BUSY_MS, _SCRUB_MS = 30_000, 200
_PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=NORMAL",  # the log is flushed by `flushing.Log`
    "foreign_keys=ON",
    f"busy_timeout={_BUSY_MS}",
    "secure_delete=ON",
)
_ADVISORY_LOCK = 0x63726C68  # "crlh": any fixed number


class Database:
    """A connection pool and the two ways to use it: `read` and `write`.

    Attributes:
        engine: SQLAlchemy's.
        is_sqlite: True for SQLite, False for PostgreSQL.
        is_scrubbed: False: SQLite's log still holds what was deleted, see `scrub`.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.is_sqlite = engine.dialect.name == "sqlite"
        self.is_scrubbed = True
        self._turn = threading.Lock()
        self._log = Log(Path(engine.url.database or "")) if self.is_sqlite else None

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One snapshot of the database for as long as the block runs."""
        with self.engine.connect() as opened:
            level = {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"}
            connection = opened.execution_options(**level)
            with connection.begin():
                yield connection

    @contextmanager
    def write(self, *, is_durable: bool = True) -> Iterator[Connection]:
        """A transaction that no other one overlaps; it is on the disk when the block ends, or undone on an error.

        With `is_durable` False the block ends before the log is flushed: kill -9 loses nothing then either, a power cut
        may. It is for what can be done again, such as giving an item out.
        """
        if self._log is None:
            with self.engine.begin() as connection:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
                yield connection
            return
        with self._turn, self.engine.connect() as opened:
            connection = opened.execution_options(crlhf_begin="BEGIN IMMEDIATE")
            with connection.begin():
                yield connection
        if is_durable:
            self._log.flush()

    def scrub(self) -> bool:
        """After a deletion: empty SQLite's log, which holds pages as they were; the pages are zeros (`secure_delete`).

        While somebody reads (a backup) that cannot be: it waits for a moment only, because all writers wait with it,
        and `is_scrubbed` is False until a later call finds nobody. Returns whether it was done.
        """
        if not self.is_sqlite:
            return True
        with self.engine.connect() as connection:
            cursor = connection.connection.cursor()
            cursor.execute(f"PRAGMA busy_timeout={_SCRUB_MS}")
            try:
                is_busy, *_ = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                cursor.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
                cursor.close()
        self.is_scrubbed = not is_busy
        return self.is_scrubbed

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()
        if self._log is not None:
            self._log.close()


def default_url(root: Path) -> str:
    """The URL of the SQLite database of the project at `root`."""
    return f"sqlite:///{(root / DEFAULT).resolve()}"


def open_database(url: str, *, must_exist: bool = False) -> Database:
    """Open the page's database and make its tables where there are none.

    Args:
        url: SQLAlchemy's, for example `sqlite:////srv/page.sqlite3` or `postgresql+psycopg://user@host/name`.
        must_exist: refuse to make a new SQLite file.

    Raises:
        InputError: the URL is of another kind of database, or the server does not answer.
        MissingInputError: `must_exist`, and there is no such file.
        IntegrityError: the tables are those of another version, or the file is not a database.
    """
    try:
        address = make_url(url)
    except ArgumentError:
        raise InputError("the database's URL is not one; for example postgresql+psycopg://user@host/name") from None
    kind = address.get_backend_name()
    shown = address.render_as_string(hide_password=True)
    if kind == "postgresql" and address.drivername == "postgresql":
        address = address.set(drivername="postgresql+psycopg")
    if kind not in ("sqlite", "postgresql"):
        raise InputError(f"{shown}: the page keeps its answers in sqlite or postgresql, not in {kind}")
    if kind == "sqlite":
        if address.database in (None, "", ":memory:"):
            raise InputError(f"{shown}: answers are kept in a file, not in memory")
        path = Path(address.database)
        if must_exist and not path.exists():
            raise MissingInputError(f"{path}: no annotation page has run here yet; `crlhf serve` starts one")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)  # nobody else on the machine reads what people answered; SQLite's log follows suit
    try:
        engine = create_engine(address, pool_size=20, max_overflow=40, pool_timeout=30)
    except (NoSuchModuleError, ModuleNotFoundError):
        raise InputError(f"{shown}: the page talks to PostgreSQL through psycopg only") from None
    if kind == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    database = Database(engine)
    try:
        _make_tables(database, shown)
    except DBAPIError as error:
        database.close()
        reason = " ".join(str(error.orig).split())
        raise (IntegrityError if kind == "sqlite" else InputError)(f"{shown}: {reason}") from None
    return database


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver begins no transaction of its own
    for pragma in _PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    cursor = connection.connection.cursor()
    cursor.execute(options.get("crlhf_begin", "BEGIN"))
    cursor.close()


def _make_tables(database: Database, shown: str) -> None:
    with database.write() as connection:
        if not inspect(connection).has_table("settings"):
            tables.metadata.create_all(connection)
            connection.execute(insert(tables.settings), [{"name": "version", "value": str(tables.VERSION)}])
        version = connection.scalar(select(tables.settings.c.value).where(tables.settings.c.name == "version"))
    if version != str(tables.VERSION):
        raise IntegrityError(
            f"{shown}: a database of version {version}, this crlhf reads {tables.VERSION}; "
            "back it up with the crlhf that made it and restore it with this one"
        )
