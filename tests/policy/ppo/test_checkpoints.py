import errno

import pytest

from crlhf.errors import DiskFullError
from crlhf.policy.ppo import checkpoints


def commit(folder, step, key="k", keep=2):
    written = checkpoints.staging_folder(folder) / f"checkpoint-{step}"
    written.mkdir()
    (written / "weights").write_bytes(bytes([step]) * 100)
    (written / "state").write_text(f"step {step}")
    return checkpoints.commit(written, folder, key, step, keep)


def test_the_newest_whole_checkpoint_is_found_and_old_ones_go(tmp_path):
    for step in (2, 4, 10):
        commit(tmp_path, step)
    assert checkpoints.newest(tmp_path, "k") == (tmp_path / "checkpoint-10", 10, 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-4"]


def damage_flip(path):
    data = bytearray((path / "weights").read_bytes())
    data[50] ^= 1
    (path / "weights").write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        damage_flip,
        lambda path: (path / "weights").write_bytes((path / "weights").read_bytes()[:40]),
        lambda path: (path / "state").unlink(),
        lambda path: (path / "manifest.json").unlink(),
        lambda path: (path / "manifest.json").write_text('{"key": "k", "st'),
        lambda path: (path / "stray").write_text("x"),
    ],
    ids=["flipped bit", "cut file", "file gone", "manifest gone", "manifest cut", "file too many"],
)
def test_a_damaged_checkpoint_is_passed_over_and_removed(tmp_path, damage):
    commit(tmp_path, 2)
    damage(commit(tmp_path, 4))
    assert checkpoints.newest(tmp_path, "k") == (tmp_path / "checkpoint-2", 2, 1)
    assert not (tmp_path / "checkpoint-4").exists()


def test_what_a_killed_writer_left_is_no_checkpoint(tmp_path):
    commit(tmp_path, 2)
    written = checkpoints.staging_folder(tmp_path) / "checkpoint-4"
    written.mkdir()
    (written / "weights").write_bytes(b"half")
    assert checkpoints.newest(tmp_path, "k").step == 2
    assert list(checkpoints.staging_folder(tmp_path).iterdir()) == []


def test_a_checkpoint_of_another_run_is_not_gone_on_from(tmp_path):
    commit(tmp_path, 2, key="other")
    assert checkpoints.newest(tmp_path, "k") == (None, 0, 0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "x"), RuntimeError("I/O error: No space left on device (os error 28)")]
)
def test_a_full_disk_is_one_clear_error_and_keeps_the_last_checkpoint(tmp_path, error):
    commit(tmp_path, 2)
    checkpoints.staging_folder(tmp_path)
    with pytest.raises(DiskFullError, match="no space left"), checkpoints.disk_full_explained(tmp_path):
        raise error
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-2"]


def test_other_errors_stay_what_they_are(tmp_path):
    with pytest.raises(ValueError, match="plain"), checkpoints.disk_full_explained(tmp_path):
        raise ValueError("plain")
