"""Where the results are: the last lines of `make demo`."""

from __future__ import annotations

from pathlib import Path

from crlhf.errors import MissingInputError
from crlhf.params import load_params
from crlhf.stages import summary_path
from crlhf.stages.collection import closing, progress_of
from crlhf.stages.policies import policy_path
from crlhf.stages.scores import COMPARISONS, SCORES
from crlhf.store import Store, read_json

REPORT = "reports/report.html"
GOES_ON = "has its verdicts; `dvc repro` goes on"


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
    params = load_params(root / "params.yaml")
    is_collected = params.crowd.source == "collected"
    return [f"{name} (after {one.prev}): {_state(root, name, is_collected)}" for name, one in params.rounds.items()]


def _state(root: Path, name: str, is_collected: bool) -> str:
    """Where a round stands; what was made of another crowd, or for other programs, does not make it over."""
    store = Store(root, name)
    is_closed = is_collected and closing(store) is not None
    if is_collected and store.has("items") and not (is_closed and store.has("annotations")):
        if is_closed or (progress := progress_of(root, name)).is_enough:
            return GOES_ON
        older = f"; {policy_path(name)} is an older policy, from other verdicts" if store.has("ppo_steps") else ""
        return f"waiting: {progress}{older}"
    if store.has("ppo_steps"):
        return f"over; its policy is {policy_path(name)}"
    return GOES_ON if store.has("annotations") else "not begun"
