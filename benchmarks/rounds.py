"""Three rounds of PPO with a simulated crowd on a toy policy, over seeds: does the true pass rate rise, and why?

Each seed fits a tiny policy that solves about half of a toy family of problems, and runs the project's own stages on it
twice: with the rewards that the crowd's verdicts gave, and with the same rewards shuffled over the completions. The
true pass rate is that of the sampled programs under their tests. Everything here is simulated.

    python benchmarks/rounds.py [--seeds 5] [--rounds 3]

Fails unless the rise is more than three standard errors over the seeds, and that of shuffled rewards is not.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

STAGES = ("completions", "honeypots", "annotations", "validated", "reliabilities", "rewards", "ppo")
T_975 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 8: 2.365, 10: 2.262}
"""Quantiles of Student's t for so many seeds: half widths of 95 % intervals in standard errors."""


def run(root: Path, policy: Path, *, seed: int, n_rounds: int, is_shuffled: bool) -> list[float]:
    """The true pass rate of the base policy and of that of each round."""
    import yaml

    from crlhf.stages import summary_path
    from crlhf.stages.runner import execute
    from tests.pipeline.toy_rounds import toy_params, toy_starter

    for part in ("data/annotations", "data/rounds/base", "data/benchmarks"):
        shutil.copytree(ROOT / part, root / part)
    toy_starter(root)
    values = toy_params(yaml.safe_load((ROOT / "params.yaml").read_text()), policy, seed=seed, n_rounds=n_rounds + 1)
    (root / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    for stage in ("problems", "base_policy"):
        execute(stage, root, quiet)
    rates = []
    for no in range(1, n_rounds + 2):
        name = f"r{no}"
        for stage in STAGES if no <= n_rounds else STAGES[:2]:
            if stage == "ppo" and is_shuffled:
                shuffle_rewards(root, name, seed)
            execute(stage, root, quiet, name)
        rates.append(json.loads((root / summary_path("honeypots", name)).read_text())["metrics"]["pass_rate"])
    return rates


def shuffle_rewards(root: Path, name: str, seed: int) -> None:
    """Give every completion of the round the reward of another."""
    import numpy as np

    from crlhf.store import Store

    store = Store(root, name)
    scores = store.read("scores")
    order = np.random.default_rng([seed, len(name)]).permutation(len(scores))
    store.write("scores", scores.assign(reward=scores["reward"].to_numpy()[order]))


def quiet(text: str) -> None:
    """The stages' own words are not shown."""


def summary(values: list[float]) -> tuple[float, float]:
    """Mean and standard error."""
    mean = sum(values) / len(values)
    return mean, math.sqrt(sum((x - mean) ** 2 for x in values) / (len(values) - 1) / len(values))


def main() -> int:
    """Run all seeds, print the table, and say whether the claims hold."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    os.environ["CRLHF_TRACKING"] = "off"
    from tests.fitted_policy import build_fitted_policy

    found: dict[str, list[list[float]]] = {"crowd": [], "shuffled": []}
    for seed in range(1, options.seeds + 1):
        with tempfile.TemporaryDirectory() as folder:
            os.environ["CRLHF_CACHE"] = f"{folder}/cache"
            started = time.monotonic()
            policy = build_fitted_policy(Path(folder) / "policy", seed=seed)
            print(f"seed {seed}: fitted in {time.monotonic() - started:.0f} s", flush=True)
            for arm, rates in found.items():
                started = time.monotonic()
                root = Path(folder) / arm
                rates.append(run(root, policy, seed=seed, n_rounds=options.rounds, is_shuffled=arm == "shuffled"))
                shown = " ".join(f"{100 * rate:5.1f}" for rate in rates[-1])
                print(f"seed {seed}, {arm:<8}: {shown}   {time.monotonic() - started:.0f} s", flush=True)
    return report(found, options.seeds, options.rounds)


def report(found: dict[str, list[list[float]]], n_seeds: int, n_rounds: int) -> int:
    """Print means with 95 % intervals (t over seeds) and check the claims."""
    half = T_975.get(n_seeds, 1.96)
    print(f"\nTrue pass rate of sampled programs, %, mean over {n_seeds} seeds [95 % interval]; simulated crowd")
    heads = ["base", *(f"r{no}" for no in range(1, n_rounds + 1)), "rise"]
    print("rewards    " + " ".join(f"{head:<22}" for head in heads))
    rises = {}
    for arm, rows in found.items():
        cells = []
        for values in [*zip(*rows, strict=True), tuple(row[-1] - row[0] for row in rows)]:
            mean, error = summary(list(values))
            cells.append(f"{100 * mean:6.1f} [{100 * (mean - half * error):5.1f}, {100 * (mean + half * error):5.1f}]")
            rises[arm] = (mean, error)
        print(f"{arm:<11}" + " ".join(cells))
    for arm, (mean, error) in rises.items():
        print(f"{arm}: the rise is {mean / error if error else math.inf:+.1f} standard errors")
    assert rises["crowd"][0] > 3 * rises["crowd"][1], "the crowd's rewards give no rise of three standard errors"
    assert rises["shuffled"][0] <= 3 * rises["shuffled"][1], "shuffled rewards give a rise"
    return 0


if __name__ == "__main__":
    sys.exit(main())
