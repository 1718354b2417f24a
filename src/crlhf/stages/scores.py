"""Stage `scores`: pass@k of every policy with intervals, and the paired comparison of each round's with the base."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crlhf.schema import Summary
from crlhf.stages import BASE
from crlhf.stages.benchmark import subset_name
from crlhf.stages.policies import read_manifest
from crlhf.store import write_json

if TYPE_CHECKING:
    import pandas as pd

    from crlhf.stages.runner import Context

SECTIONS = ("seed", "rounds", "benchmarks", "report")
SCORES = "metrics/scores.json"
COMPARISONS = "data/tables/comparisons.json"
BENCHMARKS = ("humaneval", "mbpp", "sql")


def run(context: Context) -> Summary:
    """Write `metrics/scores.json` (a record a benchmark, policy and k) and `comparisons.json` (rounds against base)."""
    rounds = evaluated_rounds(context)
    policies = (BASE, *rounds)
    records: list[dict[str, Any]] = []
    comparisons: list[dict[str, Any]] = []
    problems = context.store.read("problems")
    n_all = problems[problems["split"] == "test"].groupby("source").size()
    for benchmark in BENCHMARKS:
        if getattr(context.params.benchmarks, benchmark) is None:
            continue
        tables = {policy: context.store.read(benchmark, policy) for policy in policies}
        if any(table.empty for table in tables.values()):
            context.say(f"scores: WARNING: {benchmark} has no samples and is left out")
            continue
        subset = subset_name(tables[BASE]["problem_id"].nunique(), int(n_all[benchmark]))
        for k in context.params.benchmarks.k:
            values = {policy: per_problem(table, k) for policy, table in tables.items()}
            records += [_record(context, benchmark, policy, tables[policy], k, values[policy]) for policy in policies]
            for policy in rounds:
                about = {"benchmark": benchmark, "k": k, "subset": subset, "policy": policy}
                comparisons.append(about | _compare(context, (tables[BASE], tables[policy]), values, policy))
    write_json(context.path(SCORES), records)
    write_json(context.path(COMPARISONS), comparisons)
    metrics = {f"{r['benchmark']}/{r['policy']}/pass_at_{r['k']}": r["value"] for r in records}
    metrics |= {f"{c['benchmark']}/{c['policy']}/gain_at_{c['k']}": c["difference"] for c in comparisons}
    facts = {c["benchmark"]: c["subset"] for c in comparisons}
    is_simulated = any(read_manifest(context.store.root, name)["is_simulated"] for name in rounds)
    return Summary(metrics, facts, is_simulated=is_simulated)


def evaluated_rounds(context: Context) -> list[str]:
    """The rounds whose policies have been evaluated: all, unless a later round still waits for people."""
    rounds, store = list(context.params.rounds), context.store
    found = [name for name in rounds if all(store.has(benchmark, name) for benchmark in BENCHMARKS)] or rounds[:1]
    if len(found) < len(rounds):
        context.say(f"scores: not evaluated yet: {', '.join(name for name in rounds if name not in found)}")
    return found


def per_problem(table: pd.DataFrame, k: int) -> pd.Series[float]:
    """The unbiased pass@k of each problem, by problem_id in the table's order."""
    from crlhf.evaluation.pass_at_k import pass_at_k

    counts = (table["verdict"] == "pass").groupby(table["problem_id"], sort=False).agg(["size", "sum"])
    return counts.apply(lambda row: pass_at_k(int(row["size"]), int(row["sum"]), k), axis=1)


def _record(
    context: Context, benchmark: str, policy: str, table: pd.DataFrame, k: int, values: pd.Series[float]
) -> dict[str, Any]:
    from crlhf.evaluation.intervals import score_interval

    report = context.params.report
    interval = score_interval(values.tolist(), report.n_bootstrap, report.confidence, context.params.seed)
    return {
        "benchmark": benchmark,
        "policy": policy,
        "protocol": table["protocol"].iloc[0],
        "k": k,
        "value": round(interval.value, 9),
        "low": round(interval.low, 9),
        "high": round(interval.high, 9),
        "n_problems": len(values),
        "n_samples": int(table.groupby("problem_id").size().min()),
    }


def _compare(
    context: Context, tables: tuple[pd.DataFrame, pd.DataFrame], values: dict[str, pd.Series[float]], policy: str
) -> dict[str, Any]:
    """A policy minus base on the same problems: paired bootstrap, McNemar on the first sample, what could be seen."""
    from crlhf.evaluation.intervals import mcnemar, minimum_detectable_difference, paired_bootstrap

    report = context.params.report
    base, tuned = values[BASE].tolist(), values[policy].tolist()
    interval = paired_bootstrap(base, tuned, report.n_bootstrap, report.confidence, context.params.seed)
    test = mcnemar(*map(_first_passed, tables))
    detectable = minimum_detectable_difference([b - a for a, b in zip(base, tuned, strict=True)])
    return {
        "difference": round(interval.value, 9),
        "low": round(interval.low, 9),
        "high": round(interval.high, 9),
        "mcnemar_p": round(test.p_value, 9),
        "n_gained": test.n_only_second,
        "n_lost": test.n_only_first,
        "minimum_detectable_difference": round(detectable.difference, 9),
        "assumption": detectable.assumption,
    }


def _first_passed(table: pd.DataFrame) -> list[bool]:
    """Whether the first sample of each problem passed, by problem_id."""
    first = table[table["sample_no"] == 0].sort_values("problem_id")
    return [verdict == "pass" for verdict in first["verdict"]]
