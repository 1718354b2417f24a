"""Which rounds scores and report may tell of: those that are over, and whose parts still belong together.

When an early round opens again (its programs were sampled anew, its crowd is another), the tables and policies of later
rounds lie there as before, but they come from a policy that is no more. They are left out, and it is said why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from crlhf.errors import MissingInputError
from crlhf.stages import BASE, PER_POLICY, summary_path
from crlhf.stages.policies import read_manifest
from crlhf.stages.same_programs import other_programs
from crlhf.store import read_json

if TYPE_CHECKING:
    from crlhf.stages.runner import Context

_OF_A_ROUND = ("completions", "items", "annotations", "validated", "scores", "ppo_steps")


class FinishedRounds(NamedTuple):
    """Names of the rounds that count, in order, at least one; and of the others, each with the reason."""

    names: list[str]
    left_out: dict[str, str]

    @property
    def facts(self) -> dict[str, str]:
        """What a summary says of the rounds that were left out; nothing when there are none."""
        told = "; ".join(f"{name}: {why}" for name, why in self.left_out.items())
        return {"rounds_left_out": told} if told else {}


def finished_rounds(context: Context, stage: str) -> FinishedRounds:
    """The rounds that count in `stage`, which says on the terminal what it leaves out.

    A round counts when the one it goes on from does, its crowd has judged the programs of its completions table, its
    policy was trained from the present policy of the round before, and every benchmark was written by its policy.

    Raises:
        MissingInputError: no round counts, or the base policy as it is now was not evaluated.
    """
    if why := _not_evaluated(context, BASE):
        raise MissingInputError(f"{stage}: the base policy: {why}")
    names: list[str] = []
    left_out: dict[str, str] = {}
    for name, params in context.params.rounds.items():
        before = f"round {params.prev}, which it goes on from, is left out" if params.prev in left_out else ""
        if why := before or _not_over(context, name, params.prev) or _not_evaluated(context, name):
            left_out[name] = why
            context.say(f"{stage}: WARNING: round {name} is left out: {why}")
        else:
            names.append(name)
    if not names:
        told = "; ".join(f"{name}: {why}" for name, why in left_out.items())
        raise MissingInputError(f"{stage}: no round is over ({told}); run `dvc repro`")
    return FinishedRounds(names, left_out)


def _not_over(context: Context, name: str, prev: str) -> str:
    """Why the round's policy is not one to tell of; empty when it is."""
    store = context.store
    for table in _OF_A_ROUND:
        if not store.has(table, name):
            return f"{store.table_path(table, name).relative_to(store.root)} is not there yet"
    if read_manifest(store.root, name)["prev"] != read_manifest(store.root, prev)["policy_id"]:
        return f"its policy was not trained from the present policy of {prev}"
    completions, items = store.read("completions", name), store.read("items", name)
    shown = items[~items["is_honeypot"].astype(bool)]
    if other_programs(completions, shown) or other_programs(completions, store.read("scores", name)):
        return "its completions were sampled anew after the crowd had judged them"
    return ""


def _not_evaluated(context: Context, name: str) -> str:
    """Why the benchmarks do not tell of the policy `name` as it is now; empty when they do."""
    policy_id = read_manifest(context.store.root, name)["policy_id"]
    for benchmark in PER_POLICY:
        path = summary_path(benchmark, name)
        if not (context.store.has(benchmark, name) and context.path(path).exists()):
            return f"{benchmark} was not run with it; run `dvc repro {benchmark}@{name}`"
        facts = read_json(context.path(path))["facts"]
        if facts.get("policy_id", policy_id) != policy_id:  # none where the benchmark is not asked for
            return f"{benchmark} was run with another policy; run `dvc repro {benchmark}@{name}`"
    return ""
