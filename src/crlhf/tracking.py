"""MLflow behind one small class: one experiment, a parent run per pipeline state, a child run per stage.

The pipeline's state is the hash of params.yaml's values and of the raw data files, so that Dagster, `dvc repro` and a
resumed run meet in the same parent. A stage that is run again in the same state gets a new child, and what it replaces
is tagged superseded once it has succeeded. An interrupted child is reopened only where it waited for people, or where
the stage shows by a hash that it goes on from the same inputs (`StageRun.resume`). Tracking never fails a stage: if
MLflow cannot be reached, the stage says so and goes on.

The tag `crlhf.crowd` says `simulated` from a run's start where params.yaml does, else as soon as the stage knows.

Settings: `MLFLOW_TRACKING_URI` (default: `mlflow.db` and `mlartifacts/` in the project), `CRLHF_TRACKING=off`.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from crlhf.errors import WaitingError
from crlhf.fetch import sha256_file
from crlhf.params import Params, load_params
from crlhf.schema import Summary
from crlhf.stages import BASE
from crlhf.store import held

EXPERIMENT = "crlhf"
REGISTERED_POLICY = "crlhf-policy"
"""The registered model of which every tuned policy is a version; its aliases are the rounds."""
RAW = ("data/starter", "data/sql", "data/benchmarks", "data/rounds/base/crowd", "data/annotations/forgotten.txt")
"""The files and folders that dvc.yaml reads and no stage makes.

Batches of verdicts and their ledger are not among them: they grow while stages run. What counts of them in a round is
in its table `annotations`, and a closed round reads the same ones for ever.
"""
_NO_CROWD = ("problems", "base_policy")
_SIMULATED, _NOT_SIMULATED = "simulated", "none or human"
Say = Callable[[str], None]


def tracking_uri(root: Path) -> str:
    """Where MLflow writes for the project at `root`: an absolute address."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root.resolve() / 'mlflow.db'}"


def pipeline_state(root: Path, params: Params) -> str:
    """16 hex digits that change with any value in params.yaml and with any raw data file (see `RAW`)."""
    raw = {
        str(path.relative_to(root)): sha256_file(path)
        for name in RAW
        for path in (root / name, *sorted((root / name).rglob("*")))
        if path.is_file()
    }
    text = json.dumps([params.model_dump(mode="json"), raw], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class StageRun:
    """The MLflow run of one stage. Without a client it swallows everything.

    `state` is the pipeline's state when the stage began: what comes into the project meanwhile does not change it.
    """

    def __init__(self, state: str = "", client: Any = None, run_id: str | None = None, say: Say = print) -> None:
        self.state = state
        self.run_id = run_id
        self._client = client
        self._known_steps = 0
        self._say = say

    def resume(self, inputs: str) -> None:
        """Go on in the interrupted run that has the tag `crlhf.inputs` of the same value, if there is one.

        `inputs` is a hash of all that the curves depend on. Without such a run this one goes on, and gets the tag.
        """
        self._call(lambda: self._resume(inputs))

    def mark_simulated(self) -> None:
        """Tag the run as resting on a simulated crowd."""
        self._call(lambda: self._client.set_tag(self.run_id, "crlhf.crowd", _SIMULATED))

    def log_step(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log curves at one step; steps that an interrupted run already logged are skipped."""
        if step <= self._known_steps:
            return
        from mlflow.entities import Metric

        now = _milliseconds()
        points = [Metric(name, value, now, step) for name, value in metrics.items() if math.isfinite(value)]
        self._call(lambda: self._client.log_batch(self.run_id, metrics=points))

    def log_summary(self, summary: Summary, seconds: float) -> None:
        """Log a stage's metrics, facts, figures and wall time."""
        self._call(lambda: self._log_summary(summary, seconds))

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """Log one file, or a folder with all that is in it."""
        log = "log_artifacts" if path.is_dir() else "log_artifact"
        self._call(lambda: getattr(self._client, log)(self.run_id, str(path), folder))

    def register_policy(self, folder: Path, alias: str, *, is_simulated: bool) -> None:
        """Keep a tuned policy's folder as a version of the MLflow model `crlhf-policy`, under `alias`.

        The version's tag `crlhf.crowd` says whether a simulated crowd taught it.
        """
        self._call(lambda: self._register(folder, alias, {"crlhf.crowd": _crowd(is_simulated)}))

    def end(self, status: str) -> None:
        """Close the run; one that is FINISHED supersedes the others of its stage and state."""
        self._call(lambda: self._end(status))

    def _end(self, status: str) -> None:
        self._client.set_terminated(self.run_id, status)
        for old in self._siblings() if status == "FINISHED" else ():
            if old.info.status == "RUNNING":  # it was killed and could not say so
                self._client.set_terminated(old.info.run_id, "KILLED")
            self._client.set_tag(old.info.run_id, "crlhf.superseded", "true")

    def _resume(self, inputs: str) -> None:
        for old in self._siblings():
            if old.info.status != "FINISHED" and old.data.tags.get("crlhf.inputs") == inputs:
                _reopen(self._client, old.info.run_id, self._client.get_run(self.run_id).data.tags)
                self._client.delete_run(self.run_id)  # nothing was logged there
                self.run_id, self._known_steps = old.info.run_id, _last_step(self._client, old.info.run_id)
                return
        self._client.set_tag(self.run_id, "crlhf.inputs", inputs)

    def _siblings(self) -> list[Any]:
        """The other runs of the stage in this state, newest first, superseded ones left out."""
        tags = self._client.get_run(self.run_id).data.tags
        runs = _children(self._client, tags["mlflow.parentRunId"], tags["crlhf.stage"])
        return [run for run in runs if run.info.run_id != self.run_id]

    def _register(self, folder: Path, alias: str, tags: dict[str, str]) -> None:
        import tempfile

        import mlflow
        from mlflow.exceptions import MlflowException

        with tempfile.TemporaryDirectory() as staging:
            model = Path(staging) / "policy"
            mlflow.pyfunc.save_model(
                path=str(model), loader_module="crlhf.policy.served", data_path=str(folder), pip_requirements=["crlhf"]
            )
            self._client.log_artifacts(self.run_id, str(model), "policy")
        try:
            self._client.create_registered_model(REGISTERED_POLICY)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        source = f"runs:/{self.run_id}/policy"
        version = self._client.create_model_version(REGISTERED_POLICY, source, self.run_id, tags=tags)
        self._client.set_registered_model_alias(REGISTERED_POLICY, alias, version.version)

    def _log_summary(self, summary: Summary, seconds: float) -> None:
        from mlflow.entities import Metric, RunTag

        now = _milliseconds()
        metrics = [Metric(name, value, now, 0) for name, value in summary.metrics.items()]
        metrics.append(Metric("wall/seconds", seconds, now, 0))
        tags = [RunTag(f"crlhf.fact.{name}", text[:4000]) for name, text in summary.facts.items()]
        tags += [RunTag("crlhf.crowd", _SIMULATED)] if summary.is_simulated else []
        tags += [RunTag(f"crlhf.check.{c.name}", "passed" if c.passed else c.severity) for c in summary.checks]
        self._client.log_batch(self.run_id, metrics=metrics, tags=tags)

    def _call(self, action: Callable[[], object]) -> None:
        if self._client is None:
            return
        try:
            action()
        except Exception as error:
            self._say(f"MLflow: not logged: {' '.join(str(error).split())[:200]}")


@contextmanager
def stage_run(instance: str, root: Path, params: Params, say: Say) -> Iterator[StageRun]:
    """The MLflow run of a stage while the stage works; then FINISHED, FAILED, KILLED, or SCHEDULED if it waits."""
    run = _open(instance, root, params, say)
    status = "FINISHED"
    try:
        yield run
    except WaitingError:
        status = "SCHEDULED"
        raise
    except (KeyboardInterrupt, SystemExit):
        status = "KILLED"
        raise
    except BaseException:
        status = "FAILED"
        raise
    finally:
        run.end(status)


def annotate(
    instance: str,
    root: Path,
    *,
    dvc_outputs: Mapping[str, str],
    dagster_run_id: str | None = None,
    state: str | None = None,
) -> None:
    """Add to a stage's finished run what it cannot know itself: DVC's hashes of its outputs, the Dagster run.

    `state` is the pipeline's when the stage began, by default the present one. Where it has no finished run of the
    stage (DVC skipped it, since nothing it depends on changed), one is made from the stage's summary and tagged
    `crlhf.reused`.
    """
    if not _is_on():
        return
    from mlflow.entities import RunTag

    from crlhf.stages import summary_path_of
    from crlhf.store import read_json

    params = load_params(root / "params.yaml")
    client = _client(root)
    parent = _parent(client, root, params, state or pipeline_state(root, params))
    finished = [run for run in _children(client, parent, instance) if run.info.status == "FINISHED"]
    if finished:
        run_id = finished[0].info.run_id
    else:
        run_id = _new_child(client, parent, instance, params, _tags(root, instance, params))
        summary = read_json(root / summary_path_of(instance))
        for name, value in summary["metrics"].items():
            client.log_metric(run_id, name, value, step=0)
        client.set_tag(run_id, "crlhf.reused", "true")
        if summary["is_simulated"]:
            client.set_tag(run_id, "crlhf.crowd", _SIMULATED)
        client.set_terminated(run_id, "FINISHED")
    tags = [RunTag(f"dvc.{path}", md5) for path, md5 in dvc_outputs.items()]
    if dagster_run_id:
        tags.append(RunTag("dagster.run_id", dagster_run_id))
    client.log_batch(run_id, tags=tags)


def run_ids(root: Path, params: Params, state: str) -> dict[str, str]:
    """MLflow's ids of the finished runs of a pipeline state, by stage; the parent's is `pipeline`.

    Runs that failed, and superseded ones, are not listed. Empty if there is no tracking.
    """
    if not _is_on():
        return {}
    try:
        client = _client(root)
        parent = _parent(client, root, params, state)
        runs = [run for run in _children(client, parent) if run.info.status == "FINISHED"]
    except Exception:
        return {}
    return {"pipeline": parent} | {run.data.tags["crlhf.stage"]: run.info.run_id for run in reversed(runs)}


def _is_on() -> bool:
    return os.environ.get("CRLHF_TRACKING", "on") != "off"


def _open(instance: str, root: Path, params: Params, say: Say) -> StageRun:
    state = pipeline_state(root, params)
    if not _is_on():
        return StageRun(state)
    try:
        client = _client(root)
        parent, tags = _parent(client, root, params, state), _tags(root, instance, params)
        waiting = [run.info.run_id for run in _children(client, parent, instance) if run.info.status == "SCHEDULED"]
        if waiting:
            _reopen(client, waiting[0], tags)
        run_id = waiting[0] if waiting else _new_child(client, parent, instance, params, tags)
        return StageRun(state, client, run_id, say)
    except Exception as error:
        say(f"MLflow: this run is not tracked: {' '.join(str(error).split())[:200]}")
        return StageRun(state)


def _tags(root: Path, instance: str, params: Params) -> dict[str, str]:
    """What is known of a stage's run when it begins."""
    stage, _, name = instance.partition("@")
    has_crowd = stage not in _NO_CROWD and name != BASE
    crowd = _crowd(has_crowd and params.crowd.source == "simulated")
    return {"crlhf.stage": instance, "crlhf.crowd": crowd, **git_tags(root)}


def _crowd(is_simulated: bool) -> str:
    return _SIMULATED if is_simulated else _NOT_SIMULATED


def _reopen(client: Any, run_id: str, tags: Mapping[str, str]) -> None:
    """Let an interrupted run go on, with the project's own tags as they are now."""
    from mlflow.entities import RunTag

    client.update_run(run_id, status="RUNNING")
    own = [RunTag(name, value) for name, value in tags.items() if name.startswith(("crlhf.", "git."))]
    client.log_batch(run_id, tags=own)


def _client(root: Path) -> Any:
    """An MLflow client on a database that is migrated exactly once, whatever starts at the same time."""
    import logging

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    from mlflow import MlflowClient

    with held(root, "mlflow"):
        client = MlflowClient(tracking_uri(root))
        if client.get_experiment_by_name(EXPERIMENT) is None:
            is_local = "MLFLOW_TRACKING_URI" not in os.environ
            client.create_experiment(EXPERIMENT, (root / "mlartifacts").resolve().as_uri() if is_local else None)
    return client


def _parent(client: Any, root: Path, params: Params, state: str) -> str:
    """The id of the parent run of a pipeline state, made if there is none."""
    experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
    with held(root, "mlflow"):
        found = client.search_runs([experiment], f"tags.`crlhf.state` = '{state}'", max_results=1)
        if found:
            return str(found[0].info.run_id)
        tags = {"crlhf.state": state, "crlhf.crowd": params.crowd.source, **git_tags(root)}
        run_id = client.create_run(experiment, run_name=f"pipeline {state[:8]}", tags=tags).info.run_id
        _log_params(client, run_id, params.model_dump(mode="json"))
        client.set_terminated(run_id, "FINISHED")
        return str(run_id)


def _children(client: Any, parent: str, instance: str | None = None) -> list[Any]:
    """Runs of one stage (or all) in one pipeline state, newest first, superseded ones left out."""
    experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
    query = f"tags.`mlflow.parentRunId` = '{parent}'" + (f" and tags.`crlhf.stage` = '{instance}'" if instance else "")
    runs = client.search_runs([experiment], query, order_by=["attributes.start_time DESC"])
    return [run for run in runs if run.data.tags.get("crlhf.superseded") != "true"]


def _new_child(client: Any, parent: str, instance: str, params: Params, tags: Mapping[str, str]) -> str:
    from importlib import import_module

    experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
    tags = {"mlflow.parentRunId": parent, **tags}
    run_id = str(client.create_run(experiment, run_name=instance, tags=tags).info.run_id)
    sections = import_module(f"crlhf.stages.{instance.partition('@')[0]}").SECTIONS
    values = params.model_dump(mode="json")
    _log_params(client, run_id, {name: values[name] for name in sections})
    return run_id


def _log_params(client: Any, run_id: str, values: Mapping[str, Any]) -> None:
    from mlflow.entities import Param

    flat = [Param(name, str(value)[:6000]) for name, value in _flatten(values)]
    client.log_batch(run_id, params=flat)


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _last_step(client: Any, run_id: str) -> int:
    """The last step an interrupted run logged, 0 if none."""
    names = client.get_run(run_id).data.metrics
    return max((point.step for name in names for point in client.get_metric_history(run_id, name)), default=0)


def git_tags(root: Path) -> dict[str, str]:
    """The commit the project is at and whether the tree differs from it; empty outside git."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return {
            "git.commit": git("rev-parse", "HEAD"),
            "git.dirty": str(bool(git("status", "--porcelain", "-uno"))).lower(),
        }
    except (OSError, subprocess.CalledProcessError):
        return {}


def _milliseconds() -> int:
    import time

    return int(time.time() * 1000)
