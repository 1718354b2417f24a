"""The aligned score of a completion, its uncertainty, its reward, and the consensual ranking within a problem.

Source: arXiv:2503.15129. With line posteriors `q_1 .. q_L` of the L judgeable lines,

    s = (1/L) * sum_l q_l = 1 - expected error rate.

The number of correct lines has mean `L * s`. Its distribution is exact: that of the chain of `line_chain` given all
verdicts, or, where lines are independent, the Poisson-binomial one with variance `sum_l q_l * (1 - q_l)`. P(all lines
correct) is its last entry, `prod_l q_l` where lines are independent.

Departs from the paper: L counts judgeable lines, or padding would raise the score; the interval, P(all lines correct)
and the truncation penalty are added; ties in the ranking are explicit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from crlhf.params import RewardsParams
from crlhf.rewards.line_chain import Chain, n_correct_distribution
from crlhf.schema import SCORES, TIE_DECIMALS

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

    Floats = npt.NDArray[np.float64]


class LeftOut(NamedTuple):
    """Completions that get no score, counted by why.

    Attributes:
        no_verdict: nobody judged a line: not shown, no judgeable line, or every answer was refused.
        too_few_annotators: judged by fewer kept annotators than `params.rewards.min_annotators`.
    """

    no_verdict: int
    too_few_annotators: int


class FractionCorrect(NamedTuple):
    """The posterior of the fraction of correct lines: a central 95 % interval, and the count's standard deviation."""

    low: float
    high: float
    n_correct_sd: float


def scores(
    posteriors: pd.DataFrame, completions: pd.DataFrame, params: RewardsParams, chain: Chain | None = None
) -> pd.DataFrame:
    """Score every completion that enough annotators judged.

    Args:
        posteriors: schema LINE_POSTERIORS.
        completions: schema COMPLETIONS; the problem, the program's hash, and whether it was cut at the token limit.
        params: the section `rewards` of params.yaml.
        chain: what the posteriors were smoothed with; None: lines are independent.

    Returns:
        Schema SCORES by problem_id and completion_id. `left_out` counts the completions that are not in it. The
        reward is not clipped: a cut program may get less than 0.
    """
    import pandas as pd

    known = completions.set_index("completion_id")[["problem_id", "code_sha256", "finish_reason"]]
    rows = []
    for completion_id, lines in posteriors.groupby("completion_id", sort=True):
        n_annotators = int((lines["n_ok"] + lines["n_wrong"]).max())
        if completion_id not in known.index or n_annotators < params.min_annotators:
            continue
        q = lines["posterior"].to_numpy(np.float64)
        distribution = (
            poisson_binomial(q) if chain is None else n_correct_distribution(chain, lines["evidence"].to_numpy(float))
        )
        fraction = fraction_correct(distribution)
        is_truncated = known.at[completion_id, "finish_reason"] == "length"
        chosen = {"aligned_score": float(q.mean()), "p_all_correct": float(distribution[-1])}
        rows.append(
            {
                "completion_id": completion_id,
                "problem_id": known.at[completion_id, "problem_id"],
                "code_sha256": known.at[completion_id, "code_sha256"],
                "n_lines": len(q),
                "n_annotators": n_annotators,
                **chosen,
                "aligned_score_low": fraction.low,
                "aligned_score_high": fraction.high,
                "n_correct_sd": fraction.n_correct_sd,
                "is_truncated": bool(is_truncated),
                "reward": chosen[params.kind] - params.truncation_penalty * bool(is_truncated),
            }
        )
    if not rows:
        return pd.DataFrame(columns=list(SCORES.column_names))
    frame = pd.DataFrame(rows).sort_values(["problem_id", "completion_id"], ignore_index=True)
    return add_ranking(frame)[list(SCORES.column_names)]


def left_out(posteriors: pd.DataFrame, completions: pd.DataFrame, params: RewardsParams) -> LeftOut:
    """Count the completions that `scores` leaves out."""
    n_annotators = (posteriors["n_ok"] + posteriors["n_wrong"]).groupby(posteriors["completion_id"]).max()
    judged = n_annotators.reindex(completions["completion_id"]).fillna(0)
    return LeftOut(
        no_verdict=int((judged == 0).sum()),
        too_few_annotators=int(((judged > 0) & (judged < params.min_annotators)).sum()),
    )


def fraction_correct(distribution: Floats) -> FractionCorrect:
    """The posterior of the fraction of correct lines.

    Args:
        distribution: (L + 1,) P(exactly k of L lines are correct), L >= 1.

    Returns:
        The quantiles 0.025 and 0.975 of the count (the smallest count whose distribution function reaches them)
        divided by L, and the standard deviation of the count.
    """
    n = len(distribution) - 1
    low, high = np.searchsorted(np.cumsum(distribution), [0.025, 0.975])
    counts = np.arange(n + 1)
    variance = distribution @ (counts - distribution @ counts) ** 2
    return FractionCorrect(int(low) / n, min(int(high), n) / n, float(np.sqrt(variance)))


def poisson_binomial(q: Floats) -> Floats:
    """P(exactly k of L independent lines are correct) for k = 0 .. L, by convolution, (L + 1,)."""
    pmf = np.ones(1)
    for probability in q:
        pmf = np.convolve(pmf, (1 - probability, probability))
    return pmf


def add_ranking(frame: pd.DataFrame) -> pd.DataFrame:
    """Add `rank` and `is_tied`: within each problem by reward, 1 is best, ties share the best rank (1, 1, 3)."""
    rounded = frame["reward"].round(TIE_DECIMALS)
    by_problem = rounded.groupby(frame["problem_id"])
    rank = by_problem.rank(method="min", ascending=False).astype(np.int64)
    n_same = rounded.groupby([frame["problem_id"], rounded]).transform("size")
    return frame.assign(rank=rank, is_tied=n_same > 1)
