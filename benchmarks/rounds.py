"""Three rounds of PPO with a simulated crowd on a toy policy, over seeds: does the true pass rate rise, and why?

Each seed fits a tiny policy that solves about half of a toy family of problems, and runs the project's own stages on it
twice: with the rewards that the crowd's verdicts gave, and with the same rewards shuffled over the completions. The
true pass rate is that of the sampled programs (128 a policy) under their tests. Everything here is simulated.

    python benchmarks/rounds.py [--seeds 5] [--first-seed 1] [--rounds 3]

Every seed counts. A rise is last minus first pass rate of one seed; intervals are Student's t over seeds. Ends with
exit code 1 unless the rise, and what it is more than with shuffled rewards, are above three standard errors over the
seeds, and shuffled rewards give no rise: zero or less lies within their 95 % interval.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
# One thread is fastest for so small a policy, and gives the same sums on every number of cores.
os.environ.update(CRLHF_TRACKING="off", OMP_NUM_THREADS="1", TQDM_DISABLE="1")

ARMS = ("crowd", "shuffled")


class Mean(NamedTuple):
    """A mean over seeds, its standard error, and the half width of its 95 % interval."""

    mean: float
    error: float
    half: float

    @classmethod
    def of(cls, values: list[float]) -> Mean:
        """Of one value a seed; Student's t with n - 1 degrees of freedom."""
        import numpy as np
        from scipy.stats import t

        error = float(np.std(values, ddof=1) / len(values) ** 0.5)
        return cls(float(np.mean(values)), error, float(t.ppf(0.975, len(values) - 1)) * error)

    def __str__(self) -> str:
        return f"{100 * self.mean:.1f} [{100 * (self.mean - self.half):.1f}, {100 * (self.mean + self.half):.1f}]"


def main() -> int:
    """Run all seeds, print the tables, and say whether the claims hold."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if options.seeds < 2:
        parser.error("--seeds: an interval over seeds needs two at least")
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    heads = ["base", *(f"r{no}" for no in range(1, options.rounds + 1))]
    print(f"| seed | rewards | {' | '.join(heads)} | rise |\n|{' --- |' * (len(heads) + 3)}", flush=True)
    rows: dict[str, list[list[float]]] = {arm: [] for arm in ARMS}
    for seed in seeds:
        for arm, rates in one_seed(seed, options.rounds).items():
            rows[arm].append(rates)
            cells = " | ".join(f"{100 * rate:.1f}" for rate in rates)
            print(f"| {seed} | {arm} | {cells} | {100 * (rates[-1] - rates[0]):+.1f} |", flush=True)
    return report(rows, heads)


def one_seed(seed: int, n_rounds: int) -> dict[str, list[float]]:
    """True pass rates of the base and of each round's policy, for either kind of rewards."""
    from tests.fitted_policy import build_fitted_policy
    from tests.pipeline.toy_rounds import run_rounds

    with tempfile.TemporaryDirectory() as name:
        folder, started = Path(name), time.monotonic()
        os.environ["CRLHF_CACHE"] = str(folder / "cache")
        policy = build_fitted_policy(folder / "policy", seed=seed)
        found = {
            arm: run_rounds(folder / arm, policy, seed=seed, n_rounds=n_rounds, is_shuffled=arm == "shuffled")
            for arm in ARMS
        }
        print(f"seed {seed}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
        return found


def report(rows: dict[str, list[list[float]]], heads: list[str]) -> int:
    """Print means over seeds with 95 % intervals and check the claims."""
    rises = {arm: [rates[-1] - rates[0] for rates in rows[arm]] for arm in ARMS}
    print(f"\nTrue pass rate, %, mean over {len(rises['crowd'])} seeds [95 % interval]; simulated crowd\n")
    print(f"| rewards | {' | '.join(heads)} | rise | in standard errors |\n|{' --- |' * (len(heads) + 3)}")
    for arm in ARMS:
        means = [str(Mean.of(list(column))) for column in zip(*rows[arm], strict=True)]
        rise = Mean.of(rises[arm])
        print(f"| {arm} | {' | '.join(means)} | {rise} | {rise.mean / rise.error:+.1f} |")
    crowd, shuffled = Mean.of(rises["crowd"]), Mean.of(rises["shuffled"])
    gap = Mean.of([a - b for a, b in zip(rises["crowd"], rises["shuffled"], strict=True)])
    print(f"\nRise with the crowd's rewards less that with shuffled ones, paired by seed: {gap} points")
    claims = {
        "the rise with the crowd's rewards is above three standard errors": crowd.mean > 3 * crowd.error,
        "it is more than with shuffled rewards by above three standard errors": gap.mean > 3 * gap.error,
        "shuffled rewards give no rise": shuffled.mean - shuffled.half <= 0,
    }
    for claim, holds in claims.items():
        print(f"{'yes' if holds else 'NO '}: {claim}")
    return 0 if all(claims.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
