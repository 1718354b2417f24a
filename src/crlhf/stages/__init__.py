"""Stages: one function each that reads tables, calls the rooms, writes tables and says what it did.

A stage is a module with `SECTIONS`, the sections of params.yaml it reads (dvc.yaml lists the same), and
`run(context) -> Summary`. The command line, DVC and Dagster all go through `runner.execute`.
"""

from __future__ import annotations

STAGES: dict[str, str] = {
    "problems": "Training and benchmark problems in one schema",
    "base_policy": "Fetch the base policy and convert it once to safetensors",
    "completions": "Sample completions from the base policy, with behaviour log-probabilities",
    "honeypots": "Mix in programs with known truth: verified single faults, and correct ones",
    "annotations": "Raw line verdicts: the simulated crowd, or the collected batch files",
    "validated": "Check raw annotations; quarantine bad rows with their reasons",
    "reliabilities": "Estimate each annotator's reliability",
    "rewards": "Line posteriors, aligned scores, consensual ranking, rewards",
    "ppo": "Tune a LoRA adapter with PPO on the annotated completions",
    "humaneval": "Generate and score HumanEval with the base or the tuned policy",
    "mbpp": "Generate and score MBPP with the base or the tuned policy",
    "sql": "Generate and score the SQL set with the base or the tuned policy, where params.yaml asks for it",
    "scores": "pass@k of base and tuned with intervals and their paired comparison",
    "report": "One self-contained report in HTML and Markdown",
}
"""Every stage with one line of help, in pipeline order."""

PER_POLICY = ("humaneval", "mbpp", "sql")
"""Stages that are run once for each policy: their instances are `humaneval@base`, `humaneval@tuned`, ..."""

POLICIES = ("base", "tuned")


def instance_name(stage: str, policy: str | None) -> str:
    """The name DVC knows a stage by: `rewards`, or `humaneval@base`."""
    return f"{stage}@{policy}" if policy else stage


def summary_path(instance: str) -> str:
    """Where an instance writes its summary, below the project's root."""
    return f"metrics/stages/{instance.replace('@', '_')}.json"
