"""The sensor that keeps Dagster in step with work done by `dvc repro` in a terminal."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import dagster as dg
from dagster._core.storage.dagster_run import IN_PROGRESS_RUN_STATUSES

from dagster_project.graph import Graph, load_graph
from dagster_project.sync import sync
from dagster_project.versions import code_version

INTERVAL_S = 15


def build_sensor(graph: Graph, root: Path) -> dg.SensorDefinition:
    """A sensor, on from the start, that runs `sync` when dvc.lock or a raw file has changed and no run is going on."""
    loaded = {stage.name: code_version(graph, stage) for stage in graph.stages.values()}

    @dg.sensor(
        name="dvc_lock",
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Reports stages that `dvc repro` ran outside Dagster, and raw files that changed.",
    )
    def dvc_lock(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        current = load_graph(root)
        state = _state(current, root)
        if state == context.cursor:
            return dg.SensorResult(skip_reason=_advice(current, loaded) or "nothing new", cursor=state)
        active = context.instance.get_runs(dg.RunsFilter(statuses=IN_PROGRESS_RUN_STATUSES), limit=1)
        if active:
            return dg.SensorResult(skip_reason=f"waiting for run {active[0].run_id} to end", cursor=context.cursor)
        synced = sync(context.instance, root, context.log.warning)
        said = "; ".join(filter(None, [str(synced), _advice(current, loaded)]))
        return dg.SensorResult(skip_reason=said, cursor=state)

    return dvc_lock


def _state(graph: Graph, root: Path) -> str:
    """A hash over dvc.lock and the raw files."""
    lock = root / "dvc.lock"
    digest = hashlib.sha256(lock.read_bytes() if lock.exists() else b"")
    digest.update(repr([(path, graph.hashes.get(path)) for path in graph.raw_paths]).encode())
    return digest.hexdigest()


def _advice(current: Graph, loaded: Mapping[str, str]) -> str:
    """What the user should know: Dagster sees edited params and code only after the definitions are reloaded."""
    now = {stage.name: code_version(current, stage) for stage in current.stages.values()}
    changed = sorted(name for name in {*now, *loaded} if now.get(name) != loaded.get(name))
    return f"press Reload definitions: params, code or dvc.yaml changed for {', '.join(changed)}" if changed else ""
