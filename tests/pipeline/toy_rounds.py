"""Parameters of the toy pipeline: rounds of PPO with a simulated crowd on the fitted policy of `tests.fitted_policy`.

Used by the test of three rounds and by benchmarks/rounds.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.fitted_policy import write_starter

N_ROUNDS = 3


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
        "completions": {"n_per_problem": 8, "max_new_tokens": 56, "temperature": 1.0, "batch_size": 64},
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
