"""The pipeline's graph as DVC resolves it: stages, the files between them, and the files that no stage makes.

Reading it costs half a second of DVC's own Python, so the answer is kept under `.crlhf/` and reused while dvc.yaml, the
params files, DVC and the files that code dependencies name are what they were.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from crlhf.store import atomic_write
from dagster_project.settings import SettingsError, find_dvc, find_dvc_python, stage_environment

RAW_FOLDER = "data"
"""Files below this folder that no stage makes are raw data; what lies elsewhere and no stage makes is code."""

_SNAPSHOT_SCRIPT = Path(__file__).with_name("dvc_snapshot.py")
_CACHE_FILE = Path(".crlhf") / "dagster" / "graph.json"


class GraphError(Exception):
    """DVC cannot read the pipeline, or it cannot be shown in Dagster. `str(error)` is one clear sentence."""


class Out(NamedTuple):
    """A file or folder that a stage makes. `is_cached` is False for small files that git keeps instead of DVC."""

    path: str
    is_cached: bool
    is_metric: bool


class Stage(NamedTuple):
    """One stage instance of dvc.yaml with everything resolved.

    Attributes:
        name: its address in DVC: `ppo`, `humaneval@base`.
        cmd: the command, or several.
        description: `desc` of dvc.yaml.
        meta: `meta` of dvc.yaml: group, owners, kinds, checks.
        deps: paths of the files it reads.
        params: params file -> name -> value now.
        outs: the files it makes.
        upstream: names of the stages whose files it reads.
    """

    name: str
    cmd: str | list[str]
    description: str
    meta: Mapping[str, Any]
    deps: tuple[str, ...]
    params: Mapping[str, Mapping[str, Any]]
    outs: tuple[Out, ...]
    upstream: tuple[str, ...]

    @property
    def key_path(self) -> tuple[str, ...]:
        """Its asset key: `ppo@r1` is ("ppo", "r1")."""
        return tuple(self.name.split("@", maxsplit=1))


class LockEntry(NamedTuple):
    """What dvc.lock says of the last run of a stage: its command, params, and the md5 of what it read and made."""

    cmd: str | list[str]
    deps: Mapping[str, str | None]
    params: Mapping[str, Mapping[str, Any]]
    outs: Mapping[str, str | None]


class Graph(NamedTuple):
    """The whole pipeline.

    Attributes:
        stages: by name, every stage after all it reads from.
        hashes: DVC's md5 now of each dependency that is not itself the path of some output; None where it is missing.
        lock: the entries of dvc.lock; empty in a graph that came from the cache.
    """

    stages: Mapping[str, Stage]
    hashes: Mapping[str, str | None]
    lock: Mapping[str, LockEntry]

    def is_made(self, path: str) -> bool:
        """True when some stage makes `path`, a folder around it or a file in it."""
        return any(overlap(path, out.path) for stage in self.stages.values() for out in stage.outs)

    def raw_deps(self, stage: Stage) -> tuple[str, ...]:
        """The raw data files and folders that `stage` reads."""
        return tuple(dep for dep in stage.deps if _is_below(dep, RAW_FOLDER) and not self.is_made(dep))

    def code_deps(self, stage: Stage) -> tuple[str, ...]:
        """The files and folders of code that `stage` depends on."""
        return tuple(dep for dep in stage.deps if not _is_below(dep, RAW_FOLDER) and not self.is_made(dep))

    @property
    def raw_paths(self) -> tuple[str, ...]:
        """All raw data files and folders, sorted."""
        return tuple(sorted({path for stage in self.stages.values() for path in self.raw_deps(stage)}))


def overlap(left: str, right: str) -> bool:
    """True when the two paths are the same or one lies below the other."""
    return _is_below(left, right) or _is_below(right, left)


def _is_below(path: str, folder: str) -> bool:
    return PurePosixPath(path).is_relative_to(PurePosixPath(folder))


def read_graph(root: Path) -> Graph:
    """Ask DVC for the graph, the current hashes and the lock file; about 0.6 s.

    Raises:
        GraphError: DVC cannot read dvc.yaml or params.yaml.
    """
    return _parse(_snapshot(root))


def load_graph(root: Path) -> Graph:
    """The graph and current hashes, from the cache where nothing changed; without the lock file's entries.

    Raises:
        GraphError: DVC cannot read dvc.yaml or params.yaml.
    """
    cache = root / _CACHE_FILE
    kept = _read_cache(cache)
    if kept is None or kept["fingerprint"] != _fingerprint(root, kept["snapshot"]):
        snapshot = {**_snapshot(root), "lock": {}}
        kept = {"fingerprint": _fingerprint(root, snapshot), "snapshot": snapshot}
        with atomic_write(cache, "w") as file:
            json.dump(kept, file)
    return _parse(kept["snapshot"])


def _snapshot(root: Path) -> dict[str, Any]:
    command = [str(find_dvc_python(find_dvc())), "-I", str(_SNAPSHOT_SCRIPT)]
    done = subprocess.run(command, cwd=root, env=stage_environment(), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = (
            done.stderr.strip() if done.returncode == 1 else (done.stderr.strip().splitlines() or ["no output"])[-1]
        )
        raise GraphError(f"DVC cannot read the pipeline in {root}: {reason}")
    snapshot: dict[str, Any] = json.loads(done.stdout)
    return snapshot


def _parse(snapshot: dict[str, Any]) -> Graph:
    stages = {
        raw["name"]: Stage(
            name=raw["name"],
            cmd=raw["cmd"],
            description=raw["desc"] or "",
            meta=raw["meta"],
            deps=tuple(raw["deps"]),
            params=raw["params"],
            outs=tuple(Out(**out) for out in raw["outs"]),
            upstream=tuple(raw["upstream"]),
        )
        for raw in snapshot["stages"]
    }
    lock = {name: LockEntry(**entry) for name, entry in snapshot["lock"].items()}
    return Graph({name: stages[name] for name in _topological(stages)}, snapshot["hashes"], lock)


def _topological(stages: Mapping[str, Stage]) -> Iterator[str]:
    """Names with every stage after its upstream; ties keep the order of dvc.yaml. DVC has refused cycles already."""
    done: set[str] = set()

    def visit(name: str) -> Iterator[str]:
        if name not in done:
            done.add(name)
            for other in stages[name].upstream:
                yield from visit(other)
            yield name

    for name in stages:
        yield from visit(name)


def _read_cache(path: Path) -> dict[str, Any] | None:
    """The kept answer, or None when there is none or it is damaged: the cache can always be made again."""
    try:
        kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        _parse(kept["snapshot"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return kept


def _fingerprint(root: Path, snapshot: dict[str, Any]) -> str:
    """A hash over all that the snapshot depends on, by content for small files and by size and time for the others."""
    read_by_content = {"dvc.yaml", ".dvcignore", "params.yaml", *(f for s in snapshot["stages"] for f in s["params"])}
    digest = hashlib.sha256(_SNAPSHOT_SCRIPT.read_bytes())
    digest.update(_dvc_identity().encode())
    for name in sorted(read_by_content):
        path = root / name
        digest.update(f"\0{name}\0".encode() + (path.read_bytes() if path.is_file() else b""))
    for name in sorted(snapshot["hashes"]):
        for path in _walk(root / name):
            status = path.stat()
            digest.update(f"\0{path.relative_to(root)}\0{status.st_size}\0{status.st_mtime_ns}".encode())
    return digest.hexdigest()


def _walk(path: Path) -> list[Path]:
    """The files at or below `path`, sorted; compiled Python is left out, which DVC ignores as well."""
    if path.is_file():
        return [path]
    return sorted(file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts)


def _dvc_identity() -> str:
    """Where DVC is and its version, without starting it."""
    try:
        python = find_dvc_python(find_dvc())
    except SettingsError:
        return "none"
    versions = sorted(path.name for path in python.parent.parent.glob("lib/python*/site-packages/dvc-*.dist-info"))
    return f"{python}{versions}"
