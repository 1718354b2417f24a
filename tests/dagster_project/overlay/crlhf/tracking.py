"""A tracker that writes down what it is told, or is away."""

import json
from pathlib import Path


def annotate(
    stage: str, root: Path, *, dvc_outputs: dict[str, str], dagster_run_id: str | None, state: str | None
) -> None:
    """Append one JSON line to annotated.jsonl; raise where a file says that the tracker is away."""
    if (root / "tracker_is_away").exists():
        raise OSError("the tracker is away")
    with (root / "annotated.jsonl").open("a") as file:
        file.write(json.dumps({"stage": stage, "outs": sorted(dvc_outputs), "run": dagster_run_id}) + "\n")
