"""A run that is killed at any moment ends with the weights of a run that was not."""

import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from crlhf.errors import DiskFullError
from crlhf.policy.ppo import checkpoints, train_ppo, train_ppo_online
from tests.policy.ppo.tiny import TEMPERATURE, make_params, make_policy, make_tokenizer, sample_rollouts

PROMPTS = ["w4 w5 w6", "w20 w7", "w9"]


def replay(folder, on_step=lambda step, metrics: None, **changes):
    more = {name: changes.pop(name) for name in ("keep_checkpoints", "seed", "say") if name in changes}
    model = make_policy()
    return train_ppo(
        model,
        make_tokenizer(),
        sample_rollouts(model),
        make_params(**({"num_ppo_epochs": 3} | changes)),
        temperature=TEMPERATURE,
        folder=folder,
        on_step=on_step,
        **({"seed": 3} | more),
    )


def distinct_words(prompts, completions):
    """A score for every completion but those that say w3 before another word."""
    return [None if "w3 w" in text else float(len(set(text.split()))) for text in completions]


def online(folder, on_step=lambda step, metrics: None, **changes):
    return train_ppo_online(
        make_policy(),
        make_tokenizer(),
        PROMPTS,
        lambda prompts, completions: [
            None if "w3 w" in text else float(len(set(text.split()))) for text in completions
        ],
        make_params(**({"save_every_steps": 1} | changes)),
        n_per_prompt=3,
        n_rounds=2,
        max_new_tokens=5,
        temperature=TEMPERATURE,
        seed=3,
        folder=folder,
        on_step=on_step,
    )


def files(folder):
    return {
        name: (folder / name).read_bytes()
        for name in ("adapter/adapter_model.safetensors", "value_head.safetensors", "result.json")
    }


def stop_at(step):
    def on_step(no, _):
        if no == step:
            raise KeyboardInterrupt

    return on_step


def in_child(work, *arguments):
    """Start `work` in a process of its own, which ends without running the test suite's exit handlers."""

    def target():
        torch.set_num_threads(1)
        work(*arguments)
        os._exit(0)

    process = multiprocessing.get_context("fork").Process(target=target)
    process.start()
    return process


@pytest.mark.parametrize(
    ("run", "save_every_steps", "stops"),
    [(replay, 1, (1, 2, 4, 6)), (replay, 2, (3, 4, 6)), (online, 1, (2, 5, 7))],
    ids=["replay", "replay, every second step", "online"],
)
def test_an_interrupted_run_ends_as_an_uninterrupted_one(tmp_path, run, save_every_steps, stops):
    """Stops lie within a round, within an epoch, at the end of one, and where an online run draws anew."""
    whole = run(tmp_path / "whole", save_every_steps=save_every_steps)
    for step in stops:
        folder, seen = tmp_path / str(step), []
        with pytest.raises(KeyboardInterrupt):
            run(folder, stop_at(step), save_every_steps=save_every_steps)
        resumed = run(folder, lambda no, _, seen=seen: seen.append(no), save_every_steps=save_every_steps)
        saved = (step - 1) // save_every_steps * save_every_steps
        assert resumed.resumed_from_step == saved
        assert seen == list(range(saved + 1, whole.n_steps + 1))
        assert files(folder) == files(tmp_path / "whole")
        assert resumed.history == whole.history


def test_a_run_killed_between_its_last_checkpoint_and_its_result_ends_without_a_step(tmp_path):
    whole = replay(tmp_path, keep_checkpoints=True)
    expected = files(tmp_path)
    (tmp_path / "result.json").unlink()
    steps = []
    again = replay(tmp_path, lambda step, _: steps.append(step))
    assert (again.resumed_from_step, steps) == (whole.n_steps, [])
    assert files(tmp_path) == expected


def test_kill_nine_at_random_moments_changes_nothing(tmp_path):
    started = time.perf_counter()
    replay(tmp_path / "whole")
    seconds = time.perf_counter() - started
    expected = files(tmp_path / "whole")
    rng = random.Random(0)
    n_killed = 0
    for no in range(4):
        folder = tmp_path / str(no)
        for _ in range(2):
            process = in_child(replay, folder)
            process.join(rng.uniform(0.2, 1.0) * seconds)
            n_killed += process.is_alive()
            process.kill()
            process.join()
        replay(folder)
        assert files(folder) == expected
    assert n_killed >= 4


@pytest.mark.parametrize("nth_flush", [1, 6, 10, 11, 12, 16])
def test_kill_nine_inside_a_checkpoint_write_changes_nothing(tmp_path, nth_flush, monkeypatch):
    """A checkpoint flushes its ten files, its own folder and, once renamed, its parent: twelve flushes each."""
    real, count = checkpoints._fsync, [0]

    def fsync(path: Path) -> None:
        count[0] += 1
        if count[0] == nth_flush:
            os.kill(os.getpid(), signal.SIGKILL)
        real(path)

    replay(tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "_fsync", fsync)
        process = in_child(replay, tmp_path / "killed")
        process.join(120)
    assert process.exitcode == -signal.SIGKILL
    resumed = replay(tmp_path / "killed")
    # The first checkpoint is in place once eleven flushes are done and it is renamed.
    assert resumed.resumed_from_step == nth_flush // 12
    assert resumed.n_damaged_checkpoints == 0
    assert files(tmp_path / "killed") == files(tmp_path / "whole")


@pytest.mark.parametrize("run", [replay, online])
def test_sigterm_writes_a_checkpoint_and_ends_the_process(tmp_path, run):
    """Checkpoints every 100 steps: the one that the next run goes on from is the one that SIGTERM wrote."""
    run(tmp_path / "whole", save_every_steps=100)

    def terminated_in_step_five(step, _):
        if step == 4:  # the handler raises within the next micro-batch
            os.kill(os.getpid(), signal.SIGTERM)

    def child():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        run(tmp_path / "killed", terminated_in_step_five, save_every_steps=100)

    process = in_child(child)
    process.join(120)
    assert process.exitcode == -signal.SIGTERM
    assert run(tmp_path / "killed", save_every_steps=100).resumed_from_step == 4
    assert files(tmp_path / "killed") == files(tmp_path / "whole")


def test_sigterm_does_what_the_callers_handler_does_once_the_checkpoint_is_there(tmp_path):
    replay(tmp_path / "whole")

    def handler(signum, frame):
        assert (tmp_path / "run" / "checkpoints" / "checkpoint-3").is_dir()
        raise SystemExit(128 + signum)

    before = signal.signal(signal.SIGTERM, handler)
    try:
        with pytest.raises(SystemExit, match="143"):
            replay(
                tmp_path / "run",
                lambda step, _: step == 3 and signal.raise_signal(signal.SIGTERM),
                save_every_steps=100,
            )
        assert signal.getsignal(signal.SIGTERM) is handler
    finally:
        signal.signal(signal.SIGTERM, before)
    replay(tmp_path / "run")
    assert files(tmp_path / "run") == files(tmp_path / "whole")


def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path):
    replay(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        replay(tmp_path / "hurt", stop_at(4))
    weights = tmp_path / "hurt" / "checkpoints" / "checkpoint-3" / "adapter_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    said = []
    resumed = replay(tmp_path / "hurt", say=said.append)
    assert (resumed.resumed_from_step, resumed.n_damaged_checkpoints) == (2, 1)
    assert said == [
        "PPO: 1 damaged checkpoint(s) found and removed",
        "PPO: going on after step 2, from the last good checkpoint",
    ]
    assert files(tmp_path / "hurt") == files(tmp_path / "whole")


def test_other_inputs_start_anew(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        replay(tmp_path / "run", stop_at(3))
    other = replay(tmp_path / "run", seed=4)
    assert other.resumed_from_step == 0
    replay(tmp_path / "fresh", seed=4)
    assert files(tmp_path / "run") == files(tmp_path / "fresh")


def test_how_often_a_run_saves_does_not_make_it_another_run(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        replay(tmp_path / "run", stop_at(3))
    assert replay(tmp_path / "run", save_every_steps=5).resumed_from_step == 2


def test_a_finished_run_is_not_trained_again_unless_its_files_changed(tmp_path):
    first = replay(tmp_path)
    steps = []
    again = replay(tmp_path, lambda step, _: steps.append(step))
    assert steps == []
    assert again == first._replace(resumed_from_step=first.n_steps)
    expected = files(tmp_path)
    (first.weights / "adapter_model.safetensors").write_bytes(b"")
    assert replay(tmp_path).resumed_from_step == 0
    assert files(tmp_path) == expected


def test_checkpoints_go_at_the_end_unless_they_are_wanted(tmp_path):
    replay(tmp_path / "gone")
    assert sorted(path.name for path in (tmp_path / "gone").iterdir()) == [
        "adapter",
        "ppo_state.json",
        "result.json",
        "value_head.safetensors",
    ]
    kept = replay(tmp_path / "kept", keep_checkpoints=True)
    names = sorted(path.name for path in (tmp_path / "kept" / "checkpoints").iterdir())
    assert names == [f"checkpoint-{kept.n_steps - 1}", f"checkpoint-{kept.n_steps}"]


def test_a_checkpoint_holds_everything_training_depends_on(tmp_path):
    replay(tmp_path, keep_checkpoints=True)
    newest = max((tmp_path / "checkpoints").iterdir(), key=lambda path: path.stat().st_mtime)
    manifest = json.loads((newest / "manifest.json").read_text())
    assert set(manifest["files"]) == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "optimizer.pt",
        "ppo_state.json",
        "rng_state.pth",
        "rollouts.safetensors",
        "scheduler.pt",
        "trainer_state.json",
        "value_head.safetensors",
    }
    optimizer = torch.load(newest / "optimizer.pt", weights_only=True)
    n_adapter = len(load_file(newest / "adapter_model.safetensors"))
    assert [len(group["params"]) for group in optimizer["param_groups"]] == [n_adapter, 2]
    assert len(optimizer["state"]) == n_adapter + 2
    shutil.rmtree(tmp_path / "checkpoints")


@pytest.fixture
def small_disk(tmp_path):
    """A disk of two megabytes, in memory."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk takes more rights than this process has")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)  # rollouts that were read are still mapped


def test_a_full_disk_is_a_clear_error_that_loses_nothing(tmp_path, small_disk):
    whole = replay(tmp_path / "whole")

    def fill_at_step_three(step, _):
        if step == 3:  # leave room for a part of the next checkpoint
            (small_disk / "ballast").write_bytes(b"x" * (shutil.disk_usage(small_disk).free - 40_000))

    with pytest.raises(DiskFullError, match=r"no space left on the disk .*; free some and run again"):
        replay(small_disk / "run", fill_at_step_three)
    (small_disk / "ballast").unlink()
    resumed = replay(small_disk / "run")
    assert (resumed.resumed_from_step, resumed.n_damaged_checkpoints) == (2, 0)
    assert files(small_disk / "run") == files(tmp_path / "whole")
    assert resumed.history == whole.history


def test_a_limit_on_the_size_of_files_is_the_same_error(tmp_path):
    """As `ulimit -f` sets it: the operating system says that the file is too large."""

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        try:
            replay(tmp_path / "run")
        except DiskFullError:
            os._exit(66)

    process = in_child(limited)
    process.join(120)
    assert process.exitcode == 66
    replay(tmp_path / "whole")
    replay(tmp_path / "run")
    assert files(tmp_path / "run") == files(tmp_path / "whole")


def test_the_kl_coefficient_survives_a_stop(tmp_path):
    """Two rounds online, the coefficient of the second rests on KL that was seen before the stop."""
    adaptive = {"kl_control": "adaptive", "kl_target": 1e-3, "kl_horizon": 20.0}
    whole = online(tmp_path / "whole", **adaptive)
    assert whole.history[-1]["kl_coef"] > whole.history[0]["kl_coef"]
    n_round = whole.n_steps // 2
    for step in (n_round - 1, n_round, n_round + 1):
        with pytest.raises(KeyboardInterrupt):
            online(tmp_path / str(step), stop_at(step), **adaptive)
        assert online(tmp_path / str(step), **adaptive) == whole._replace(
            weights=tmp_path / str(step) / "adapter",
            value_head=tmp_path / str(step) / "value_head.safetensors",
            resumed_from_step=step - 1,
        )
        assert files(tmp_path / str(step)) == files(tmp_path / "whole")


def test_full_fine_tuning_resumes_exactly(tmp_path):
    full = {"fine_tuning": "full", "learning_rate": 1e-3}
    replay(tmp_path / "whole", **full)
    with pytest.raises(KeyboardInterrupt):
        replay(tmp_path / "cut", stop_at(3), **full)
    assert replay(tmp_path / "cut", **full).resumed_from_step == 2
    for name in ("policy/model.safetensors", "value_head.safetensors", "result.json"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
