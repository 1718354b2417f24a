"""Stage `scores`: pass@k of base and tuned with intervals, and their paired comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crlhf.schema import Summary
from crlhf.stages import POLICIES
from crlhf.stages.benchmark import subset_name
from crlhf.store import read_json, write_json

if TYPE_CHECKING:
    import pandas as pd

    from crlhf.stages.runner import Context

SECTIONS = ("seed", "benchmarks", "report")
SCORES = "metrics/scores.json"
COMPARISONS = "data/tables/comparisons.json"
BENCHMARKS = ("humaneval", "mbpp", "sql")


def run(context: Context) -> Summary:
    """Write `metrics/scores.json` (a record a benchmark, policy and k) and `comparisons.json` (tuned against base)."""
    records: list[dict[str, Any]] = []
    comparisons: list[dict[str, Any]] = []
    problems = context.store.read("problems")
    n_all = problems[problems["split"] == "test"].groupby("source").size()
    for benchmark in BENCHMARKS:
        if getattr(context.params.benchmarks, benchmark) is None:
            continue
        tables = {policy: context.store.read(f"{benchmark}_{policy}") for policy in POLICIES}
        if any(table.empty for table in tables.values()):
            context.say(f"scores: WARNING: {benchmark} has no samples and is left out")
            continue
        subset = subset_name(tables["base"]["problem_id"].nunique(), int(n_all[benchmark]))
        for k in context.params.benchmarks.k:
            values = {policy: per_problem(table, k) for policy, table in tables.items()}
            records += [_record(context, benchmark, policy, tables[policy], k, values[policy]) for policy in POLICIES]
            comparisons.append({"benchmark": benchmark, "k": k, "subset": subset} | _compare(context, tables, values))
    write_json(context.path(SCORES), records)
    write_json(context.path(COMPARISONS), comparisons)
    metrics = {f"{r['benchmark']}/{r['policy']}/pass_at_{r['k']}": r["value"] for r in records}
    metrics |= {f"{c['benchmark']}/gain_at_{c['k']}": c["difference"] for c in comparisons}
    facts = {c["benchmark"]: c["subset"] for c in comparisons}
    is_simulated = read_json(context.path("metrics/stages/ppo.json"))["is_simulated"]
    return Summary(metrics, facts, is_simulated=is_simulated)


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


def _compare(context: Context, tables: dict[str, pd.DataFrame], values: dict[str, pd.Series[float]]) -> dict[str, Any]:
    """Tuned minus base on the same problems: paired bootstrap, McNemar on the first sample, what could be seen."""
    from crlhf.evaluation.intervals import mcnemar, minimum_detectable_difference, paired_bootstrap

    report = context.params.report
    base, tuned = (values[policy].tolist() for policy in POLICIES)
    interval = paired_bootstrap(base, tuned, report.n_bootstrap, report.confidence, context.params.seed)
    test = mcnemar(*(_first_passed(tables[policy]) for policy in POLICIES))
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
