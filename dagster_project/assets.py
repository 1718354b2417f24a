"""Assets made from DVC's graph: one for each stage, one observable source for each raw file or folder."""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from dagster_project.checks import DeclaredCheck, declared_checks
from dagster_project.graph import Graph, GraphError, Stage, load_graph
from dagster_project.launcher import WAITING
from dagster_project.summaries import locked_outs
from dagster_project.sync import observe_raw, raw_key, stage_key
from dagster_project.tracker import annotate, present_state
from dagster_project.versions import code_version

LOCK_WAIT_S = 600.0
"""How long a stage waits for another DVC process that holds a lock it needs."""
GRACE_S = 10.0
"""How long a stage may take to end by itself once Dagster has asked it to."""
MAX_KINDS = 3


def build_assets(graph: Graph, root: Path) -> list[dg.AssetsDefinition]:
    """One asset for each stage of the graph.

    Raises:
        GraphError: dvc.yaml gives a stage something that Dagster has no place for.
    """
    return [_stage_asset(graph, stage, root) for stage in graph.stages.values()]


def build_raw_sources(graph: Graph, root: Path) -> list[dg.SourceAsset]:
    """One observable source for each raw file or folder; its data version is DVC's md5."""
    return [_raw_source(path, root) for path in graph.raw_paths]


def _raw_source(path: str, root: Path) -> dg.SourceAsset:
    @dg.observable_source_asset(
        key=raw_key(path),
        group_name="raw",
        description=f"`{path}`: raw data, made by no stage.",
        metadata={"path": path},
    )
    def observe() -> dg.DataVersion:
        return dg.DataVersion(load_graph(root).hashes.get(path) or "missing")

    return observe


def _stage_asset(graph: Graph, stage: Stage, root: Path) -> dg.AssetsDefinition:
    """The asset of a stage. One that waits for people makes nothing in its step, and what follows it is skipped."""
    kinds: Sequence[str] = stage.meta.get("kinds", ())
    if len(kinds) > MAX_KINDS:
        raise GraphError(f"dvc.yaml, stage {stage.name}, meta.kinds: Dagster shows at most {MAX_KINDS} kinds")
    key, checks = stage_key(stage), declared_checks(stage)
    raw_paths = graph.raw_deps(stage)

    may_wait = bool(stage.meta.get("may_wait", False))
    spec = dg.AssetSpec(
        key=key,
        deps=[*(stage_key(graph.stages[name]) for name in stage.upstream), *(raw_key(path) for path in raw_paths)],
        description=_description(stage),
        group_name=stage.meta.get("group"),
        owners=stage.meta.get("owners"),
        kinds=set(kinds),
        code_version=code_version(graph, stage),
        metadata={"dvc stage": stage.name, "outputs": ", ".join(out.path for out in stage.outs)},
        skippable=may_wait,
    )

    @dg.multi_asset(
        name="__".join(stage.key_path),
        specs=[spec],
        check_specs=[dg.AssetCheckSpec(check.name, asset=key, description=check.description) for check in checks],
        can_subset=may_wait,  # or Dagster would demand the checks of a stage that made nothing
    )
    def run_stage(context: dg.AssetExecutionContext, pipes: dg.PipesSubprocessClient) -> Iterator[Any]:
        _observe_inputs(context, root, raw_paths)
        state = present_state(root)
        invocation = pipes.run(
            context=context,
            command=[sys.executable, "-m", "dagster_project.launcher"],
            extras=_extras(stage, checks, root),
            env=_launcher_environment(),
            cwd=str(root),
        )
        for message in invocation.get_custom_messages():
            if message["outcome"] == WAITING:
                context.log.info(message["headline"])
                yield dg.AssetObservation(key, metadata={WAITING: message["headline"]})
                # Pipes demands every output of the step; this one has none, and so what follows is skipped.
                context.get_step_execution_context()._requires_typed_event_stream = False
                return
            raise _failure(message)
        annotate(root, stage.name, locked_outs(root, stage.name), context.run_id, context.log.warning, state)
        yield from invocation.get_results()

    return run_stage


def _description(stage: Stage) -> str:
    commands = [stage.cmd] if isinstance(stage.cmd, str) else stage.cmd
    return "\n\n".join([stage.description or stage.name, *(f"`{command}`" for command in commands)])


def _observe_inputs(context: dg.AssetExecutionContext, root: Path, raw_paths: Sequence[str]) -> None:
    """Record the raw files that the stage is about to read, so that the materialization names their versions.

    Dagster looks the versions of the inputs up when a step starts; what it remembered of the observed ones is dropped.
    """
    if raw_paths:
        for key in observe_raw(context.instance, load_graph(root), raw_paths):
            context.get_step_execution_context().wipe_input_asset_version_info(key)


def _extras(stage: Stage, checks: Sequence[DeclaredCheck], root: Path) -> dict[str, Any]:
    return {
        "stage": stage.name,
        "root": str(root),
        "parent_pid": os.getpid(),
        "metric_outs": [out.path for out in stage.outs if out.is_metric],
        "checks": [check.name for check in checks],
        "lock_wait_s": float(os.environ.get("CRLHF_LOCK_WAIT_S", LOCK_WAIT_S)),
        "grace_s": float(os.environ.get("CRLHF_STOP_GRACE_S", GRACE_S)),
    }


def _launcher_environment() -> dict[str, str]:
    """This package must be importable from the project's folder, wherever it was imported from here."""
    package_parent = str(Path(__file__).resolve().parent.parent)
    known = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return {"PYTHONPATH": os.pathsep.join([*filter(None, known), *({package_parent} - set(known))])}


def _failure(message: dict[str, Any]) -> dg.Failure:
    """The stage's own words as the failure of the step; a retry would end the same way."""
    return dg.Failure(
        description=message["headline"],
        metadata={"stderr": dg.MetadataValue.md(f"```\n{message['stderr']}\n```")},
        allow_retries=False,
    )
