"""What the benchmark stages share: write programs with one policy under a protocol, run them, keep every verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crlhf.params import BenchmarkParams
from crlhf.schema import BENCHMARK_SAMPLES, Summary
from crlhf.stages import instance_name
from crlhf.stages.judging import judge
from crlhf.stages.policies import Policy, find_policy
from crlhf.stages.sampling import Sampling, sample
from crlhf.stages.wording import Task, answers_of, open_task
from crlhf.store import records

if TYPE_CHECKING:
    import pandas as pd

    from crlhf.evaluation.protocols import Protocol
    from crlhf.policy.decoding import Sample
    from crlhf.stages.runner import Context


def run(context: Context, benchmark: str, params: BenchmarkParams | None) -> Summary:
    """Write the policy's table of the benchmark: empty when it is not asked for, or its problems are not there."""
    import pandas as pd

    from crlhf.evaluation.protocols import get_protocol

    assert context.round
    name = instance_name(benchmark, context.round)
    if params is None:
        context.store.write(benchmark, pd.DataFrame(columns=list(BENCHMARK_SAMPLES.column_names)))
        return Summary({"n_problems": 0}, {"subset": f"not scored: params.yaml has no benchmarks.{benchmark}"})
    every_problem = context.store.read("problems")
    source = get_protocol(params.protocol).benchmark
    every = every_problem[(every_problem["source"] == source) & (every_problem["split"] == "test")]
    problems = every[: params.limit]
    if problems.empty:
        context.say(f"{benchmark}: WARNING: the problems of {source} are not there, so it is not scored")
        context.store.write(benchmark, pd.DataFrame(columns=list(BENCHMARK_SAMPLES.column_names)))
        return Summary({"n_problems": 0}, {"subset": "not scored: problems are missing"})
    policy = find_policy(context.store.root, context.round)
    if policy.is_simulated:
        context.run.mark_simulated()
    task = _task(context, get_protocol(params.protocol), policy, every_problem, records(problems))
    settings = _settings(context, task)
    journal = context.journal(
        benchmark, policy.policy_id, task.protocol.sha256, task.inputs, settings, context.params.benchmarks.engine
    )
    samples = sample(task.engine, task.inputs, settings, journal, f"{name}: writing")
    table = _judge(context, name, task, samples)
    protocol = task.protocol
    table = table.assign(benchmark=benchmark, protocol=protocol.id, policy=context.round, policy_id=policy.name)
    context.store.write(benchmark, table[list(BENCHMARK_SAMPLES.column_names)])
    journal.finish()
    return _summary(context, table, task, policy, subset_name(len(problems), len(every)))


def subset_name(n: int, n_all: int) -> str:
    """How a report names the problems that were used: `all 164`, or `first 16 of 164`."""
    return f"all {n_all}" if n == n_all else f"first {n} of {n_all}"


def _task(
    context: Context, protocol: Protocol, policy: Policy, every_problem: pd.DataFrame, problems: list[dict[str, Any]]
) -> Task:
    by_id = {row["problem_id"]: row for row in records(every_problem)}
    return open_task(protocol, problems, by_id, context.params.benchmarks.engine, policy.folder, policy.adapter)


def _settings(context: Context, task: Task) -> Sampling:
    params = context.params.benchmarks
    return Sampling(
        n=params.n_samples,
        max_new_tokens=params.max_new_tokens,
        temperature=params.temperature,
        stops=task.stops,
        seed=context.params.seed,
        batch_size=params.batch_size,
        top_p=params.top_p,
    )


def _judge(context: Context, name: str, task: Task, samples: list[Sample]) -> pd.DataFrame:
    """The samples with their verdicts, under the protocol's own time limit."""
    import pandas as pd

    answers = answers_of(task, samples)
    judged = judge(task.protocol, answers, context.params.sandbox, f"{name}: running")
    return pd.DataFrame(
        {
            "problem_id": answer.problem["problem_id"],
            "sample_no": drawn.sample_no,
            "code": one.code,
            "n_tokens": len(drawn.token_ids),
            "finish_reason": drawn.finish_reason,
            "verdict": one.verdict,
            "reason": one.reason,
            "outcome": one.outcome,
            "isolation": one.isolation,
        }
        for drawn, answer, one in zip(samples, answers, judged, strict=True)
    )


def _summary(context: Context, table: pd.DataFrame, task: Task, policy: Policy, subset: str) -> Summary:
    from crlhf.evaluation.outcomes import breakdown

    params, protocol = context.params.benchmarks, task.protocol
    metrics: dict[str, float] = {
        f"n_{verdict}": int((table["verdict"] == verdict).sum()) for verdict in ("pass", "fail", "timeout", "error")
    }
    metrics |= {f"outcome/{name}": count for name, count in breakdown(table["outcome"]).items()}
    metrics |= {
        "n_problems": int(table["problem_id"].nunique()),
        "n_truncated": int((table["finish_reason"] == "length").sum()),
        "pass_rate": round(float((table["verdict"] == "pass").mean()), 9),
        "mean_tokens": round(float(table["n_tokens"].mean()), 6),
    }
    facts = {
        "subset": subset,
        "protocol": protocol.id,
        "protocol_sha256": protocol.sha256,
        "sampling": (
            f"temperature {params.temperature}, top_p {params.top_p}, {params.n_samples} a problem, "
            f"{params.max_new_tokens} tokens"
        ),
        "engine": params.engine,
        "policy": policy.name,
        "policy_id": policy.policy_id,
        "isolation": ", ".join(sorted(table["isolation"].unique())),
    }
    return Summary(metrics, facts, is_simulated=policy.is_simulated)
