"""Stages: one function each that reads tables, calls the rooms, writes tables and says what it did.

A stage is a module with `SECTIONS`, the sections of params.yaml it reads (dvc.yaml lists the same), and
`run(context) -> Summary`. The command line, DVC and Dagster all go through `runner.execute`.
"""

from __future__ import annotations

from collections.abc import Iterable

STAGES: dict[str, str] = {
    "problems": "Training and benchmark problems in one schema",
    "base_policy": "Fetch the base policy and convert it once to safetensors",
    "completions": "Sample completions from the policy of the round before, with behaviour log-probabilities",
    "honeypots": "Mix in programs with known truth: verified single faults, and correct ones",
    "annotations": "Raw line verdicts: the simulated crowd, or the collected batch files",
    "validated": "Check raw annotations; quarantine bad rows with their reasons",
    "reliabilities": "Estimate each annotator's reliability",
    "rewards": "Line posteriors, aligned scores, consensual ranking, rewards",
    "ppo": "Tune a LoRA adapter with PPO on the annotated completions",
    "humaneval": "Generate and score HumanEval with the base policy or that of a round",
    "mbpp": "Generate and score MBPP with the base policy or that of a round",
    "sql": "Generate and score the SQL set with the base policy or that of a round, where params.yaml asks for it",
    "scores": "pass@k of every policy with intervals, and the paired comparison of each round with the base",
    "report": "One self-contained report in HTML and Markdown",
}
"""Every stage with one line of help, in pipeline order."""

BASE = "base"
"""The name of the policy that the first round samples from."""

PER_ROUND = (
    "completions",
    "honeypots",
    "annotations",
    "validated",
    "reliabilities",
    "rewards",
    "ppo",
)
"""Stages that are run once for each round: their instances are `ppo@r1`, `ppo@r2`, ..."""

PER_POLICY = ("humaneval", "mbpp", "sql")
"""Stages that are run once for each policy: their instances are `humaneval@base`, `humaneval@r1`, ..."""


def rounds_of(stage: str, rounds: Iterable[str]) -> tuple[str | None, ...]:
    """What a stage is run for in a project of these rounds: each of them, each policy, or (None,) when for neither."""
    if stage in PER_ROUND:
        return tuple(rounds)
    return (BASE, *rounds) if stage in PER_POLICY else (None,)


def instance_name(stage: str, round_name: str | None) -> str:
    """The name DVC knows a stage by: `scores`, or `ppo@r1`."""
    return f"{stage}@{round_name}" if round_name else stage


def summary_path_of(instance: str) -> str:
    """Where the stage instance writes its summary, below the project's root."""
    stage, _, round_name = instance.partition("@")
    return summary_path(stage, round_name or None)


def summary_path(stage: str, round_name: str | None = None) -> str:
    """Where a stage writes its summary, below the project's root."""
    return f"metrics/rounds/{round_name}/{stage}.json" if round_name else f"metrics/stages/{stage}.json"
