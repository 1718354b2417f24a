"""Where the results are: the last lines of `make demo`."""

from __future__ import annotations

from pathlib import Path

from crlhf.errors import MissingInputError
from crlhf.params import load_params
from crlhf.stages import summary_path
from crlhf.stages.collection import awaited_rounds, closing, progress_of
from crlhf.stages.policies import policy_path
from crlhf.stages.scores import COMPARISONS, SCORES
from crlhf.store import Store, read_json

REPORT = "reports/report.html"


def describe(root: Path) -> list[str]:
    """Lines with the scores, their intervals, and where to look for more.

    Raises:
        MissingInputError: the pipeline has not run yet.
    """
    if not (root / REPORT).exists():
        raise MissingInputError(f"{root / REPORT}: not made yet; run `make demo` or `dvc repro`")
    subsets = {(c["benchmark"], c["k"]): c["subset"] for c in read_json(root / COMPARISONS)}
    lines = ["", "Scores (95 % intervals over problems):"]
    for record in read_json(root / SCORES):
        subset = subsets[record["benchmark"], record["k"]]
        lines.append(
            f"  {record['benchmark']:<10} {record['policy']:<6} pass@{record['k']} {100 * record['value']:5.1f} % "
            f"[{100 * record['low']:.1f}, {100 * record['high']:.1f}]  {subset}, {record['protocol']}"
        )
    if read_json(root / summary_path("scores"))["is_simulated"]:
        lines.append("  The crowd was simulated.")
    return [*lines, "", f"Report: {root / REPORT}", "Dagster and MLflow: make ui"]


def describe_rounds(root: Path) -> list[str]:
    """One line a round: over, open with the crowd's progress, or not begun.

    Raises:
        InputError: a batch file is unusable as a whole.
    """
    params, store = load_params(root / "params.yaml"), Store(root)
    awaited = set(awaited_rounds(root))
    lines = []
    for name, one in params.rounds.items():
        if store.has("ppo_steps", name):
            state = f"over; its policy is {policy_path(name)}"
        elif name in awaited and closing(store, name) is None:
            state = f"waiting: {progress_of(root, name)}"
        elif store.has("annotations", name) or name in awaited:
            state = "has its verdicts; `dvc repro` goes on"
        else:
            state = "not begun"
        lines.append(f"{name} (after {one.prev}): {state}")
    return lines
