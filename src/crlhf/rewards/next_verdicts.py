"""What another annotator would be worth, so that a budget goes where it helps.

A line of posterior `q` adds `q (1 - q)` to the variance of the number of correct lines. If `k` more typical annotators
judge it, the number of marks among them is Binomial(k, 1 - spec) when the line is correct and Binomial(k, sens) when it
is wrong; averaging the variance that would then be left over both gives the expected variance after `k` verdicts:

    E_k[q' (1 - q')] = sum_m P_q(m) q'(m) (1 - q'(m)),   q'(m) = q P_ok(m) / P_q(m).

Preposterior analysis as in Raiffa & Schlaifer 1961, "Applied Statistical Decision Theory". Lines are taken as
independent given the posteriors.

Departs from the paper (arXiv:2503.15129): the paper asks every annotator about everything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

    Floats = npt.NDArray[np.float64]

COLUMNS = ("completion_id", "n_annotators", "score_sd", "score_sd_next", "gain", "n_more")


def value_of_verdicts(
    posteriors: pd.DataFrame, reliabilities: pd.DataFrame, *, target_sd: float = 0.05, max_more: int = 10
) -> pd.DataFrame:
    """How much the aligned score of each completion would gain from more annotators.

    Args:
        posteriors: schema LINE_POSTERIORS.
        reliabilities: schema RELIABILITIES; the typical annotator has the mean rates of the kept ones.
        target_sd: standard deviation of the aligned score that is good enough.
        max_more: most annotators considered.

    Returns:
        Columns completion_id, n_annotators, score_sd (now), score_sd_next (expected after one more annotator: the
        square root of the expected variance), gain (how much variance one more annotator is expected to take away)
        and n_more (annotators until `target_sd` is expected; null: more than `max_more`), the largest gain first.
    """
    import pandas as pd

    kept = reliabilities[reliabilities["is_kept"].astype(bool)]
    if not len(posteriors) or not len(kept):
        return pd.DataFrame(columns=list(COLUMNS))
    sens, spec = float(kept["sensitivity"].mean()), float(kept["specificity"].mean())
    rows = []
    for completion_id, lines in posteriors.groupby("completion_id", sort=True):
        q = lines["posterior"].to_numpy(np.float64)
        variances = np.array([expected_variance(q, sens, spec, k) for k in range(max_more + 1)]) / len(q) ** 2
        reached = np.flatnonzero(variances <= target_sd**2)
        rows.append(
            {
                "completion_id": completion_id,
                "n_annotators": int((lines["n_ok"] + lines["n_wrong"]).max()),
                "score_sd": float(np.sqrt(variances[0])),
                "score_sd_next": float(np.sqrt(variances[min(1, max_more)])),
                "gain": float(variances[0] - variances[min(1, max_more)]),
                "n_more": int(reached[0]) if len(reached) else None,
            }
        )
    frame = pd.DataFrame(rows, columns=list(COLUMNS)).astype({"n_more": "Int64"})
    return frame.sort_values(["gain", "completion_id"], ascending=[False, True], ignore_index=True)


def expected_variance(q: Floats, sensitivity: float, specificity: float, k: int) -> float:
    """Expected variance of the number of correct lines after `k` more typical verdicts on every line.

    Args:
        q: (L,) posteriors.
        sensitivity: P(a wrong line is marked) of the typical annotator.
        specificity: P(a correct line is not marked).
        k: verdicts; 0 gives the variance now.
    """
    from scipy.stats import binom

    marks = np.arange(k + 1)
    if_ok = q[:, None] * binom.pmf(marks, k, 1 - specificity)  # (L, k + 1)
    if_wrong = (1 - q)[:, None] * binom.pmf(marks, k, sensitivity)
    total = if_ok + if_wrong
    return float(np.sum(np.divide(if_ok * if_wrong, total, out=np.zeros_like(total), where=total > 0)))
