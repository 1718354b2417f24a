"""What Dagster loads: `dagster dev`, or `dagster asset materialize --select '*' -m dagster_project.definitions`."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import dagster as dg

from dagster_project.assets import GRACE_S, build_assets, build_raw_sources
from dagster_project.crowd_sensor import EVERYTHING, build_crowd_sensors
from dagster_project.graph import Graph, load_graph
from dagster_project.sensors import build_sensor
from dagster_project.settings import find_root

# Observable sources and Pipes are used as pinned in the lock; that they may change later is not the reader's concern.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)


def build_definitions(root: Path) -> dg.Definitions:
    """The definitions of the project in the folder `root`."""
    graph = load_graph(root)
    return dg.Definitions(
        assets=[*build_raw_sources(graph, root), *build_assets(graph, root)],
        jobs=_jobs(graph),
        sensors=[build_sensor(graph, root), *build_crowd_sensors(graph, root)],
        resources={"pipes": dg.PipesSubprocessClient(termination_timeout_seconds=2 * GRACE_S)},
        executor=_executor(),
    )


def _jobs(graph: Graph) -> list[Any]:
    """`everything`, and one job for each group of assets."""
    groups = dict.fromkeys(stage.meta["group"] for stage in graph.stages.values() if "group" in stage.meta)
    jobs = [dg.define_asset_job(EVERYTHING, dg.AssetSelection.all(), description="All stages, in order.")]
    for group in groups:
        selection = dg.AssetSelection.groups(group)
        jobs.append(dg.define_asset_job(f"group_{group}", selection, description=f"The stages of the group {group}."))
    return jobs


def _executor() -> dg.ExecutorDefinition:
    """One stage after another in one process, or `$CRLHF_MAX_CONCURRENT` at a time in processes of their own.

    Each stage is a process anyway, started by the launcher, so one worker that waits for it is enough, and saves the
    seconds that a process for each step takes to import Dagster. Two heavy stages at once would share the cores.
    """
    n_concurrent = int(os.environ.get("CRLHF_MAX_CONCURRENT", "1"))
    if n_concurrent <= 1:
        return dg.in_process_executor
    return dg.multiprocess_executor.configured({"max_concurrent": n_concurrent})


defs = build_definitions(find_root())
