"""Two processes on gloo do what one does."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from crlhf.policy.ppo import train_ppo
from tests.policy.ppo.tiny import TEMPERATURE, make_params, make_policy, make_tokenizer, sample_rollouts

ROOT = Path(__file__).parents[3]
SCRIPT = Path(__file__).with_name("many_processes.py")


def run_script(script, *arguments, home=ROOT):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(script)]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", "HOME": str(home)}
    return subprocess.run(
        [*command, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def torchrun(folder, source="replay", *more, **changes):
    return run_script(SCRIPT, str(folder), source, json.dumps(changes), *more, home=folder.parent)


def one_process(folder, **changes):
    model = make_policy()
    return train_ppo(
        model,
        make_tokenizer(),
        sample_rollouts(make_policy()),
        make_params(**changes),
        temperature=TEMPERATURE,
        seed=3,
        folder=folder,
        on_step=lambda step, metrics: None,
    )


def weights(folder):
    result = json.loads((folder / "result.json").read_text())
    names = [name for name in result["files"] if name.endswith(".safetensors")]
    return {f"{file}:{name}": tensor for file in names for name, tensor in load_file(folder / file).items()}, result


def assert_same_update(left, right, atol):
    (mine, told), (other, said) = weights(left), weights(right)
    assert mine.keys() == other.keys()
    for name, tensor in mine.items():
        torch.testing.assert_close(tensor, other[name], atol=atol, rtol=0)
    for a, b in zip(told["history"], said["history"], strict=True):
        for name in ("score", "kl_k3", "policy_loss", "value_loss", "entropy", "length", "grad_norm", "kl_coef"):
            assert a[name] == pytest.approx(b[name], abs=2e-5), (a["step"], name)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_ppo_epochs": 2},
        {"num_ppo_epochs": 1, "fine_tuning": "full", "learning_rate": 1e-3},
        # 8 completions, one micro-batch of 2 in each of 2 processes: the last has less to do
        {"num_ppo_epochs": 1, "batch_size": 2, "micro_batch_size": 2},
    ],
    ids=["LoRA", "full", "processes without completions"],
)
def test_two_processes_make_the_update_of_one(tmp_path, changes):
    ended = torchrun(tmp_path / "two", **changes)
    assert ended.returncode == 0, ended.stderr[-3000:]
    one_process(tmp_path / "one", **changes)
    # Adam divides by the root of a tiny second moment, so a last-bit difference of gradients shows at 1e-6.
    assert_same_update(tmp_path / "one", tmp_path / "two", atol=5e-6)


def test_sigterm_to_one_process_stops_both_and_they_go_on_together(tmp_path):
    """Process 0 is told in step 3; the sums of that step tell the other, and both write the checkpoint."""
    changes = {"num_ppo_epochs": 3, "save_every_steps": 100}
    assert torchrun(tmp_path / "whole", **changes).returncode == 0
    assert torchrun(tmp_path / "cut", "replay", "--sigterm-at", "3", **changes).returncode != 0
    checkpoints = list((tmp_path / "cut" / "checkpoints").iterdir())
    assert [path.name for path in checkpoints] == ["checkpoint-4"]
    assert {"rng_state_0.pth", "rng_state_1.pth"} <= {path.name for path in checkpoints[0].iterdir()}
    assert torchrun(tmp_path / "cut", **changes).returncode == 0
    assert_same_update(tmp_path / "whole", tmp_path / "cut", atol=0)


def test_two_processes_sample_online_and_stay_one_policy(tmp_path):
    ended = torchrun(tmp_path, "online", num_ppo_epochs=1)
    assert ended.returncode == 0, ended.stderr[-3000:]
    _, result = weights(tmp_path)
    # Nine completions a round in steps of at most four: three steps, two rounds.
    assert result["n_steps"] == 6
    assert all(step["gap_to_behaviour"] < 1e-6 for step in result["history"][::3])


def test_two_steps_on_weights_sharded_by_fsdp2_are_those_of_whole_weights():
    ended = run_script(SCRIPT.with_name("sharded.py"))
    assert ended.returncode == 0, ended.stderr[-3000:]
    words = next(line for line in ended.stdout.splitlines() if line.startswith("SHARDED")).split()
    assert words[1] == words[3]  # every weight is sharded
    assert float(words[5]) > 1e-3
    assert float(words[7]) < 5e-6
