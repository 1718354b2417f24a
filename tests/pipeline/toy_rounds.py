"""Parameters of the toy pipeline: rounds of PPO with a simulated crowd on the fitted policy of `tests.fitted_policy`.

Used by the test of three rounds and by benchmarks/rounds.py.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from tests.fitted_policy import write_starter

ROOT = Path(__file__).parents[2]
N_ROUNDS = 3
ROUND_STAGES = ("completions", "honeypots", "annotations", "validated", "reliabilities", "rewards", "ppo")
"""The stages of a round, in order; what its policy scores on benchmarks is left out."""


def toy_params(values: dict[str, Any], policy: Path, *, seed: int, n_rounds: int = N_ROUNDS) -> dict[str, Any]:
    """The shipped params with the sections changed that a tiny policy needs otherwise."""
    annotators = {
        "expert": {"n": 3, "sensitivity": [18, 2], "specificity": [49, 1]},
        "average": {"n": 3, "sensitivity": [8, 4], "specificity": [30, 2]},
        "adversarial": {"n": 1, "sensitivity": [4, 16], "specificity": [4, 16]},
    }
    changes: dict[str, dict[str, Any]] = {
        "problems": {"training": "starter", "near_duplicate_threshold": 1.0},
        "base_policy": {"name": "toy policy", "source": "path", "location": str(policy)},
        "completions": {
            "n_problems": 16, "n_per_problem": 8, "max_new_tokens": 56, "temperature": 1.0, "batch_size": 64,
        },
        "honeypots": {"n": 12},
        "crowd": {"verdicts_per_completion": 4, "honeypots_per_annotator": 6, "annotators": annotators},
        "ppo": {
            "lora_r": 8, "lora_alpha": 16, "num_ppo_epochs": 4, "batch_size": 32, "micro_batch_size": 32,
            "learning_rate": 1e-3, "value_learning_rate": 1e-3, "kl_coef": 0.02, "max_kl": 50.0, "save_every_steps": 8,
        },
        "benchmarks": {
            "humaneval": values["benchmarks"]["humaneval"] | {"limit": 1},
            "mbpp": values["benchmarks"]["mbpp"] | {"limit": 1},
            "max_new_tokens": 8,
        },
        "report": {"n_bootstrap": 200},
    }  # fmt: skip
    merged = {name: section | changes.get(name, {}) if isinstance(section, dict) else section
              for name, section in values.items()}  # fmt: skip
    return merged | {"seed": seed} | rounds(n_rounds)


def rounds(n: int) -> dict[str, Any]:
    """The sections `rounds` and `policies` of n rounds in a row."""
    found = {f"r{no}": {"prev": f"r{no - 1}" if no > 1 else "base"} for no in range(1, n + 1)}
    return {"rounds": found, "policies": {"base": {}} | {name: dict(one) for name, one in found.items()}}


def toy_starter(root: Path) -> None:
    """Put the toy family in the place of the starter set."""
    path = root / "data/starter/problems.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_starter(path)


def run_rounds(
    root: Path, policy: Path, *, seed: int, n_rounds: int = N_ROUNDS, is_shuffled: bool = False
) -> list[float]:
    """Run the stages of `n_rounds` rounds in the new folder `root`, in this process.

    Args:
        root: a folder to make the project in.
        policy: the fitted policy.
        seed: of every draw of the stages.
        n_rounds: how often the crowd is asked and PPO learns.
        is_shuffled: PPO gets every completion's reward for another completion of the round.

    Returns:
        The true pass rates of what the base policy and the policy of each round write: 1 + n_rounds numbers.
    """
    import yaml

    from crlhf.stages import summary_path
    from crlhf.stages.runner import execute

    for part in ("data/annotations", "data/rounds/base", "data/benchmarks", "data/sql"):
        shutil.copytree(ROOT / part, root / part)
    toy_starter(root)
    values = toy_params(yaml.safe_load((ROOT / "params.yaml").read_text()), policy, seed=seed, n_rounds=n_rounds + 1)
    (root / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    for stage in ("problems", "base_policy"):
        execute(stage, root, _quiet)
    rates = []
    for no in range(1, n_rounds + 2):
        name = f"r{no}"
        for stage in ROUND_STAGES if no <= n_rounds else ROUND_STAGES[:2]:
            if stage == "ppo" and is_shuffled:
                _shuffle_rewards(root, name, [seed, no])
            execute(stage, root, _quiet, name)
        rates.append(json.loads((root / summary_path("honeypots", name)).read_text())["metrics"]["pass_rate"])
    return rates


def _shuffle_rewards(root: Path, name: str, seed: list[int]) -> None:
    """Give every completion of the round the reward of another, drawn anew in each round."""
    import numpy as np

    from crlhf.store import Store

    store = Store(root, name)
    scores = store.read("scores")
    order = np.random.default_rng(seed).permutation(len(scores))
    store.write("scores", scores.assign(reward=scores["reward"].to_numpy()[order]))


def _quiet(text: str) -> None:
    """The stages' own words are not shown."""
