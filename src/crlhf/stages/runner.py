"""Running one stage: params in, tables out, a summary for DVC and Dagster, a child run for MLflow.

The summary depends on inputs and params only; wall time goes to `.crlhf/timings/`, which nothing depends on.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from crlhf.errors import ParamsError
from crlhf.launch import is_main_process
from crlhf.params import Params, load_params
from crlhf.schema import Summary
from crlhf.stages import BASE, instance_name, summary_path
from crlhf.stages.digests import digest, round_seed
from crlhf.store import Journal, Store, atomic_write, write_json

if TYPE_CHECKING:
    from crlhf.tracking import StageRun


FIGURES = "reports/figures"
PARTIAL = ".crlhf/partial"
"""Where unfinished work lies, by stage and round."""
_N_HASH = 16  # hex digits in the name of a work folder


class Context(NamedTuple):
    """What a stage works with.

    Attributes:
        params: the whole of params.yaml.
        store: the tables.
        round: the round that the stage is run for, or the policy (`base`, or the round that trained it); else None.
        say: prints one line for the person who waits.
        run: the stage's MLflow run; a null object when tracking is off.
    """

    params: Params
    store: Store
    round: str | None
    say: Callable[[str], None]
    run: StageRun

    @property
    def previous(self) -> str:
        """The round before, with whose policy and knowledge of the crowd this one begins; `base` for the first."""
        assert self.round
        return self.params.rounds[self.round].prev

    @property
    def seed(self) -> int:
        """The seed of this round's draws: the same in every project with this params seed, another in every round."""
        assert self.round
        return round_seed(self.params.seed, self.round)

    def path(self, relative: str) -> Path:
        """The absolute path of `relative`, a path below the project's root."""
        return self.store.path(relative)

    def keep_figure(self, name: str, content: bytes) -> str:
        """Write a PNG to reports/figures (a round's into its own folder) and return its path below the root."""
        relative = f"{FIGURES}/{self.round}/{name}.png" if self.round else f"{FIGURES}/{name}.png"
        with atomic_write(self.path(relative)) as file:
            file.write(content)
        self.run.log_artifact(self.path(relative), "figures")
        return relative

    def work_folder(self, name: str, *inputs: object) -> Path:
        """A folder for unfinished work, named by a hash of what the work depends on.

        It is removed when the stage has ended well, with those of other inputs that were never finished.
        """
        return self.path(f"{PARTIAL}/{instance_name(name, self.round)}-{digest(*inputs)[:_N_HASH]}")

    def journal(self, name: str, *inputs: object) -> Journal:
        """A journal of finished pieces that holds only while `inputs` stay the same."""
        return Journal(self.path(f"{PARTIAL}/{instance_name(name, self.round)}.jsonl"), digest(*inputs))


def execute(stage: str, root: Path, say: Callable[[str], None], round_name: str | None = None) -> Summary:
    """Run one stage in the project at `root`, for one round or policy where it has them, and write its summary.

    Raises:
        CrlhfError: with one clear sentence, when a user can mend what is wrong.
    """
    from crlhf import tracking

    params = load_params(root / "params.yaml")
    module = import_module(f"crlhf.stages.{stage}")
    if round_name not in (None, BASE, *params.rounds):
        raise ParamsError(f"params.yaml has no round {round_name}; it has {', '.join(params.rounds)}")
    instance = instance_name(stage, round_name)
    store = Store(root, round_name)
    started = time.monotonic()
    if not is_main_process():  # it helps to compute; another process writes, tracks and speaks
        quiet = Context(params, store, round_name, lambda text: None, tracking.StageRun())
        result: Summary = module.run(quiet)
        return result
    with tracking.stage_run(instance, store.root, params, say) as run:
        summary: Summary = module.run(Context(params, store, round_name, say, run))
        write_json(store.path(summary_path(stage, round_name)), summary_dict(instance, summary))
        seconds = time.monotonic() - started
        write_json(store.path(f".crlhf/timings/{instance}.json"), {"seconds": round(seconds, 3)})
        run.log_summary(summary, seconds)
    for work in store.path(PARTIAL).glob(f"{instance}-{'[0-9a-f]' * _N_HASH}"):  # last: till here it may be needed
        shutil.rmtree(work, ignore_errors=True)
    for check in summary.checks:
        if not check.passed:
            say(f"{instance}: {check.severity}: {check.name}: {check.description} ({check.n_unexpected} rows)")
    return summary


def summary_dict(instance: str, summary: Summary) -> dict[str, Any]:
    """The summary as it is written to `metrics/`: also what Dagster reads."""
    return {
        "stage": instance,
        "metrics": summary.metrics,
        "facts": summary.facts,
        "checks": [check._asdict() for check in summary.checks],
        "is_simulated": summary.is_simulated,
        "figures": list(summary.figures),
    }
