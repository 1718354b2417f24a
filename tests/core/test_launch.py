import sys
from pathlib import Path

import pytest

from crlhf.errors import ParamsError
from crlhf.launch import launcher

TORCHRUN = str(Path(sys.executable).with_name("torchrun"))


def test_a_parallel_stage_becomes_its_launcher():
    found = launcher("ppo", ["--root", "x", "ppo"], {"CRLHF_LAUNCH": "torchrun --nproc_per_node 8"})
    assert found == [TORCHRUN, "--nproc_per_node", "8", "-m", "crlhf", "--root", "x", "ppo"]


@pytest.mark.parametrize(
    ("stage", "environment"),
    [
        ("ppo", {}),
        ("rewards", {"CRLHF_LAUNCH": "torchrun"}),
        ("ppo", {"CRLHF_LAUNCH": "torchrun", "WORLD_SIZE": "2"}),
    ],
    ids=["no launcher", "a stage of one process", "launched already"],
)
def test_all_else_goes_on_as_it_is(stage, environment):
    assert launcher(stage, [stage], environment) is None


def test_a_launcher_that_is_not_there_is_named():
    with pytest.raises(ParamsError, match="no program torchrunn"):
        launcher("ppo", ["ppo"], {"CRLHF_LAUNCH": "torchrunn --nproc_per_node 8"})
