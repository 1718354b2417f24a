"""MLflow learns what a stage could not know while it ran: DVC's hashes of its outputs, and Dagster's run.

Called in the process that materializes or syncs, not in the launcher: MLflow takes seconds to import, and there it is
imported once for all stages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path


def present_state(root: Path) -> str | None:
    """The pipeline's state under which the tracker files a stage that begins now; None where it cannot be told."""
    try:
        from crlhf.errors import CrlhfError
        from crlhf.params import load_params
        from crlhf.tracking import pipeline_state
    except ImportError:
        return None
    try:
        return pipeline_state(root, load_params(root / "params.yaml"))
    except (CrlhfError, OSError):
        return None


def annotate(
    root: Path,
    stage: str,
    outs: Mapping[str, str | None],
    dagster_run_id: str | None,
    warn: Callable[[str], None],
    state: str | None = None,
) -> None:
    """Give the stage's MLflow run what the stage could not know: DVC's hashes and Dagster's run id.

    A stage that DVC skipped counts as well: its results belong to the state of params and raw data. `state` is that of
    the stage's beginning (by default the present one): what people edit while it runs is not what it ran with. The
    tracker is a convenience: when it cannot be reached the stage's work still counts, and a warning says why.
    """
    try:
        from crlhf.tracking import annotate as annotate_run  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError:
        return
    known = {path: md5 for path, md5 in outs.items() if md5 is not None}
    try:
        annotate_run(stage, root, dvc_outputs=known, dagster_run_id=dagster_run_id, state=state)
    except Exception as error:
        warn(f"{stage}: its MLflow run could not be annotated: {error}")
