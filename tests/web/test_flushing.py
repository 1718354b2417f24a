"""Group commit: what is acknowledged is on the disk, and whoever commits together is flushed together."""

import os
import threading
import time

import pytest

from crlhf.errors import CrlhfError
from crlhf.web import flushing, progress
from crlhf.web.database import open_database


class Disk:
    """Stands before fdatasync: how much of the log was in the file at each flush, and when."""

    def __init__(self, path, seconds=0.0):
        self.path, self.seconds = path, seconds
        self.sizes, self.broken = [], False

    def sync(self, descriptor):
        if self.broken:
            raise OSError(5, "Input/output error")
        assert os.fstat(descriptor).st_ino == self.path.stat().st_ino
        size = os.fstat(descriptor).st_size
        time.sleep(self.seconds)
        os.fdatasync(descriptor)
        self.sizes.append(size)


@pytest.fixture
def disk(tmp_path, monkeypatch):
    made = Disk(tmp_path / "page.sqlite3-wal")
    monkeypatch.setattr(flushing, "_fdatasync", made.sync)
    return made


@pytest.fixture
def database(disk, tmp_path):
    opened = open_database(f"sqlite:///{tmp_path}/page.sqlite3")
    disk.sizes.clear()
    yield opened
    opened.close()


def pause(database, value=True, **how):
    with database.write(**how) as connection:
        progress.set_paused(connection, value)


def test_a_durable_write_ends_after_a_flush_of_all_that_it_wrote(database, disk):
    pause(database)
    assert disk.sizes == [disk.path.stat().st_size]


def test_what_can_be_done_again_is_not_waited_for(database, disk):
    pause(database, is_durable=False)
    assert disk.sizes == []


def test_a_write_that_is_undone_flushes_nothing(database, disk):
    with pytest.raises(ZeroDivisionError), database.write() as connection:
        progress.set_paused(connection, True)
        raise ZeroDivisionError
    assert disk.sizes == []
    with database.read() as connection:
        assert not progress.is_paused(connection)


def test_many_at_once_share_flushes_and_none_ends_before_its_own(database, disk):
    disk.seconds = 0.05
    ends = []

    def write(n):
        with database.write() as connection:
            progress.set_paused(connection, bool(n % 2))
            connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS filler (text)")
            connection.exec_driver_sql("INSERT INTO filler VALUES (?)", ("x" * 5000,))
            written = disk.path.stat().st_size  # before this commit: the log only grows in this test
        ends.append((written, max(disk.sizes)))

    threads = [threading.Thread(target=write, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ends) == 20
    assert all(flushed > written for written, flushed in ends)
    assert len(disk.sizes) < 10  # one each would be 20


def test_after_a_flush_that_failed_nothing_is_acknowledged_any_more(database, disk):
    disk.broken = True
    with pytest.raises(CrlhfError, match="cannot be flushed to the disk: Input/output error"):
        pause(database)
    disk.broken = False  # the kernel may forget what it could not write; a later success says nothing
    with pytest.raises(CrlhfError, match="start the page again"):
        pause(database)
