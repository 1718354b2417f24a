"""MLflow behind one small class: one experiment, a parent run per pipeline state, a child run per stage.

The pipeline's state is the hash of params.yaml's values and of the raw data files, so that Dagster, `dvc repro` and a
resumed run meet in the same parent. A child that was killed is reopened; a stage that is run again in the same state
gets a new child, and the old one is tagged superseded. Tracking never fails a stage: if MLflow cannot be reached, the
stage says so and goes on.

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
from crlhf.store import held

EXPERIMENT = "crlhf"
REGISTERED_POLICY = "crlhf-policy"
"""The registered model of which every tuned policy is a version; its aliases are the rounds."""
_RAW_FOLDERS = ("data/starter", "data/annotations", "data/benchmarks")
Say = Callable[[str], None]


def tracking_uri(root: Path) -> str:
    """Where MLflow writes for the project at `root`: an absolute address."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root.resolve() / 'mlflow.db'}"


def pipeline_state(root: Path, params: Params) -> str:
    """16 hex digits that change with any value in params.yaml and with any raw data file."""
    raw = {
        str(path.relative_to(root)): sha256_file(path)
        for folder in _RAW_FOLDERS
        for path in sorted((root / folder).rglob("*"))
        if path.is_file()
    }
    text = json.dumps([params.model_dump(mode="json"), raw], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class StageRun:
    """The MLflow run of one stage. Without a client it swallows everything."""

    def __init__(self, client: Any = None, run_id: str | None = None, known_steps: int = 0, say: Say = print) -> None:
        self.run_id = run_id
        self._client = client
        self._known_steps = known_steps
        self._say = say

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

    def register_policy(self, folder: Path, alias: str) -> None:
        """Keep a tuned policy's folder as a version of the MLflow model `crlhf-policy`, under `alias`."""
        self._call(lambda: self._register(folder, alias))

    def _register(self, folder: Path, alias: str) -> None:
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
        version = self._client.create_model_version(REGISTERED_POLICY, f"runs:/{self.run_id}/policy", self.run_id)
        self._client.set_registered_model_alias(REGISTERED_POLICY, alias, version.version)

    def _log_summary(self, summary: Summary, seconds: float) -> None:
        from mlflow.entities import Metric, RunTag

        now = _milliseconds()
        metrics = [Metric(name, value, now, 0) for name, value in summary.metrics.items()]
        metrics.append(Metric("wall/seconds", seconds, now, 0))
        tags = [RunTag(f"crlhf.fact.{name}", text[:4000]) for name, text in summary.facts.items()]
        tags.append(RunTag("crlhf.crowd", "simulated" if summary.is_simulated else "none or human"))
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
        run._call(lambda: run._client.set_terminated(run.run_id, status))


def annotate(instance: str, root: Path, *, dvc_outputs: Mapping[str, str], dagster_run_id: str | None = None) -> None:
    """Add to a stage's newest run what it cannot know itself: DVC's hashes of its outputs, the Dagster run.

    Where the current pipeline state has no run of the stage (DVC skipped it, since nothing it depends on changed), one
    is made from the stage's summary and tagged `crlhf.reused`.
    """
    if not _is_on():
        return
    from mlflow.entities import RunTag

    from crlhf.stages import summary_path_of
    from crlhf.store import read_json

    params = load_params(root / "params.yaml")
    client = _client(root)
    parent = _parent(client, root, params)
    found = _children(client, parent, instance)
    if found:
        run_id = found[0].info.run_id
    else:
        run_id = _new_child(client, root, parent, instance, params)
        summary = read_json(root / summary_path_of(instance))
        for name, value in summary["metrics"].items():
            client.log_metric(run_id, name, value, step=0)
        client.set_tag(run_id, "crlhf.reused", "true")
        client.set_tag(run_id, "crlhf.crowd", "simulated" if summary["is_simulated"] else "none or human")
        client.set_terminated(run_id, "FINISHED")
    tags = [RunTag(f"dvc.{path}", md5) for path, md5 in dvc_outputs.items()]
    if dagster_run_id:
        tags.append(RunTag("dagster.run_id", dagster_run_id))
    client.log_batch(run_id, tags=tags)


def run_ids(root: Path, params: Params) -> dict[str, str]:
    """MLflow's run ids of the present pipeline state, by stage; the parent's is `pipeline`. Empty if not tracked."""
    if not _is_on():
        return {}
    try:
        client = _client(root)
        parent = _parent(client, root, params)
        experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
        query = f"tags.`mlflow.parentRunId` = '{parent}'"
        runs = client.search_runs([experiment], query, order_by=["attributes.start_time ASC"])
    except Exception:
        return {}
    return {"pipeline": parent} | {run.data.tags["crlhf.stage"]: run.info.run_id for run in runs}


def _is_on() -> bool:
    return os.environ.get("CRLHF_TRACKING", "on") != "off"


def _open(instance: str, root: Path, params: Params, say: Say) -> StageRun:
    if not _is_on():
        return StageRun()
    try:
        client = _client(root)
        parent = _parent(client, root, params)
        for old in _children(client, parent, instance):
            if old.info.status == "FINISHED":
                client.set_tag(old.info.run_id, "crlhf.superseded", "true")
                continue
            client.update_run(old.info.run_id, status="RUNNING")
            return StageRun(client, old.info.run_id, _last_step(client, old.info.run_id), say)
        return StageRun(client, _new_child(client, root, parent, instance, params), 0, say)
    except Exception as error:
        say(f"MLflow: this run is not tracked: {' '.join(str(error).split())[:200]}")
        return StageRun()


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


def _parent(client: Any, root: Path, params: Params) -> str:
    """The id of the parent run of the present pipeline state, made if there is none."""
    state = pipeline_state(root, params)
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


def _children(client: Any, parent: str, instance: str) -> list[Any]:
    """Runs of one stage in one pipeline state, newest first, superseded ones left out."""
    experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
    query = f"tags.`mlflow.parentRunId` = '{parent}' and tags.`crlhf.stage` = '{instance}'"
    runs = client.search_runs([experiment], query, order_by=["attributes.start_time DESC"])
    return [run for run in runs if run.data.tags.get("crlhf.superseded") != "true"]


def _new_child(client: Any, root: Path, parent: str, instance: str, params: Params) -> str:
    from importlib import import_module

    experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
    tags = {"mlflow.parentRunId": parent, "crlhf.stage": instance, **git_tags(root)}
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
