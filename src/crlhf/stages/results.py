"""Where the results are: the last lines of `make demo`."""

from __future__ import annotations

from pathlib import Path

from crlhf.errors import MissingInputError
from crlhf.store import read_json

REPORT = "reports/report.html"


def describe(root: Path) -> list[str]:
    """Lines with the scores, their intervals, and where to look for more.

    Raises:
        MissingInputError: the pipeline has not run yet.
    """
    if not (root / REPORT).exists():
        raise MissingInputError(f"{root / REPORT}: not made yet; run `make demo` or `dvc repro`")
    comparisons = {(c["benchmark"], c["k"]): c for c in read_json(root / "data/tables/comparisons.json")}
    lines = ["", "Scores (95 % intervals over problems):"]
    for record in read_json(root / "metrics/scores.json"):
        subset = comparisons[record["benchmark"], record["k"]]["subset"]
        lines.append(
            f"  {record['benchmark']:<10} {record['policy']:<6} pass@{record['k']} {100 * record['value']:5.1f} % "
            f"[{100 * record['low']:.1f}, {100 * record['high']:.1f}]  {subset}, {record['protocol']}"
        )
    if read_json(root / "metrics/stages/scores.json")["is_simulated"]:
        lines.append("  The crowd was simulated.")
    return [*lines, "", f"Report: {root / REPORT}", "Dagster and MLflow: make ui"]
