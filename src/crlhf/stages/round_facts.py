"""What each round showed, for the report: its completions, its crowd, with intervals over problems."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crlhf.stages import summary_path
from crlhf.store import read_json

if TYPE_CHECKING:
    import pandas as pd

    from crlhf.evaluation.report import Point, RoundFacts
    from crlhf.stages.runner import Context


def round_facts(context: Context, name: str) -> RoundFacts:
    """Read the tables of one round that is over.

    A completion passed when its lines are known to be right because all tests passed. Only a simulated crowd comes with
    such a truth; with people the pass rate is None.
    """
    from crlhf.evaluation.report import RoundFacts

    store = context.store
    validated = read_json(context.path(summary_path("validated", name)))
    completions, scores = store.read("completions", name), store.read("scores", name)
    truths = store.read("line_truths", name)
    passed = completions["completion_id"].isin(truths.loc[truths["method"] == "tests_pass", "completion_id"])
    return RoundFacts(
        name=name,
        prev=context.params.rounds[name].prev,
        true_pass_rate=_point(context, passed.astype(float), completions["problem_id"])
        if validated["is_simulated"]
        else None,
        aligned_score=_point(context, scores["aligned_score"], scores["problem_id"]),
        n_annotators=int(validated["metrics"]["n_annotators"]),
        n_late=int(validated["metrics"]["n_late"]),
        reliabilities=store.read("reliabilities", name),
    )


def _point(context: Context, values: pd.Series[float], problems: pd.Series[str]) -> Point:
    """The mean over problems of each problem's mean, with its bootstrap interval."""
    from crlhf.evaluation.intervals import score_interval
    from crlhf.evaluation.report import Point

    report = context.params.report
    means = values.astype(float).groupby(problems.to_numpy(), sort=True).mean()
    return Point(*score_interval(means.tolist(), report.n_bootstrap, report.confidence, context.params.seed)[:3])
