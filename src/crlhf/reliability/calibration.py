"""A temperature against the overconfidence of naive Bayes.

Hard lines make many annotators err together, so verdicts are not independent given the truth and posteriors are too
sure. The evidence `x_l` (sum of the log-likelihood ratios) is multiplied by one temperature `T`, at most 1 (above it
only honeypots that are easier than other lines could bring it), and honeypots may shift the log-odds by a small `b`:

    P(l wrong) = sigmoid(logit(pi) + b + T * x_l).

`T` comes from two sources. Without any honeypot: the other verdicts on a line must predict an annotator's verdict,

    max_T  sum_{l, i} log sum_z P(z | verdicts of the others on l, T) P(verdict of i on l | z),

the pseudo-likelihood of Besag (1975, doi:10.2307/2987782): 1 when verdicts are independent given the truth, less
when lines are hard. With honeypots: the log-loss of the posteriors of honeypot lines, each computed without its own
contribution to the annotators' counts, so that it is held out; the first is then the centre of the prior of `T`.

Departs from the paper (arXiv:2503.15129): the paper does not temper. Temperature scaling: Guo et al. 2017,
arXiv:1706.04599.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from crlhf.reliability.honeypot_beta import BetaCounts
from crlhf.reliability.labels import Labels
from crlhf.reliability.verdicts import Floats

LOWEST, HIGHEST = 0.05, 1.0
_RELATIVE_SD = 0.5  # of the prior of T around what the pseudo-likelihood says
_SHIFT_SD = 0.1  # honeypots may be easier than other lines: they hardly move the base rate
_WORTH = 2.0  # nats by which a temperature must beat 1 before it is believed
_SAMPLE = 100_000  # verdicts that the pseudo-likelihood looks at


class Tempering(NamedTuple):
    """What corrects the posteriors: `logit P(wrong) = logit(pi) + shift + temperature * evidence`."""

    temperature: float
    shift: float


def sigmoid(x: Floats) -> Floats:
    """1 / (1 + exp(-x)), without overflow."""
    from scipy.special import expit

    p: Floats = expit(x)
    return p


def logit(p: Floats | float) -> Floats:
    """log(p / (1 - p))."""
    odds: Floats = np.log(p) - np.log1p(-np.asarray(p))
    return odds


def evidence_weights(sensitivity: BetaCounts, specificity: BetaCounts) -> Floats:
    """Log-likelihood ratio, wrong against correct, of the verdicts `ok` and `wrong` of each annotator, (A, 2)."""
    sens, spec = sensitivity.mean, specificity.mean
    return np.stack([np.log((1 - sens) / spec), np.log(sens / (1 - spec))], 1)


def held_out_evidence(
    labels: Labels, lines: npt.NDArray[np.intp], sensitivity: BetaCounts, specificity: BetaCounts
) -> Floats:
    """Evidence on lines of known truth with each line's own contribution taken out of the annotators' counts.

    Args:
        labels: the labels.
        lines: (n,) lines of known truth.
        sensitivity: (A,) posterior counts that include the lines at their weight.
        specificity: the same.

    Returns:
        (n,) evidence that the line is wrong.
    """
    sub = labels.matrix[lines]
    row = np.repeat(np.arange(len(lines)), np.diff(sub.indptr))
    annotator, is_marked = sub.indices // 2, sub.indices % 2 == 1
    own = labels.weight[lines][row] * sub.data
    is_wrong = labels.is_wrong[lines][row] == 1

    def left(counts: Floats, is_in: npt.NDArray[np.bool_]) -> Floats:
        counted = counts[annotator]
        rest: Floats = counted - np.where(is_in, np.minimum(own, 0.95 * counted), 0.0)
        return rest

    caught, missed = left(sensitivity.hits, is_wrong & is_marked), left(sensitivity.misses, is_wrong & ~is_marked)
    passed, accused = left(specificity.hits, ~is_wrong & ~is_marked), left(specificity.misses, ~is_wrong & is_marked)
    given_wrong = np.where(is_marked, caught, missed) / (caught + missed)
    given_ok = np.where(is_marked, accused, passed) / (passed + accused)
    evidence = np.log(given_wrong / given_ok) * sub.data
    return np.bincount(row, weights=evidence, minlength=len(lines)).astype(np.float64)


def temperature_from_agreement(
    labels: Labels, evidence: Floats, prior_wrong: float, sensitivity: BetaCounts, specificity: BetaCounts
) -> float:
    """The temperature at which the other verdicts on a line best predict each verdict; at most 1.

    It is 1 when nothing can be said: no line with two verdicts, or a gain of less than two nats.
    """
    from scipy.optimize import minimize_scalar

    step = max(1, int(labels.matrix.nnz // _SAMPLE))
    lines = np.arange(0, len(labels.truth), step)
    sub = labels.matrix[lines]
    column = sub.indices
    weights = evidence_weights(sensitivity, specificity).ravel()
    others = np.repeat(evidence[lines], np.diff(sub.indptr)) - weights[column]
    sens, spec = sensitivity.mean, specificity.mean
    given_wrong = np.stack([1 - sens, sens], 1).ravel()[column]
    given_ok = np.stack([spec, 1 - spec], 1).ravel()[column]
    if not len(column):
        return 1.0

    def loss(temperature: float) -> float:
        wrong = sigmoid(logit(prior_wrong) + temperature * others)
        return -float(np.log(wrong * given_wrong + (1 - wrong) * given_ok).sum())

    best = minimize_scalar(loss, bounds=(LOWEST, 1.0), method="bounded", options={"xatol": 0.01})
    return float(best.x) if loss(1.0) - best.fun > _WORTH else 1.0


def fit_to_honeypots(evidence: Floats, is_wrong: Floats, centre: float) -> Tempering:
    """Temperature and shift that lower the held-out log-loss of honeypot lines, under normal priors.

    The prior of the temperature is centred at `centre`, that of the shift at 0; the base rate is the honeypots' own.
    The found pair is averaged with `(centre, 0)` by the evidence for each (Laplace's approximation), so that a sample
    too small to tell changes little.

    Args:
        evidence: (n,) held-out evidence.
        is_wrong: (n,) 1 for wrong lines.
        centre: the temperature that is believed without honeypots.
    """
    if not len(evidence):
        return Tempering(centre, 0.0)
    base = logit(float((is_wrong.sum() + 1) / (len(is_wrong) + 2)))
    features = np.stack([evidence, np.ones(len(evidence))], 1)  # (n, 2)
    middle, variance = np.array([centre, 0.0]), np.array([_RELATIVE_SD * centre, _SHIFT_SD]) ** 2
    sign = 1 - 2 * is_wrong

    def cost(point: Floats) -> float:
        loss = np.logaddexp(0, sign * (base + features @ point)).sum()
        return float(loss + ((point - middle) ** 2 / variance).sum() / 2)

    point = middle
    for _ in range(50):  # Newton on a convex function of two variables, kept inside the bounds
        p = sigmoid(base + features @ point)
        slope = features.T @ (p - is_wrong) + (point - middle) / variance
        curve = features.T @ (features * (p * (1 - p))[:, None]) + np.diag(1 / variance)
        step = np.clip(np.linalg.solve(curve, slope), -0.2, 0.2)
        point = point - step
        point[0] = np.clip(point[0], LOWEST, HIGHEST)
        if np.abs(step).max() < 1e-6:
            break
    gain = cost(middle) - cost(point) - 0.5 * np.log(np.linalg.det(curve) * variance.prod())
    trust = 1 / (1 + np.exp(-np.clip(gain, -500, 500)))
    found = trust * point + (1 - trust) * middle
    return Tempering(float(found[0]), float(found[1]))
