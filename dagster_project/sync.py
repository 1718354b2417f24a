"""Tell Dagster about work that was done outside it: `python -m dagster_project.sync` after a plain `dvc repro`.

dvc.lock is the truth. For each stage the events that Dagster should know follow from it (see `versions`); what Dagster
knows otherwise is reported as an event without a run. Calling it twice reports nothing the second time.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationTargetMaterializationData
from dagster._core.definitions.data_version import (
    CODE_VERSION_TAG,
    DATA_VERSION_IS_USER_PROVIDED_TAG,
    DATA_VERSION_TAG,
    NULL_EVENT_POINTER,
    get_input_data_version_tag,
    get_input_event_pointer_tag,
)

from dagster_project.checks import declared_checks
from dagster_project.graph import Graph, GraphError, Stage, read_graph
from dagster_project.home import dagster_instance
from dagster_project.settings import SettingsError, find_root
from dagster_project.summaries import CheckResult, Metadata, describe_stage
from dagster_project.tracker import annotate
from dagster_project.versions import InputVersion, data_version, input_versions, locked_code_version, up_to_date


class Synced(NamedTuple):
    """What Dagster was told: stages that ran outside it, stages only confirmed as unchanged, raw paths observed."""

    ran: tuple[str, ...]
    confirmed: tuple[str, ...]
    observed: tuple[str, ...]

    def __str__(self) -> str:
        parts = [("ran outside Dagster", self.ran), ("still up to date", self.confirmed), ("raw data", self.observed)]
        return "; ".join(f"{label}: {', '.join(names)}" for label, names in parts if names) or "nothing new"


def stage_key(stage: Stage) -> dg.AssetKey:
    """The asset key of a stage: `ppo@r1` is ["ppo", "r1"]."""
    return dg.AssetKey(stage.key_path)


def raw_key(path: str) -> dg.AssetKey:
    """The asset key of a raw file or folder: its path."""
    return dg.AssetKey(path.split("/"))


def sync(instance: dg.DagsterInstance, root: Path, warn: Callable[[str], None]) -> Synced:
    """Report all that dvc.lock knows and Dagster does not, inputs before what was made from them."""
    graph = read_graph(root)
    observed = observe_raw(instance, graph, graph.raw_paths)
    ran: list[str] = []
    confirmed: list[str] = []
    for stage in graph.stages.values():
        if stage.name not in graph.lock:
            continue
        known = _known_tags(instance, stage_key(stage))
        if not _differs(graph, stage, known):
            continue
        is_new = any(known.get(tag) != value for tag, value in _own_tags(graph, stage).items())
        _report_stage(instance, graph, stage, root, "ran outside Dagster" if is_new else "unchanged, inputs confirmed")
        (ran if is_new else confirmed).append(stage.name)
    if ran or confirmed or observed:
        # The tracker files runs under the present params and raw data: only what is up to date with them belongs there.
        for name in up_to_date(graph):
            annotate(root, name, graph.lock[name].outs, None, warn)
    return Synced(tuple(ran), tuple(confirmed), tuple(key.to_user_string() for key in observed))


def observe_raw(instance: dg.DagsterInstance, graph: Graph, paths: Iterable[str]) -> list[dg.AssetKey]:
    """Record the versions of raw files that Dagster does not know yet; returns the keys of those."""
    observed = []
    for path in paths:
        key, md5 = raw_key(path), graph.hashes.get(path)
        record = next(iter(instance.fetch_observations(key, limit=1).records), None)
        known = record.asset_observation.tags.get(DATA_VERSION_TAG) if record and record.asset_observation else None
        if md5 is None or md5 == known:
            continue
        tags = {DATA_VERSION_TAG: md5, DATA_VERSION_IS_USER_PROVIDED_TAG: "true"}
        instance.report_runless_asset_event(dg.AssetObservation(key, metadata={"path": path, "md5": md5}, tags=tags))
        observed.append(key)
    return observed


def _known_tags(instance: dg.DagsterInstance, key: dg.AssetKey) -> Mapping[str, str]:
    """The tags of the latest materialization that Dagster knows."""
    event = instance.get_latest_materialization_event(key)
    return (event.asset_materialization.tags or {}) if event and event.asset_materialization else {}


def _own_tags(graph: Graph, stage: Stage) -> dict[str, str]:
    return {
        CODE_VERSION_TAG: locked_code_version(graph, stage),
        DATA_VERSION_TAG: data_version(graph.lock[stage.name].outs),
    }


def _inputs(graph: Graph, stage: Stage) -> dict[dg.AssetKey, InputVersion]:
    """The versions of the inputs by asset key."""
    return {
        stage_key(graph.stages[name]) if name in graph.stages else raw_key(name): version
        for name, version in input_versions(graph, stage).items()
    }


def _differs(graph: Graph, stage: Stage, known: Mapping[str, str]) -> bool:
    """Whether Dagster's picture of a stage leads to another verdict on its staleness than dvc.lock.

    Which old version of an input Dagster has recorded does not matter: anything but the current one reads as stale.
    """
    if any(known.get(tag) != value for tag, value in _own_tags(graph, stage).items()):
        return True
    for key, version in _inputs(graph, stage).items():
        recorded = known.get(get_input_data_version_tag(key))
        if recorded is None or get_input_event_pointer_tag(key) not in known:
            return True
        if (recorded == version.current) != (version.read == version.current):
            return True
    return False


def _report_stage(instance: dg.DagsterInstance, graph: Graph, stage: Stage, root: Path, how: str) -> None:
    report = describe_stage(
        root,
        stage.name,
        outs=graph.lock[stage.name].outs,
        metric_outs=[out.path for out in stage.outs if out.is_metric],
        declared_checks=[check.name for check in declared_checks(stage)],
        how=how,
    )
    key = stage_key(stage)
    tags = {**_own_tags(graph, stage), DATA_VERSION_IS_USER_PROVIDED_TAG: "true"}
    for dep, version in _inputs(graph, stage).items():
        tags[get_input_data_version_tag(dep)] = version.read
        tags[get_input_event_pointer_tag(dep)] = NULL_EVENT_POINTER
    instance.report_runless_asset_event(
        dg.AssetMaterialization(key, metadata=dagster_metadata(report.metadata), tags=tags)
    )
    for check in report.checks:
        instance.report_runless_asset_event(_evaluation(instance, key, check))


def _evaluation(instance: dg.DagsterInstance, key: dg.AssetKey, check: CheckResult) -> dg.AssetCheckEvaluation:
    """A check result that points to the latest materialization of its asset."""
    record = instance.fetch_materializations(key, limit=1).records[0]
    return dg.AssetCheckEvaluation(
        asset_key=key,
        check_name=check.name,
        passed=check.passed,
        metadata=dagster_metadata(check.metadata),
        severity=dg.AssetCheckSeverity[check.severity],
        target_materialization_data=AssetCheckEvaluationTargetMaterializationData(
            storage_id=record.storage_id, run_id=record.run_id, timestamp=record.timestamp
        ),
    )


def dagster_metadata(metadata: Metadata) -> dict[str, Any]:
    """Values in the form of Pipes as Dagster's own."""
    value_types: dict[str, Callable[[Any], Any]] = {
        "md": dg.MetadataValue.md,
        "text": dg.MetadataValue.text,
        "int": dg.MetadataValue.int,
        "float": dg.MetadataValue.float,
        "bool": dg.MetadataValue.bool,
        "table_schema": lambda raw: dg.TableSchema([dg.TableColumn(**column) for column in raw["columns"]]),
    }
    return {name: value_types[value["type"]](value["raw_value"]) for name, value in metadata.items()}


def main() -> int:
    """Bring Dagster up to date with dvc.lock."""

    def warn(message: str) -> None:
        print(message, file=sys.stderr)

    try:
        root = find_root()
        with dagster_instance(root) as instance:
            print(f"Dagster: {sync(instance, root, warn)}")
    except (GraphError, SettingsError) as error:
        warn(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
