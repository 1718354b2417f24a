"""What a run starts from: nothing, or the result of an earlier round."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from crlhf.errors import MissingInputError
from crlhf.policy.ppo.checkpoints import file_sha256
from crlhf.policy.ppo.saved_state import STATE_FILE, PPOState
from crlhf.policy.ppo.value_head import FILE_NAME


class Start(NamedTuple):
    """What a run takes over beside the weights.

    Attributes:
        value_head: file of the value head, or None: a new one.
        kl_coef: the KL coefficient an earlier round ended with, or None: that of the params.
        length: mean tokens of a completion in the first round ever; 0: this is the first.
        sha256s: hashes of every file of the start, by path below it.
    """

    value_head: Path | None = None
    kl_coef: float | None = None
    length: float = 0.0
    sha256s: dict[str, str] = {}  # noqa: RUF012


def read_start(folder: Path | None, result: str) -> Start:
    """Look at the result of an earlier round.

    Args:
        folder: holds the folder `result`, a value head and `ppo_state.json`; None: there is no earlier round.
        result: name of the folder with the trained weights.

    Raises:
        MissingInputError: a part is not there.
    """
    if folder is None:
        return Start()
    for name in (result, FILE_NAME, STATE_FILE):
        if not (folder / name).exists():
            raise MissingInputError(f"{folder / name}: the round to start from has no such part")
    state = PPOState.load(folder / STATE_FILE)
    files = [*sorted((folder / result).iterdir()), folder / FILE_NAME, folder / STATE_FILE]
    sha256s = {str(path.relative_to(folder)): file_sha256(path) for path in files}
    return Start(folder / FILE_NAME, state.kl.coef, state.start_length, sha256s)
