"""One stage in several processes: how they are started, and which of them speaks.

`CRLHF_LAUNCH` holds the launcher of this machine, for example `torchrun --nproc_per_node 8` or
`accelerate launch --config_file configs/fsdp.yaml`. It is not in params.yaml: how many devices a machine has is no
property of the experiment, and what is computed is the same but for rounding.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from crlhf.errors import ParamsError

VARIABLE = "CRLHF_LAUNCH"
PARALLEL_STAGES = ("ppo",)


def is_main_process() -> bool:
    """Whether this process writes files, tracks the run and speaks; True where there is only one."""
    return os.environ.get("RANK", "0") == "0"


def is_alone() -> bool:
    """Whether no other process helps this one to compute."""
    return os.environ.get("WORLD_SIZE", "1") == "1"


def launcher(stage: str, arguments: Sequence[str], environment: Mapping[str, str]) -> list[str] | None:
    """The command that this command is to become, or None when it goes on as it is.

    Args:
        stage: the stage that is about to run.
        arguments: those of this command, without the program.
        environment: of this process.

    Raises:
        ParamsError: the launcher is not there.
    """
    wanted = environment.get(VARIABLE)
    if not wanted or stage not in PARALLEL_STAGES or "WORLD_SIZE" in environment:
        return None
    program, *options = shlex.split(wanted)
    beside = Path(sys.executable).with_name(program)
    found = str(beside) if beside.is_file() else shutil.which(program)
    if found is None:
        raise ParamsError(f"{VARIABLE}: there is no program {program}; it begins with torchrun or accelerate launch")
    return [found, *options, "-m", "crlhf", *arguments]


def relaunch(stage: str) -> None:
    """Become the launcher that the environment asks for; returns where none is asked for."""
    command = launcher(stage, sys.argv[1:], os.environ)
    if command:
        sys.stdout.flush()
        sys.stderr.flush()
        os.execv(command[0], command)
