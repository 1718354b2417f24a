"""What a checkpoint of PPO holds beside the trainer's own state, and how the trainer writes and reads it.

| file | what it is |
| --- | --- |
| `adapter_model.safetensors` or `model.safetensors` | the trained weights |
| `value_head.safetensors` | the value head |
| `rollouts.safetensors` | the round's completions with log-probabilities, values, advantages, returns |
| `ppo_state.json` | the KL coefficient, what it has seen, the round, the length at the start |
| `optimizer.pt`, `scheduler.pt`, `rng_state*.pth`, `trainer_state.json` | transformers' own |
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from crlhf.policy.ppo import checkpoints, processes
from crlhf.policy.ppo.kl_control import KLControl
from crlhf.policy.ppo.rollouts import Rollouts
from crlhf.policy.ppo.value_head import FILE_NAME
from crlhf.store import read_json, write_json

ROLLOUTS_FILE = "rollouts.safetensors"
STATE_FILE = "ppo_state.json"
KEEP_CHECKPOINTS = 2


class PPOState(NamedTuple):
    """Small numbers that a run carries along; floats are written so that they are read back exactly.

    Attributes:
        round_no: the round whose rollouts are at hand.
        start_length: mean tokens of a completion in the first round ever; 0 before there is one.
        kl: the KL coefficient and what it rests on.
    """

    round_no: int
    start_length: float
    kl: KLControl

    def save(self, path: Path) -> None:
        """Write as JSON."""
        write_json(path, {"round_no": self.round_no, "start_length": self.start_length, **vars(self.kl)})

    @classmethod
    def load(cls, path: Path) -> PPOState:
        """Read what `save` wrote."""
        values = read_json(path)
        kl = KLControl(values["coef"], values["kl_sum"], values["n_seen"])
        return cls(int(values["round_no"]), float(values["start_length"]), kl)


class SavesExactly:
    """The part of the trainer that writes and reads checkpoints: whole or not at all, exact at every step."""

    args: Any
    state: Any
    model: Any
    accelerator: Any
    value_head: Any
    tuning: Any
    rollouts: Rollouts | None
    key: str
    kl: KLControl
    start_length: float
    _round_no: int
    _staging: Path | None = None

    @property
    def ppo_state(self) -> PPOState:
        """The numbers to be kept."""
        return PPOState(self._round_no, self.start_length, self.kl)

    def save_now(self) -> None:
        """Write a checkpoint of the last finished step, unless it is there or nothing has been computed yet."""
        done = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        if self.rollouts is not None and not done.exists():
            self._save_checkpoint(self.model, trial=None)

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._staging or self.args.output_dir)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = Path(self.args.output_dir)
        with checkpoints.disk_full_explained(folder):
            if processes.rank() == 0:
                checkpoints.staging_folder(folder)
            processes.wait_for_all()
            self._staging = folder / checkpoints.STAGING
            super()._save_checkpoint(model, trial)  # type: ignore[misc]
            processes.wait_for_all()
            written = self._staging / f"checkpoint-{self.state.global_step}"
            if processes.rank() == 0:
                if self.rollouts is not None:
                    self.rollouts.save(written / ROLLOUTS_FILE)
                self.ppo_state.save(written / STATE_FILE)
                checkpoints.commit(written, folder, self.key, self.state.global_step, KEEP_CHECKPOINTS)
            processes.wait_for_all()
            self._staging = None

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        if processes.rank() > 0:  # every process is asked
            return
        written = Path(output_dir or self.args.output_dir)
        self.tuning.save(self.model, written, state_dict)
        self.value_head.save(written / FILE_NAME)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Weights, value head, and the rollouts of the round with the advantages that its updates go on using."""
        saved = Path(resume_from_checkpoint)
        self.tuning.load(self.model, saved)
        self.value_head.load(saved / FILE_NAME)
        self.rollouts = Rollouts.load(saved / ROLLOUTS_FILE)
        self._round_no, self.start_length, self.kl = PPOState.load(saved / STATE_FILE)
