"""How well a crowd agrees, and how well posteriors are calibrated.

Krippendorff's alpha (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability"), nominal data: with `n_u1`
and `n_u0` verdicts `wrong` and `ok` on line `u`, `m_u = n_u1 + n_u0 >= 2`, and `n`, `n_1`, `n_0` their sums over such
lines,

    alpha = 1 - (n - 1) * sum_u [2 n_u1 n_u0 / (m_u - 1)] / (2 n_1 n_0).

Calibration: log-loss, the Brier score, and the expected calibration error over equal bins of probability (Naeini et
al. 2015, doi:10.1609/aaai.v29i1.9602), with the bins themselves for a reliability diagram.

Departs from the paper (arXiv:2503.15129): the paper reports neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from crlhf.reliability.labels import Labels
from crlhf.reliability.verdicts import Floats

if TYPE_CHECKING:
    import pandas as pd

_FLOOR = 1e-10


class Calibration(NamedTuple):
    """How well probabilities fit what happened.

    Attributes:
        n: how many.
        accuracy: share in which the likelier class is the true one.
        log_loss: mean of -log of the probability of the truth, floored at 1e-10.
        brier: mean squared error.
        ece: expected calibration error.
        bins: columns low, high, n, mean_probability, share_true; empty bins are not listed.
    """

    n: int
    accuracy: float
    log_loss: float
    brier: float
    ece: float
    bins: pd.DataFrame


def calibration_of(probability: Floats, truth: npt.ArrayLike, n_bins: int = 15) -> Calibration:
    """Compare probabilities with what was true; all measures are nan when there is nothing to compare.

    Args:
        probability: (n,) P(true).
        truth: (n,) 0 or 1, or bool.
        n_bins: bins of equal width; the last one includes 1.
    """
    import pandas as pd

    p, t = np.asarray(probability, np.float64), np.asarray(truth, np.float64)
    columns = ["low", "high", "n", "mean_probability", "share_true"]
    if not len(p):
        return Calibration(0, np.nan, np.nan, np.nan, np.nan, pd.DataFrame(columns=columns))
    place = np.minimum((p * n_bins).astype(int), n_bins - 1)
    n = np.bincount(place, minlength=n_bins)
    used = n > 0
    mean_p = np.bincount(place, p, n_bins)[used] / n[used]
    share = np.bincount(place, t, n_bins)[used] / n[used]
    low = np.flatnonzero(used) / n_bins
    bins = pd.DataFrame(dict(zip(columns, (low, low + 1 / n_bins, n[used], mean_p, share), strict=True)))
    of_truth = np.where(t == 1, p, 1 - p)
    return Calibration(
        n=len(p),
        accuracy=float(np.mean((p > 0.5) == (t == 1))),
        log_loss=float(-np.log(np.maximum(of_truth, _FLOOR)).mean()),
        brier=float(((p - t) ** 2).mean()),
        ece=float((n[used] * np.abs(mean_p - share)).sum() / len(p)),
        bins=bins,
    )


def krippendorff_alpha(labels: Labels) -> float | None:
    """Krippendorff's alpha of the verdicts; None when no line has two, or all verdicts are the same."""
    n_wrong = labels.matrix @ np.tile([0.0, 1.0], labels.n_annotators)
    n_ok = labels.matrix @ np.tile([1.0, 0.0], labels.n_annotators)
    m = n_wrong + n_ok
    paired = m >= 2
    n_wrong, n_ok, m = n_wrong[paired], n_ok[paired], m[paired]
    expected = 2 * n_wrong.sum() * n_ok.sum()
    if not expected:
        return None
    return float(1 - (m.sum() - 1) * (2 * n_wrong * n_ok / (m - 1)).sum() / expected)


class Pairs(NamedTuple):
    """Pairs of annotators with lines in common, P of them.

    Attributes:
        first: (P,) index of an annotator; `second` is larger.
        second: (P,) index of the other one.
        n_common: (P,) lines that both judged.
        n_agreed: (P,) lines on which both said the same.
        n_wrong: (P,) expected number of wrong lines among the common ones.
    """

    first: npt.NDArray[np.intp]
    second: npt.NDArray[np.intp]
    n_common: Floats
    n_agreed: Floats
    n_wrong: Floats


def pairwise_agreement(labels: Labels, posterior_wrong: Floats, min_common: int = 1) -> Pairs:
    """Count agreement of all pairs of annotators with at least `min_common` lines in common."""
    from scipy.sparse import diags_array, triu

    if not labels.matrix.nnz:
        return Pairs(np.zeros(0, np.intp), np.zeros(0, np.intp), *(np.zeros(0),) * 3)
    says_ok = labels.matrix[:, np.arange(0, labels.matrix.shape[1], 2)]
    says_wrong = labels.matrix[:, np.arange(1, labels.matrix.shape[1], 2)]
    seen = says_ok + says_wrong
    common = triu(seen.T @ seen, k=1).tocoo()
    agreed = (says_ok.T @ says_ok + says_wrong.T @ says_wrong).tocsr()
    wrong = (seen.T @ (diags_array(posterior_wrong) @ seen)).tocsr()
    first, second = common.coords
    chosen = common.data >= min_common
    first, second = first[chosen].astype(np.intp), second[chosen].astype(np.intp)
    if not len(first):
        return Pairs(first, second, *(np.zeros(0),) * 3)
    return Pairs(
        first,
        second,
        common.data[chosen],
        np.asarray(agreed[first, second]).ravel().astype(np.float64),
        np.asarray(wrong[first, second]).ravel().astype(np.float64),
    )
