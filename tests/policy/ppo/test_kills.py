"""Killed inside a checkpoint write, inside generation, or anywhere: the final weights are those of a run left alone.

The twenty kills are a slow test (`pytest -m slow tests/policy/ppo/test_kills.py`); one of each kind runs always.
"""

import os
import random
import shutil
import signal
import time

import pytest
import torch

from crlhf.cli import _on_sigterm
from crlhf.policy.ppo import checkpoints
from tests.policy.ppo.test_resume import files, in_child, online

KINDS = ("write", "generation", "anywhere", "sigterm")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killed_in_write(folder, nth):
    """Die halfway through the nth file that checkpoints consist of, its bytes cut; or while files are flushed."""
    import safetensors.torch

    from crlhf.policy.ppo import rollouts, tuning, value_head

    count = [0]

    def cut(inner, path_of):
        def write(*args, **kwargs):
            count[0] += 1
            if count[0] < nth:
                return inner(*args, **kwargs)
            inner(*args, **kwargs)
            path = path_of(args)
            if path is not None:
                data = path.read_bytes()
                path.write_bytes(data[: len(data) // 2])
            return die()

        return write

    def path_of(args):
        return next((arg for arg in args if isinstance(arg, os.PathLike)), None)

    safetensors.torch.save_file = cut(safetensors.torch.save_file, path_of)
    value_head.save_file = rollouts.save_file = safetensors.torch.save_file
    assert not hasattr(tuning, "save_file")  # it imports the function when it saves
    torch.save = cut(torch.save, path_of)
    checkpoints._fsync = cut(checkpoints._fsync, lambda args: None)
    online(folder)


def killed_in_generation(folder, nth):
    """Die in the nth forward pass of `generate`."""
    from crlhf.policy.ppo.trainer import CrowdPPOTrainer

    inner, count = CrowdPPOTrainer._generate, [0]

    def generate(self, prompts):
        def counted(*_):
            count[0] += 1
            if count[0] == nth:
                die()

        hook = self.model.get_base_model().register_forward_pre_hook(counted)
        try:
            return inner(self, prompts)
        finally:
            hook.remove()

    CrowdPPOTrainer._generate = generate
    online(folder)


def kill(kind, folder, draw, seconds):
    """Start a run in a process of its own and kill it once in the way of `kind`; True if it died of that."""
    if kind in ("write", "generation"):
        # Two rounds of five tokens: ten passes of generation. Nine steps write a checkpoint of some twenty calls each.
        nth = draw.randint(1, 60) if kind == "write" else draw.randint(1, 10)
        process = in_child(killed_in_write if kind == "write" else killed_in_generation, folder, nth)
        process.join(120)
        return process.exitcode == -signal.SIGKILL

    for _ in range(20):
        process = in_child(with_the_command_lines_handler, folder)
        time.sleep(draw.uniform(0.1, 0.9) * seconds)
        (process.kill if kind == "anywhere" else process.terminate)()
        process.join(120)
        if process.exitcode in (-signal.SIGKILL, -signal.SIGTERM, 128 + signal.SIGTERM):
            return True
        # It was done before the signal came, which is no kill: the machine is faster now than it was.
        shutil.rmtree(folder, ignore_errors=True)
        seconds *= 0.8
    return False


def with_the_command_lines_handler(folder):
    """What `crlhf ppo` does at SIGTERM: the exit code 143, after a checkpoint was written."""
    signal.signal(signal.SIGTERM, _on_sigterm)
    try:
        online(folder)
    except SystemExit as end:
        os._exit(end.code)


def check(tmp_path, kinds, seed):
    online(tmp_path / "warm")
    started = time.perf_counter()
    online(tmp_path / "whole")
    seconds, expected, draw = time.perf_counter() - started, files(tmp_path / "whole"), random.Random(seed)
    n_killed = dict.fromkeys(KINDS, 0)
    for no, kind in enumerate(kinds):
        folder = tmp_path / f"{no}-{kind}"
        n_killed[kind] += kill(kind, folder, draw, seconds)
        resumed = online(folder)
        assert files(folder) == expected, f"kill {no}, {kind}"
        assert resumed.n_damaged_checkpoints == 0
    return n_killed


def test_one_kill_of_each_kind_changes_nothing(tmp_path):
    killed = check(tmp_path, ["write", "generation", "anywhere"], seed=1)
    assert killed["write"] == killed["generation"] == 1


@pytest.mark.slow
def test_twenty_kills_end_with_twenty_times_the_same_weights(tmp_path):
    killed = check(tmp_path, ["write"] * 7 + ["generation"] * 6 + ["anywhere"] * 4 + ["sigterm"] * 3, seed=2)
    print(f"\nkilled: {killed}")
    assert killed["write"] >= 5
    assert killed["generation"] >= 5
    assert sum(killed.values()) == 20
