"""The paper's sequential Bayesian update of an annotator's reliability from honeypots, and its two-coin form.

Source: Wong & Tan, "Aligning Crowd-sourced Human Feedback for Reinforcement Learning on Code Generation by Large
Language Models", arXiv:2503.15129, Figure 3. Every judgeable line of a honeypot is a Bernoulli trial of `p_i`, and
also of the sensitivity when the line is wrong and of the specificity when it is correct. With the conjugate prior
`Beta(a0, b0)`, `h` hits in `n` trials give

    p_i | h, n  ~  Beta(a0 + h, b0 + n - h),   E[p_i] = (a0 + h) / (a0 + b0 + n).

Verdicts on lines of one completion are correlated, with intraclass correlation `rho`: `n` of them carry as much as
`n / (1 + (n - 1) * rho)` independent ones (Kish's design effect). Hits and misses are divided by it, so that the
intervals are not too narrow.

Departs from the paper: pseudo-counts and `rho` are parameters; sensitivity and specificity are kept beside `p_i`,
because with 10 to 20 % of lines wrong an annotator who marks nothing has a high `p_i`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from crlhf.params import ReliabilityParams
from crlhf.reliability.labels import Answers
from crlhf.reliability.verdicts import Floats, Ints


class BetaCounts(NamedTuple):
    """A Beta distribution: pseudo-counts of hits and of misses. Scalars, or arrays with one entry an annotator."""

    hits: Floats
    misses: Floats

    @property
    def mean(self) -> Floats:
        """Posterior mean, strictly between 0 and 1."""
        mean: Floats = self.hits / (self.hits + self.misses)
        return mean

    @property
    def variance(self) -> Floats:
        """Posterior variance."""
        total = self.hits + self.misses
        variance: Floats = self.hits * self.misses / (total**2 * (total + 1))
        return variance

    def interval(self, confidence: float = 0.95) -> tuple[Floats, Floats]:
        """The central credible interval."""
        from scipy.stats import beta

        tail = (1 - confidence) / 2
        return (
            np.asarray(beta.ppf(tail, self.hits, self.misses)),
            np.asarray(beta.ppf(1 - tail, self.hits, self.misses)),
        )


class Belief(NamedTuple):
    """What is known of one annotator (or of A of them): three Beta distributions."""

    accuracy: BetaCounts
    sensitivity: BetaCounts
    specificity: BetaCounts


def prior_belief(params: ReliabilityParams, n_annotators: int | None = None) -> Belief:
    """What is believed before any honeypot: the pseudo-counts of the params, repeated for `n_annotators`."""

    def counts(pair: tuple[float, float]) -> BetaCounts:
        shape = () if n_annotators is None else (n_annotators,)
        return BetaCounts(np.full(shape, pair[0], np.float64), np.full(shape, pair[1], np.float64))

    return Belief(counts(params.prior_accuracy), counts(params.prior_sensitivity), counts(params.prior_specificity))


def nothing_known(n_annotators: int) -> Belief:
    """No evidence at all, (A,): the counts of an improper prior, to add evidence to."""
    return Belief(*(BetaCounts(np.zeros(n_annotators), np.zeros(n_annotators)),) * 3)


def update(
    belief: Belief, *, n_wrong: float, n_caught: float, n_ok: float, n_passed: float, line_correlation: float
) -> Belief:
    """Update one annotator's belief with one answer to one honeypot.

    Args:
        belief: what was believed before.
        n_wrong: wrong lines of the honeypot; the annotator marked `n_caught` of them.
        n_ok: correct lines of the honeypot; the annotator left `n_passed` of them unmarked.
        line_correlation: correlation of the verdicts on lines of one completion, in [0, 1].

    Returns:
        The new belief. An answer without lines changes nothing.
    """

    def grown(counts: BetaCounts, hits: float, trials: float) -> BetaCounts:
        effect = design_effect(np.asarray(trials, np.float64), line_correlation)
        return BetaCounts(counts.hits + hits / effect, counts.misses + (trials - hits) / effect)

    return Belief(
        grown(belief.accuracy, n_caught + n_passed, n_wrong + n_ok),
        grown(belief.sensitivity, n_caught, n_wrong),
        grown(belief.specificity, n_passed, n_ok),
    )


def update_all(belief: Belief, answers: Answers, line_correlation: float) -> Belief:
    """Update the beliefs of A annotators with all their answers at once.

    Equal to `update` called for one answer after the other, in any order: counts add up.
    """
    n_annotators = len(belief.accuracy.hits)

    def grown(counts: BetaCounts, hits: Floats, trials: Floats) -> BetaCounts:
        effect = design_effect(trials, line_correlation)
        return BetaCounts(
            counts.hits + _sum_by(answers.annotator, hits / effect, n_annotators),
            counts.misses + _sum_by(answers.annotator, (trials - hits) / effect, n_annotators),
        )

    return Belief(
        grown(belief.accuracy, answers.n_caught + answers.n_passed, answers.n_wrong + answers.n_ok),
        grown(belief.sensitivity, answers.n_caught, answers.n_wrong),
        grown(belief.specificity, answers.n_passed, answers.n_ok),
    )


def design_effect(n: Floats, correlation: float) -> Floats:
    """Kish's design effect `1 + (n - 1) * rho` of `n` equally correlated trials; 1 for `n` of 0 or 1."""
    effect: Floats = 1 + np.maximum(n - 1, 0) * correlation
    return effect


def _sum_by(group: Ints, values: Floats, n_groups: int) -> Floats:
    """Sum `values` within each group, (n_groups,)."""
    return np.bincount(group, weights=values, minlength=n_groups).astype(np.float64)  # ints when there is no value
