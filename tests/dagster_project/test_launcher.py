"""What the launcher reads out of DVC's output, and how it waits for a lock."""

from __future__ import annotations

import os
import threading
from functools import partial

import pytest

from dagster_project import launcher
from dagster_project.launcher import (
    EXECUTED,
    FAILED,
    RUN_CACHED,
    SKIPPED,
    Finished,
    StopRequestedError,
    Tail,
    drop_damaged_rwlock,
    explain,
    repro,
    repro_when_free,
)

RUNNING = ["Running stage 'ppo':", "> crlhf ppo"]
DVC_SAYS = ["ERROR: failed to reproduce 'ppo': failed to run: crlhf ppo, exited with 3"]
BUSY = [
    "ERROR: '/p/data' is busy, it is being blocked by:",
    "  (PID 12): dvc repro",
    "If there are no processes with such PIDs, you can manually remove '/p/.dvc/tmp/rwlock' and try again.",
]


def test_the_stages_last_line_is_the_headline_and_dvcs_line_is_not():
    finished = Finished(FAILED, RUNNING, ["warming up", "data/a.csv, row 3: no such annotator", *DVC_SAYS])
    message = explain("ppo", finished)
    assert message["headline"] == "ppo: data/a.csv, row 3: no such annotator"
    assert message["stderr"] == "warming up\ndata/a.csv, row 3: no such annotator"


def test_a_silent_failure_shows_what_dvc_says():
    assert "exited with 3" in explain("ppo", Finished(FAILED, RUNNING, DVC_SAYS))["headline"]


def test_a_stage_that_never_ran_is_explained_by_dvc():
    error = "ERROR: failed to reproduce 'ppo': missing data 'source': data/tables/scores.parquet"
    headline = explain("ppo", Finished(FAILED, [], [error]))["headline"]
    assert headline == "ppo: failed to reproduce 'ppo': missing data 'source': data/tables/scores.parquet"


def test_only_a_refusal_to_start_counts_as_blocked():
    assert Finished(FAILED, [], BUSY).is_blocked
    assert Finished(FAILED, [], ["ERROR: Unable to acquire lock. Most likely another DVC process"]).is_blocked
    assert not Finished(FAILED, RUNNING, ["the printer is busy, it is being blocked by: Bob", *DVC_SAYS]).is_blocked
    assert not Finished(EXECUTED, RUNNING, BUSY).is_blocked


class NoPause(threading.Event):
    """A stop request that never comes, and no pauses."""

    def wait(self, timeout: float | None = None) -> bool:
        return False


def test_a_blocked_stage_is_tried_again_until_it_is_free_and_the_blocker_is_named(tmp_path):
    answers = [Finished(FAILED, [], BUSY), Finished(FAILED, [], BUSY), Finished(EXECUTED, RUNNING, [])]
    said: list[str] = []
    finished = repro_when_free(lambda: answers.pop(0), tmp_path, 60.0, NoPause(), said.append)
    assert finished.outcome == EXECUTED
    assert said == ["waiting for (PID 12): dvc repro"] * 2


def test_waiting_for_a_lock_ends(tmp_path):
    blocked = Finished(FAILED, [], BUSY)
    assert repro_when_free(lambda: blocked, tmp_path, 0.0, NoPause(), lambda text: None) == blocked
    assert "rwlock" in explain("ppo", blocked)["stderr"]


def test_a_stop_request_ends_the_waiting(tmp_path):
    stop = threading.Event()
    with pytest.raises(StopRequestedError):
        repro_when_free(lambda: Finished(FAILED, [], BUSY), tmp_path, 600.0, stop, lambda text: stop.set())


@pytest.mark.parametrize("content", ["", '{"read": {"/p/da'])
def test_a_lock_file_that_a_killed_dvc_left_half_written_is_removed(project, content):
    rwlock = project.root / ".dvc" / "tmp" / "rwlock"
    rwlock.write_text(content)
    said: list[str] = []
    run = partial(repro, project.root, "scaled", 1.0, threading.Event())
    assert repro_when_free(run, project.root, 0.0, threading.Event(), said.append).outcome == SKIPPED
    assert len(said) == 1
    assert project.stale_in_dvc() == set()  # every DVC command works again


def test_a_whole_lock_file_is_left_alone(tmp_path):
    rwlock = tmp_path / ".dvc" / "tmp" / "rwlock"
    rwlock.parent.mkdir(parents=True)
    assert not drop_damaged_rwlock(tmp_path)
    rwlock.write_text('{"read": {}, "write": {}}')
    assert not drop_damaged_rwlock(tmp_path)
    assert rwlock.exists()


def test_of_a_progress_bar_the_last_state_is_kept_and_all_bytes_are_passed_on(tmp_path):
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb") as stream, (tmp_path / "copy").open("wb") as copy:
        tail = Tail(stream, copy.fileno())
        writer = threading.Thread(target=_write, args=(write_end, b"ppo 1/2\rppo 2/2\nna\xc3", b"\xafve\r\nend"))
        writer.start()
        assert tail.lines() == ["ppo 2/2", "naïve", "end"]
        writer.join()
    assert (tmp_path / "copy").read_bytes() == b"ppo 1/2\rppo 2/2\nna\xc3\xafve\r\nend"


def _write(descriptor: int, *chunks: bytes) -> None:
    for chunk in chunks:
        os.write(descriptor, chunk)
    os.close(descriptor)


def test_executed_skipped_and_run_cached_are_told_apart(project):
    run = partial(repro, project.root, "scaled", 1.0, threading.Event())
    assert run().outcome == SKIPPED
    project.edit("params.yaml", "factor: 2.0e-5", "factor: 3.0e-5")
    assert run().outcome == EXECUTED
    project.edit("params.yaml", "factor: 3.0e-5", "factor: 2.0e-5")
    assert run().outcome == RUN_CACHED  # DVC remembers the run it had with these params
    assert project.stale_in_dvc() == set()


@pytest.mark.parametrize("outcome", [RUN_CACHED, SKIPPED])
def test_what_a_stage_prints_about_itself_does_not_pass_for_dvcs_word(outcome):
    stdout = [*RUNNING, "my Stage 'ppo' didn't change, skipping", "Stage 'other' is cached - skipping run"]
    assert launcher._outcome("ppo", 0, stdout) == EXECUTED
