"""The sensor that goes on with a round of people as soon as its verdicts are there."""

from __future__ import annotations

import json
from pathlib import Path

import dagster as dg
from dagster._core.storage.dagster_run import IN_PROGRESS_RUN_STATUSES

from crlhf.errors import CrlhfError
from crlhf.stages.collection import awaited_rounds, is_ready, progress_of, state_of_files
from dagster_project.graph import Graph
from dagster_project.sync import stage_key

EVERYTHING = "everything"
"""The job of all stages; the sensor asks for a part of it."""
INTERVAL_S = 30
WAITS = "annotations"
"""The stage at which a round waits."""


def build_crowd_sensors(graph: Graph, root: Path) -> list[dg.SensorDefinition]:
    """The sensor `crowd_verdicts`, on from the start; none in a pipeline without a stage that waits.

    A tick reads the params, the ledger and the times of the batch files; batches only when one is new. When a round has
    what it needs, it asks for one run: what is left of the round, scores and report, and the programs of the next
    round. The run's key is the round and the state of its files, so nothing is launched twice for the same batches. A
    round that cannot be asked about is told and holds up no other.
    """
    if not any(stage.meta.get("may_wait") for stage in graph.stages.values()):
        return []

    @dg.sensor(
        name="crowd_verdicts",
        job_name=EVERYTHING,
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Goes on with a round of people as soon as its completions have the verdicts they need.",
    )
    def crowd_verdicts(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        seen: dict[str, str] = json.loads(context.cursor or "{}")
        if context.instance.get_runs(dg.RunsFilter(statuses=IN_PROGRESS_RUN_STATUSES), limit=1):
            return dg.SensorResult(skip_reason="a run is going on", cursor=context.cursor)
        requests, said = [], []
        try:
            rounds = awaited_rounds(root)
        except CrlhfError as error:
            return dg.SensorResult(skip_reason=str(error), cursor=json.dumps(seen))
        for name in rounds:
            try:
                state = state_of_files(root, name)
                if f"{WAITS}@{name}" not in graph.stages:
                    said.append(f"round {name}: press Reload definitions")
                    continue
                if seen.get(name) == state:
                    said.append(f"round {name}: no new batch")
                elif is_ready(root, name):
                    keys = [stage_key(graph.stages[one]) for one in rest_of_round(graph, name)]
                    requests.append(dg.RunRequest(run_key=f"{name}-{state}", asset_selection=keys))
                else:
                    said.append(f"round {name}: waiting: {progress_of(root, name)}")
                seen[name] = state
            except CrlhfError as error:  # one round's trouble does not hold up another; it is asked again next time
                said.append(f"round {name}: {error}")
                context.log.warning(said[-1])
        reason = None if requests else "; ".join(said) or "no round waits for verdicts"
        return dg.SensorResult(run_requests=requests, skip_reason=reason, cursor=json.dumps(seen))

    return [crowd_verdicts]


def rest_of_round(graph: Graph, name: str) -> list[str]:
    """The stages that can run once the crowd of a round is done, in order: up to where the next round waits.

    Scores and report belong to no round and are among them: they tell of the rounds that are over.
    """
    start = f"{WAITS}@{name}"
    can_run, held = [], set[str]()
    for one in downstream(graph, start):
        stage = graph.stages[one]
        must_wait = one != start and bool(stage.meta.get("may_wait"))
        if must_wait or ("@" in one and held.intersection(stage.upstream)):
            held.add(one)
        else:
            can_run.append(one)
    return can_run


def downstream(graph: Graph, start: str) -> list[str]:
    """The stage and all that reads, directly or not, what it makes; in order."""
    found = {start}
    for one, stage in graph.stages.items():  # every stage comes after those it reads from
        if found.intersection(stage.upstream):
            found.add(one)
    return [one for one in graph.stages if one in found]
