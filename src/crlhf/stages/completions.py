"""Stage `completions`: programs sampled from the policy of the round before for the training problems."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from crlhf.lines import sha256_text
from crlhf.schema import Summary
from crlhf.stages.policies import find_policy
from crlhf.stages.sampling import Sampling, sample
from crlhf.store import records

if TYPE_CHECKING:
    import pandas as pd

    from crlhf.stages.policies import Policy
    from crlhf.stages.runner import Context

SECTIONS = ("seed", "completions")


def run(context: Context) -> Summary:
    """Sample `n_per_problem` completions a training problem; write `completions`.

    Finished batches are kept in a journal: an interrupted run goes on where it stopped and ends with the same table.
    """
    import pandas as pd

    from crlhf.evaluation.protocols import get_protocol
    from crlhf.policy.engines import open_engine

    params = context.params.completions
    policy = find_policy(context.store.root, context.previous)
    if policy.is_simulated:
        context.run.mark_simulated()
    problems = context.store.read("problems")
    problems = problems[problems["split"] == "train"][: params.n_problems]
    protocol = get_protocol(params.protocol)
    inputs = [protocol.model_input(row) for row in records(problems)]
    settings = Sampling(
        n=params.n_per_problem,
        max_new_tokens=params.max_new_tokens,
        temperature=params.temperature,
        stops=protocol.stops,
        seed=context.seed,
        batch_size=params.batch_size,
    )
    journal = context.journal("completions", policy.policy_id, policy.base, inputs, settings)
    engine = open_engine("policy", policy.folder, policy.adapter)
    samples = sample(engine, inputs, settings, journal, "completions")
    rows = [
        {
            "completion_id": completion_id(policy.policy_id, context.seed, problem_id, drawn.sample_no),
            "problem_id": problem_id,
            "sample_no": drawn.sample_no,
            "policy_id": policy.policy_id,
            "model_input": inputs[drawn.input_no],
            "code": (code := protocol.cut(drawn.text)),
            "code_sha256": sha256_text(code),
            "prompt_token_ids": list(drawn.prompt_token_ids),
            "token_ids": list(drawn.token_ids),
            "logprobs": list(drawn.logprobs),
            "temperature": params.temperature,
            "finish_reason": drawn.finish_reason,
        }
        for drawn in samples
        for problem_id in [problems["problem_id"].iloc[drawn.input_no]]
    ]
    table = pd.DataFrame(rows)
    context.store.write("completions", table)
    journal.finish()
    return _summary(table, policy)


def completion_id(policy_id: str, seed: int, problem_id: str, sample_no: int) -> str:
    """16 hex digits that identify a completion and say nothing about it."""
    return hashlib.sha256(f"{policy_id}/{seed}/{problem_id}/{sample_no}".encode()).hexdigest()[:16]


def _summary(table: pd.DataFrame, policy: Policy) -> Summary:
    lengths = table["token_ids"].map(len)
    return Summary(
        metrics={
            "n_completions": len(table),
            "n_problems": int(table["problem_id"].nunique()),
            "mean_tokens": round(float(lengths.mean()), 6),
            "share_truncated": round(float((table["finish_reason"] == "length").mean()), 6),
            "share_distinct": round(float(table["code_sha256"].nunique() / len(table)), 6),
        },
        facts={"policy": policy.name},
        is_simulated=policy.is_simulated,
    )
