"""Stage `problems`: a training set in Python or SQL, and HumanEval, MBPP and the SQL set to be scored on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crlhf.errors import MissingInputError
from crlhf.fetch import cache_folder
from crlhf.schema import CheckSpec, Summary

if TYPE_CHECKING:
    import pandas as pd

    from crlhf.stages.runner import Context

SECTIONS = ("seed", "problems")
CHECKS = (
    CheckSpec("mbpp_is_there", "MBPP was found, so that it can be scored", "warning"),
    CheckSpec("no_near_duplicates", "no training problem resembles a benchmark problem", "warning"),
)
STARTER = "data/starter/problems.jsonl"
SQL = "data/sql/problems.jsonl"


def run(context: Context) -> Summary:
    """Write `problems`; near-duplicates of benchmark problems are taken out of the training problems and named."""
    import pandas as pd

    from crlhf.evaluation.near_duplicates import near_duplicates
    from crlhf.evaluation.problems import load_humaneval, load_sql, load_starter

    params = context.params.problems
    mbpp, origin = _mbpp(context)
    if params.training == "mbpp_train" and mbpp is None:
        raise MissingInputError(
            "problems.training is mbpp_train, but MBPP was not found; see data/benchmarks/README.md"
        )
    sets = [load_humaneval(), mbpp, load_sql(context.path(SQL))]
    benchmarks = pd.concat([frame for frame in sets if frame is not None], ignore_index=True)
    others = benchmarks[benchmarks["split"] != "train"]
    if params.training == "starter":
        training, rivals = load_starter(context.path(STARTER)), benchmarks
    else:
        is_own = benchmarks["source"] == params.training.removesuffix("_train")
        training, rivals = benchmarks[is_own & (benchmarks["split"] == "train")], others
    found = near_duplicates(training, rivals, params.near_duplicate_threshold)
    for pair in found:
        context.say(
            f"problems: {pair.problem_id} resembles {pair.benchmark_id} ({pair.similarity:.2f}): not trained on"
        )
    refused = {pair.problem_id for pair in found}
    training = training[~training["problem_id"].isin(refused)]
    context.store.write("problems", pd.concat([training, others], ignore_index=True))
    return Summary(
        metrics={
            "n_training": len(training),
            "n_humaneval": int((benchmarks["source"] == "humaneval").sum()),
            "n_mbpp": int((benchmarks["source"] == "mbpp").sum()),
            "n_sql": int((benchmarks["source"] == "sql").sum()),
            "n_refused": len(refused),
        },
        facts={"training": params.training, "mbpp": origin, "refused": ", ".join(sorted(refused)) or "none"},
        checks=(CHECKS[0].result(int(mbpp is None)), CHECKS[1].result(len(refused))),
    )


def _mbpp(context: Context) -> tuple[pd.DataFrame | None, str]:
    """MBPP and where it came from, or None and a loud word."""
    from crlhf.evaluation.problems import find_mbpp, load_mbpp

    folders = [context.path(folder) for folder in context.params.problems.benchmark_folders]
    found = find_mbpp(folders, cache_folder(), say=context.say)
    if found is None:
        context.say("problems: WARNING: MBPP is not there and cannot be fetched: this run scores HumanEval only.")
        context.say("problems: put mbpp.jsonl into data/benchmarks (see its README.md) and run again to score it too.")
        return None, "not found"
    path, _ = found
    return load_mbpp(path), "mbpp.jsonl, sha256 checked"
