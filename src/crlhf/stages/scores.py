"""Stage `scores`: pass@k of every policy with intervals, and the paired comparison of each round's with the base."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crlhf.schema import Summary
from crlhf.stages import BASE
from crlhf.stages.benchmark import subset_name
from crlhf.stages.finished_rounds import finished_rounds
from crlhf.stages.policies import read_manifest
from crlhf.store import write_json

if TYPE_CHECKING:
    import pandas as pd

    from crlhf.evaluation.pass_at_k import PassCount
    from crlhf.evaluation.scores import Bootstrap, Counts
    from crlhf.stages.runner import Context

SECTIONS = ("seed", "rounds", "benchmarks", "report")
SCORES = "metrics/scores.json"
COMPARISONS = "data/tables/comparisons.json"
BENCHMARKS = ("humaneval", "mbpp", "sql")


def run(context: Context) -> Summary:
    """Write `metrics/scores.json` (a record a benchmark, policy and k) and `comparisons.json` (rounds against base)."""
    from crlhf.evaluation.scores import Bootstrap

    params = context.params
    bootstrap = Bootstrap(params.report.n_bootstrap, params.report.confidence, params.seed)
    problems = context.store.read("problems")
    finished = finished_rounds(context, "scores")
    rounds = finished.names
    policies = (BASE, *rounds)
    records: list[dict[str, Any]] = []
    comparisons: list[dict[str, Any]] = []
    n_all = problems[problems["split"] == "test"].groupby("source").size()
    for benchmark in BENCHMARKS:
        if getattr(context.params.benchmarks, benchmark) is None:
            continue
        tables = {policy: context.store.read(benchmark, policy) for policy in policies}
        if any(table.empty for table in tables.values()):
            context.say(f"scores: WARNING: {benchmark} has no samples and is left out")
            continue
        counts = {policy: count_table(table) for policy, table in tables.items()}
        source = next(iter(counts[BASE])).partition("/")[0]
        subset = subset_name(len(counts[BASE]), int(n_all[source]))
        for k in params.benchmarks.k:
            records += [_record(benchmark, policy, tables[policy], k, counts[policy], bootstrap) for policy in policies]
            about = {"benchmark": benchmark, "k": k, "subset": subset, "temperature": params.benchmarks.temperature}
            for policy in rounds:
                compared = _compare(counts[BASE], counts[policy], k, bootstrap)
                comparisons.append(about | {"policy": policy} | compared)
    write_json(context.path(SCORES), records)
    write_json(context.path(COMPARISONS), comparisons)
    metrics = {f"{r['benchmark']}/{r['policy']}/pass_at_{r['k']}": r["value"] for r in records}
    metrics |= {f"{c['benchmark']}/{c['policy']}/gain_at_{c['k']}": c["difference"] for c in comparisons}
    facts = {c["benchmark"]: c["subset"] for c in comparisons}
    is_simulated = any(read_manifest(context.store.root, name)["is_simulated"] for name in rounds)
    return Summary(metrics, facts | finished.facts, is_simulated=is_simulated)


def count_table(table: pd.DataFrame) -> dict[str, PassCount]:
    """n and c of each problem of a table of benchmark samples, in the table's order."""
    from crlhf.evaluation.pass_at_k import count_passes

    return count_passes(table["problem_id"].tolist(), (table["verdict"] == "pass").tolist())


def _record(
    benchmark: str, policy: str, table: pd.DataFrame, k: int, counts: dict[str, PassCount], bootstrap: Bootstrap
) -> dict[str, Any]:
    from crlhf.evaluation.outcomes import breakdown
    from crlhf.evaluation.scores import score

    interval = score(counts, k, bootstrap)
    return {
        "benchmark": benchmark,
        "policy": policy,
        "protocol": table["protocol"].iloc[0],
        "k": k,
        "value": round(interval.value, 9),
        "low": round(interval.low, 9),
        "high": round(interval.high, 9),
        "n_problems": len(counts),
        "n_samples": min(count.n for count in counts.values()),
        "outcomes": breakdown(table["outcome"]),
    }


def _compare(base: Counts, tuned: Counts, k: int, bootstrap: Bootstrap) -> dict[str, Any]:
    """A policy against base on the same problems; `mcnemar_p` is null unless each problem has one sample."""
    from crlhf.evaluation.scores import compare

    found = compare(base, tuned, k, bootstrap)
    return {
        "difference": round(found.difference.value, 9),
        "low": round(found.difference.low, 9),
        "high": round(found.difference.high, 9),
        "mcnemar_p": None if found.mcnemar_p is None else round(found.mcnemar_p, 9),
        "n_gained": found.n_gained,
        "n_lost": found.n_lost,
        "minimum_detectable_difference": round(found.minimum_detectable_difference, 9),
        "assumption": found.assumption,
    }
