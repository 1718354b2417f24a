"""The paper's optimisation view of reliability: l1-regularised logistic regression on honeypot lines.

Source: arXiv:2503.15129. With verdicts `x_l in {-1, 0, +1}^A` (+1: judged correct, -1: marked wrong, 0: not seen) on N
lines of known truth `y_l in {-1, +1}` (+1: correct),

    min_{b, w}  F(b, w) = (1/N) * sum_l log(1 + exp(-y_l * (b + w^T x_l))) + lambda * ||w||_1,

by FISTA (Beck & Teboulle 2009, doi:10.1137/080716542): a gradient step on the smooth part, soft thresholding, momentum
with restart (O'Donoghue & Candes 2015, doi:10.1007/s10208-013-9150-3), the step by backtracking. Without momentum the
same code is ISTA. It stops when the optimality conditions hold within a tolerance: the gradient is 0 in `b`, is
`-lambda * sign(w_i)` where `w_i != 0`, and is at most `lambda` in size where `w_i = 0`.

`lambda` is chosen on a path from the smallest one that sets all weights to 0, by the cross-validated log-loss of
whole honeypots and the rule of one standard error. The l1 term sets the weights of useless annotators to exactly 0;
`p_i = sigmoid(w_i)`.

Departs from the paper: `b` is not penalised, because with 15 % wrong lines annotators who mark nothing would otherwise
take its place. It holds the log-odds of a correct line among honeypots, which are a design: for other lines they are
exchanged for those of the estimated `base_rate`. An annotator who never saw a honeypot is unknown, not useless, and
gets the mean weight of the others.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from crlhf.params import ReliabilityParams
from crlhf.reliability.base_rate import base_rate
from crlhf.reliability.calibration import logit, sigmoid
from crlhf.reliability.honeypot_beta import Belief, BetaCounts
from crlhf.reliability.labels import Labels
from crlhf.reliability.record import Found
from crlhf.reliability.verdicts import Floats

_MAX_ITERATIONS = 5000
_PATH_LENGTH = 20
_PATH_END = 1e-2  # smallest lambda of the path, as a share of the largest


class Solution(NamedTuple):
    """`b`, `w` (A,), how far the optimality conditions are from holding, and the iterations done."""

    intercept: float
    weights: Floats
    violation: float
    n_iterations: int


def solve(
    x: Any,
    y: Floats,
    penalty: float,
    *,
    start: Solution | None = None,
    has_momentum: bool = True,
    tolerance: float = 1e-6,
    max_iterations: int = _MAX_ITERATIONS,
) -> Solution:
    """Minimise F by FISTA, or by ISTA when `has_momentum` is False.

    Args:
        x: (N, A) verdicts, dense or sparse.
        y: (N,) truth, -1 or +1.
        penalty: lambda, at least 0.
        start: where to begin; None begins at 0.
        has_momentum: False is ISTA.
        tolerance: largest violation of the optimality conditions to stop at.
        max_iterations: stop anyhow after so many steps.

    Returns:
        The solution. With one class only and `penalty` 0 there is no minimum; it stops at `max_iterations`.
    """
    point = np.zeros(x.shape[1] + 1) if start is None else np.append(start.intercept, start.weights)
    ahead, momentum, lipschitz = point, 1.0, 0.25
    violation = np.inf
    for n in range(1, max_iterations + 1):
        value, gradient = _smooth(x, y, ahead)
        while True:  # backtracking: the quadratic model must lie above the function
            moved = _soft_threshold(ahead - gradient / lipschitz, penalty / lipschitz)
            change = moved - ahead
            if _smooth_value(x, y, moved) <= value + gradient @ change + lipschitz / 2 * change @ change + 1e-14:
                break
            lipschitz *= 2
        if has_momentum:
            is_overshot = (ahead - moved) @ (moved - point) > 0
            faster = 1.0 if is_overshot else (1 + np.sqrt(1 + 4 * momentum**2)) / 2
            ahead = moved + (0.0 if is_overshot else (momentum - 1) / faster) * (moved - point)
            momentum = faster
        else:
            ahead = moved
        point = moved
        if n % 5 == 0 or n == max_iterations:
            violation = _violation(x, y, point, penalty)
            if violation <= tolerance:
                break
    return Solution(float(point[0]), point[1:], float(violation), n)


def _smooth_value(x: Any, y: Floats, point: Floats) -> float:
    """The mean logistic loss."""
    return float(np.logaddexp(0, -y * (point[0] + x @ point[1:])).mean())


def _smooth(x: Any, y: Floats, point: Floats) -> tuple[float, Floats]:
    """The mean logistic loss and its gradient in (b, w)."""
    margin = y * (point[0] + x @ point[1:])
    slope = -y * 0.5 * (1 - np.tanh(margin / 2)) / len(y)
    return float(np.logaddexp(0, -margin).mean()), np.append(slope.sum(), x.T @ slope)


def _soft_threshold(point: Floats, amount: float) -> Floats:
    """Proximal operator of `amount * ||w||_1`; the intercept, first, is left alone."""
    moved: Floats = np.sign(point) * np.maximum(np.abs(point) - amount, 0)
    moved[0] = point[0]
    return moved


def _violation(x: Any, y: Floats, point: Floats, penalty: float) -> float:
    """How far the optimality conditions are from holding: the largest deviation over coordinates."""
    gradient = _smooth(x, y, point)[1]
    w, slope = point[1:], gradient[1:]
    deviation = np.where(w != 0, np.abs(slope + penalty * np.sign(w)), np.maximum(np.abs(slope) - penalty, 0))
    return max(abs(float(gradient[0])), float(deviation.max(initial=0.0)))


def largest_penalty(x: Any, y: Floats) -> float:
    """The smallest lambda at which every weight is 0: the largest gradient at `w = 0` with the best intercept."""
    share = (y > 0).mean()
    slope = -((y > 0) - share) / len(y)
    return float(np.abs(x.T @ slope).max(initial=0.0))


def path(x: Any, y: Floats, penalties: Floats) -> list[Solution]:
    """Solutions at each of the falling `penalties`, each begun at the one before."""
    found: list[Solution] = []
    for penalty in penalties:
        found.append(solve(x, y, float(penalty), start=found[-1] if found else None, tolerance=1e-5))
    return found


def choose_penalty(x: Any, y: Floats, group: Floats, n_folds: int, seed: int) -> float:
    """The largest lambda on the path whose cross-validated log-loss is within one standard error of the least.

    Whole groups are held out together. The rule of one standard error (Breiman et al. 1984) is what makes useless
    annotators vanish; the least loss keeps many of them at small weights.
    """
    top = largest_penalty(x, y)
    penalties = top * np.geomspace(1, _PATH_END, _PATH_LENGTH)
    groups = np.unique(group)
    n_folds = min(n_folds, len(groups))
    if n_folds < 2 or top == 0:
        return top
    fold = np.empty(len(groups), int)
    fold[np.random.default_rng(seed).permutation(len(groups))] = np.arange(len(groups)) % n_folds
    fold_of_line = fold[np.searchsorted(groups, group)]
    loss = np.zeros((n_folds, _PATH_LENGTH))
    for held in range(n_folds):
        inside, outside = np.flatnonzero(fold_of_line != held), np.flatnonzero(fold_of_line == held)
        for index, solution in enumerate(path(x[inside], y[inside], penalties)):
            point = np.append(solution.intercept, solution.weights)
            loss[held, index] = _smooth_value(x[outside], y[outside], point)
    mean, error = loss.mean(0), loss.std(0, ddof=1) / np.sqrt(n_folds)
    best = int(np.argmin(mean))
    return float(penalties[int(np.argmax(mean <= mean[best] + error[best]))])


def fit_l1(labels: Labels, params: ReliabilityParams, seed: int = 0) -> Found:
    """Estimate all weights at once from the honeypot lines.

    Without honeypots, or with honeypot lines of one class only, nothing can be learned: every annotator is unknown
    and gets the log-odds of the prior accuracy.
    """
    x, y, group = _honeypot_lines(labels)
    n = labels.n_annotators
    has_seen = np.asarray((x != 0).sum(0)).ravel() > 0
    prior = params.prior_accuracy[0] / sum(params.prior_accuracy)
    weights = np.full(n, np.log(prior / (1 - prior)))
    prior_wrong, shift = None, 0.0
    notes = ["no honeypots of both kinds: the prior accuracy is used for everyone"]
    if len(y) and abs(y.sum()) < len(y):
        penalty = choose_penalty(x, y, group, params.n_folds, seed)
        solution = solve(x, y, penalty)
        weights[has_seen] = solution.weights[has_seen]
        weights[~has_seen] = solution.weights[has_seen].mean()
        shift = float(np.log((y > 0).sum() / (y < 0).sum()) - solution.intercept)
        prior_wrong = float(sigmoid(logit(base_rate(labels)) + shift))
        notes = [f"lambda {penalty:.3g}; optimality conditions hold within {solution.violation:.1g}"]
        unknown = "never saw a honeypot: unknown, the crowd's mean weight is used"
    else:
        has_seen[:] = False
        unknown = "no honeypots of both kinds: unknown, the prior accuracy is used"
    is_useless = has_seen & (weights == 0)
    reasons = [
        "useless: weight shrunk to 0"
        if is_useless[index]
        else unknown
        if not has_seen[index]
        else "worse than chance: verdicts count against themselves"
        if weights[index] < 0
        else "better than chance"
        for index in range(n)
    ]
    accuracy = 1 / (1 + np.exp(-np.clip(weights, -30, 30)))
    counts = BetaCounts(accuracy, 1 - accuracy)
    return Found(
        Belief(counts, counts, counts),
        np.stack([-weights, weights], 1),
        prior_wrong=prior_wrong,
        interval_method="none",
        temperature=1.0,
        is_kept=~is_useless,
        reasons=reasons,
        notes=notes,
        shift=shift,
    )


def _honeypot_lines(labels: Labels) -> tuple[Any, Floats, Floats]:
    """Verdicts (+1: judged correct) and truth (+1: correct) of the honeypot lines, and the honeypot of each."""
    lines = np.flatnonzero(labels.is_known)
    sub = labels.matrix[lines].tocsc()
    ok, wrong = sub[:, np.arange(0, sub.shape[1], 2)], sub[:, np.arange(1, sub.shape[1], 2)]
    return (ok - wrong).tocsr(), 1 - 2 * labels.is_wrong[lines], labels.completion[lines].astype(np.float64)
