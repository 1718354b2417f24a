"""Dagster's versions, computed from what DVC records, so that the two agree by construction about what is stale.

A stage is stale in DVC when its command, its params, or the md5 of a file it reads differ from dvc.lock. Dagster calls
an asset stale when its code version or a data version of its inputs differs from the last materialization. Hence

    code version  = hash(command, params of the stage, md5 of its code dependencies)
    data version  = hash(md5 of all its outputs in dvc.lock)           of a stage
    data version  = md5                                                of a raw file or folder

and each exists twice: as the project is now, and as dvc.lock says it was when the stage last ran.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from dagster_project.graph import Graph, LockEntry, Stage, overlap


def _digest(value: Any) -> str:
    return hashlib.md5(json.dumps(value, sort_keys=True).encode(), usedforsecurity=False).hexdigest()


def code_version(graph: Graph, stage: Stage) -> str:
    """The code version of `stage` as dvc.yaml, the params and the code are now."""
    return _digest([stage.cmd, stage.params, {dep: graph.hashes.get(dep) for dep in graph.code_deps(stage)}])


def locked_code_version(graph: Graph, stage: Stage) -> str:
    """The code version that `stage` had when it last ran, from dvc.lock."""
    entry = graph.lock[stage.name]
    return _digest(
        [entry.cmd, entry.params, {dep: md5 for dep, md5 in entry.deps.items() if _is_code(graph, stage, dep)}]
    )


def _is_code(graph: Graph, stage: Stage, dep: str) -> bool:
    """Whether a dependency in dvc.lock is code; one that dvc.yaml no longer names counts, which makes it differ."""
    return dep in graph.code_deps(stage) or dep not in stage.deps


def data_version(outs: Mapping[str, str | None]) -> str:
    """The data version of a stage whose outputs have these md5 in dvc.lock."""
    return _digest(dict(outs))


class InputVersion(NamedTuple):
    """The version of an input that a stage read, and the one it has now. They are equal where the stage is current."""

    read: str
    current: str | None


def input_versions(graph: Graph, stage: Stage) -> dict[str, InputVersion]:
    """The versions of the inputs of `stage` that dvc.lock knows, by upstream stage name or raw path.

    A stage may read one of several outputs of another. DVC compares that one; Dagster knows one version for them all.
    So an upstream stage counts as current when everything that `stage` read of it is unchanged, whatever its other
    outputs did; otherwise the version read is one that the upstream stage never has.
    """
    entry = graph.lock[stage.name]
    versions: dict[str, InputVersion] = {}
    for name in stage.upstream:
        producer = graph.lock.get(name)
        current = data_version(producer.outs) if producer else None
        read = {path: md5 for path, md5 in entry.deps.items() if _reads(graph.stages[name], path)}
        if producer and current and all(_md5_now(graph, producer, path) == md5 for path, md5 in read.items()):
            versions[name] = InputVersion(current, current)
        elif read:
            versions[name] = InputVersion(_digest(["read", read]), current)
    for path in graph.raw_deps(stage):
        if (md5 := entry.deps.get(path)) is not None:
            versions[path] = InputVersion(md5, graph.hashes.get(path))
    return versions


def up_to_date(graph: Graph) -> list[str]:
    """The stages that a `dvc repro` would skip, in order: they and all they rest on ran with what is there now."""
    fresh: list[str] = []
    for stage in graph.stages.values():
        if stage.name not in graph.lock or code_version(graph, stage) != locked_code_version(graph, stage):
            continue
        inputs = input_versions(graph, stage)
        has_all = set(inputs) == {*stage.upstream, *graph.raw_deps(stage)}
        is_current = all(version.read == version.current for version in inputs.values())
        if has_all and is_current and set(stage.upstream) <= set(fresh):
            fresh.append(stage.name)
    return fresh


def _reads(producer: Stage, path: str) -> bool:
    return any(overlap(path, out.path) for out in producer.outs)


def _md5_now(graph: Graph, producer: LockEntry, path: str) -> str | None:
    """The md5 that `path` has now: from dvc.lock when it is an output, from the disk when it lies in or around one."""
    return producer.outs[path] if path in producer.outs else graph.hashes.get(path)
