"""What a finished stage tells Dagster: its summary file and its outputs turned into metadata and check results.

The same answer serves a stage that was just run (through the launcher) and one that ran outside Dagster (through
`sync`). Values are in the form of Dagster Pipes, `{"raw_value": ..., "type": ...}`, which needs no Dagster.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from dagster_project.previews import inline_figure, preview_table
from dagster_project.versions import data_version

Metadata = dict[str, dict[str, Any]]

WRITE_S = 5.0
"""How long DVC may take to write dvc.lock."""
_PAUSE_S = 0.05
NOT_REPORTED = "the stage did not report this check"


class CheckResult(NamedTuple):
    """The result of one declared check. `severity` is WARN or ERROR."""

    name: str
    passed: bool
    severity: str
    metadata: Metadata


class StageReport(NamedTuple):
    """All that Dagster is told of one stage.

    Attributes:
        data_version: hash over the md5 of the stage's outputs in dvc.lock.
        metadata: labels and typed values.
        checks: one result for each declared check, in declared order.
    """

    data_version: str
    metadata: Metadata
    checks: tuple[CheckResult, ...]


def locked_outs(root: Path, stage: str) -> dict[str, str | None]:
    """Path -> md5 of the outputs of `stage` in dvc.lock, empty when the stage has no entry."""
    stages = _read_lock_file(root).get("stages") or {}
    return {out["path"]: out.get("md5") for out in stages.get(stage, {}).get("outs", [])}


def _read_lock_file(root: Path) -> dict[str, Any]:
    """The whole of dvc.lock, which another DVC may be writing in place just now.

    Read under DVC's own lock. Where DVC locks in another way (`core.hardlink_lock`), a half-written file is read again.

    Raises:
        yaml.YAMLError: the file is no YAML, and stays so.
    """
    import yaml

    path, deadline = root / "dvc.lock", time.monotonic() + WRITE_S
    while path.exists():
        with _dvc_held(root):
            text = path.read_text(encoding="utf-8")
        try:
            # BaseLoader leaves every scalar a string: an md5 of digits only must not become a number.
            content = yaml.load(text, Loader=yaml.BaseLoader)
        except yaml.YAMLError:
            if time.monotonic() > deadline:
                raise
        else:
            if isinstance(content, dict) or time.monotonic() > deadline:
                return content or {}
        time.sleep(_PAUSE_S)
    return {}


@contextmanager
def _dvc_held(root: Path) -> Iterator[None]:
    """Keep DVC from beginning to write.

    Goes on without its lock after `WRITE_S` seconds: what holds it for longer, like `dvc push`, is not writing.
    """
    try:
        file = (root / ".dvc" / "tmp" / "lock").open("rb")
    except FileNotFoundError:  # no DVC has run here
        yield
        return
    with file:
        deadline = time.monotonic() + WRITE_S
        while time.monotonic() < deadline:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(_PAUSE_S)
        yield


def describe_stage(
    root: Path,
    stage: str,
    *,
    outs: Mapping[str, str | None],
    metric_outs: Iterable[str],
    declared_checks: Sequence[str],
    how: str,
) -> StageReport:
    """Describe `stage` from its summary file and its outputs.

    Args:
        root: the project's folder.
        stage: its name in DVC.
        outs: path -> md5 from dvc.lock.
        metric_outs: the outputs that are DVC metrics; the summary is the one whose "stage" is this stage.
        declared_checks: names of the checks that the asset declares.
        how: what happened, for people: executed, skipped, ...

    Returns:
        The report. A declared check that the summary lacks counts as failed; checks that are not declared are listed
        in the metadata.
    """
    summary = read_summary(root, stage, {path: outs[path] for path in metric_outs if path in outs})
    metadata: Metadata = {"outcome": text(how)}
    if summary.get("is_simulated"):
        metadata["crowd"] = text("simulated: these numbers rest on simulated annotators")
    metadata.update({name: number(value) for name, value in summary.get("metrics", {}).items()})
    metadata.update({name: text(value) for name, value in summary.get("facts", {}).items()})
    metadata.update(_tables(root, outs))
    for figure in summary.get("figures", []):
        metadata[f"figure {Path(figure).stem}"] = markdown(inline_figure(root / figure))
    metadata["outputs"] = markdown(_outputs(root, outs))
    reported = {check["name"]: check for check in summary.get("checks", [])}
    if undeclared := sorted(set(reported) - set(declared_checks)):
        metadata["undeclared checks"] = text(", ".join(undeclared))
    checks = tuple(_check_result(name, reported.get(name)) for name in declared_checks)
    return StageReport(data_version(outs), metadata, checks)


def read_summary(root: Path, stage: str, metric_outs: Mapping[str, str | None]) -> dict[str, Any]:
    """The summary that `stage` wrote in its last run.

    Args:
        root: the project's folder.
        stage: its name in DVC.
        metric_outs: path -> md5 in dvc.lock of its metric files. The summary is the one whose "stage" is this stage;
            a file that is not the one DVC recorded belongs to another run and does not count.

    Returns:
        The summary, or an empty one when there is none.
    """
    for path, md5 in metric_outs.items():
        try:
            data = (root / path).read_bytes()
            value = json.loads(data)
        except (OSError, ValueError):
            continue
        is_of_last_run = hashlib.md5(data, usedforsecurity=False).hexdigest() == md5
        if is_of_last_run and isinstance(value, dict) and value.get("stage") == stage:
            return value
    return {}


def text(value: object) -> dict[str, Any]:
    """A text value."""
    return {"raw_value": str(value), "type": "text"}


def markdown(value: str) -> dict[str, Any]:
    """A Markdown value."""
    return {"raw_value": value, "type": "md"}


def number(value: float) -> dict[str, Any]:
    """A number; booleans and integers keep their type."""
    if isinstance(value, bool):
        return {"raw_value": value, "type": "bool"}
    return {"raw_value": value, "type": "int" if isinstance(value, int) else "float"}


def _tables(root: Path, outs: Mapping[str, str | None]) -> Metadata:
    """Previews of the Parquet outputs; the first one also fills Dagster's own row count and columns."""
    metadata: Metadata = {}
    for path in outs:
        if not path.endswith(".parquet") or not (root / path).is_file():
            continue
        preview = preview_table(root / path)
        metadata[f"table {Path(path).stem}"] = markdown(preview.markdown)
        if "dagster/row_count" not in metadata:
            metadata["dagster/row_count"] = {"raw_value": preview.n_rows, "type": "int"}
            columns = [{"name": name, "type": kind} for name, kind in preview.columns]
            metadata["dagster/column_schema"] = {"raw_value": {"columns": columns}, "type": "table_schema"}
    return metadata


def _outputs(root: Path, outs: Mapping[str, str | None]) -> str:
    lines = ["| output | md5 in dvc.lock | bytes |", "| --- | --- | ---: |"]
    for path, md5 in outs.items():
        file = root / path
        size = f"{file.stat().st_size:,}" if file.is_file() else "folder" if file.is_dir() else "not there"
        lines.append(f"| {path} | {md5} | {size} |")
    return "\n".join(lines)


def _check_result(name: str, reported: Mapping[str, Any] | None) -> CheckResult:
    if reported is None:
        return CheckResult(name, False, "ERROR", {"result": text(NOT_REPORTED)})
    metadata = {"rows that broke it": number(reported.get("n_unexpected", 0)), "rule": text(reported["description"])}
    severity = "WARN" if reported.get("severity") == "warning" else "ERROR"
    return CheckResult(name, bool(reported["passed"]), severity, metadata)
