"""The prior of an annotator's sensitivity and specificity, learned from the whole crowd (empirical Bayes).

A crowd is a mixture of kinds of annotators: experts, lazy ones, coin flippers, adversaries. The prior is a mixture of
Beta kernels at fixed places `m_k` in (0, 1) with fixed strengths `nu_k`; only their weights `pi` are learned:

    two coins: sum_jk pi_jk Beta(sens; nu_j m_j, nu_j (1 - m_j)) Beta(spec; nu_k m_k, nu_k (1 - m_k)),
    one coin:  sum_k  rho_k Beta(p; nu_k m_k, nu_k (1 - m_k)) with sens = spec = p.

Wide kernels (`nu = 20`) stand for groups whose members differ; three spikes (`nu = 300`) for kinds that are alike: coin
flippers (0.5), annotators who mark nothing or everything. Narrower kernels would follow the crowd more closely and make
the intervals too short. Two coins and one are both in the mixture, so a crowd of one-coin annotators is recognised as
one. Given an annotator's (soft) hits and misses the posterior is again a mixture, whose first two moments are matched
by one Beta distribution: every M-step of EM has pseudo-counts, more of them for annotators of whom little is known. The
weights are the posterior mean under a Dirichlet prior around the params' own Beta distributions (one EM step for the
weights in each call).

Source: Robbins' empirical Bayes with a nonparametric prior (Laird 1978, doi:10.1080/01621459.1978.10480103); groups of
annotators as in Venanzi et al. 2014, "Community-based Bayesian Aggregation Models", doi:10.1145/2566486.2567989.

Departs from the paper (arXiv:2503.15129): the paper gives every annotator the same fixed prior.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from crlhf.reliability.honeypot_beta import Belief, BetaCounts
from crlhf.reliability.verdicts import Floats

_FAMILIES = (  # strength nu of the kernels, their places, and their share before the crowd is seen
    (20.0, np.r_[0.003, 0.01, 0.03, 0.06, np.arange(2, 19) / 20, 0.94, 0.97, 0.99, 0.997], 0.9),
    (300.0, np.array([0.003, 0.5, 0.997]), 0.1),
)
_CENTRES = np.concatenate([places for _, places, _ in _FAMILIES])  # (K,)
_NU = np.concatenate([np.full(len(places), nu) for nu, places, _ in _FAMILIES])
_A, _B = _NU * _CENTRES, _NU * (1 - _CENTRES)  # (K,) the kernels' own hits and misses
_STRENGTHS = np.array([nu for nu, _, _ in _FAMILIES])  # (F,)
_FAMILY_OF = np.repeat(np.arange(len(_FAMILIES)), [len(places) for _, places, _ in _FAMILIES])  # (K,)
_IS_OF = np.equal.outer(np.arange(len(_FAMILIES)), _FAMILY_OF).astype(float)  # (F, K)
_SUMS = np.vstack([_IS_OF * _A**power for power in range(3)])  # (3F, K): of 1, nu m, (nu m)**2
_SHARE_TIED = 0.4
_BLOCK = 400  # annotators at once: arrays that stay in the cache
_STRENGTH = 5.0  # annotators that the Dirichlet prior of the kernels' weights counts as

Pair = tuple[float, float]


class Counted(NamedTuple):
    """Hits and misses of each annotator on wrong and on correct lines, (A,) each; fractions in EM."""

    caught: Floats
    missed: Floats
    passed: Floats
    accused: Floats


class _Block(NamedTuple):
    """Posteriors of some annotators; what they add to the weights of pairs (K, K) and of tied kernels (K,)."""

    belief: Belief
    pairs: Floats
    tied: Floats


class CrowdPrior:
    """The learned prior. `belief` both updates its weights and gives the annotators' posteriors.

    Args:
        accuracy: pseudo-counts of the prior before the crowd is seen, of the one-coin part.
        sensitivity: the same of the two-coin part.
        specificity: the same of the two-coin part.
        coins: 1 leaves only the one-coin part.
    """

    def __init__(self, accuracy: Pair, sensitivity: Pair, specificity: Pair, coins: int = 2) -> None:
        share_tied = 1.0 if coins == 1 else _SHARE_TIED
        self._base_tied = share_tied * _discretised(accuracy)  # (K,)
        self._base_pairs = (1 - share_tied) * np.outer(_discretised(sensitivity), _discretised(specificity))  # (K, K)
        self._tied, self._pairs = self._base_tied, self._base_pairs

    def belief(self, caught: Floats, missed: Floats, passed: Floats, accused: Floats) -> Belief:
        """Posterior of each annotator, and one step of learning the kernels' weights.

        Args:
            caught: (A,) wrong lines marked; `missed`: wrong lines not marked.
            missed: see `caught`. Counts may be fractions: the expected ones of EM.
            passed: (A,) correct lines not marked; `accused`: correct lines marked.
            accused: see `passed`.
        """
        counts = Counted(caught, missed, passed, accused)
        blocks = [
            self._block(Counted(*(count[begin : begin + _BLOCK] for count in counts)))
            for begin in range(0, len(caught), _BLOCK)
        ]
        if not blocks:
            return Belief(*(BetaCounts(caught, missed),) * 3)
        n = len(caught) + _STRENGTH
        self._pairs = (sum(block.pairs for block in blocks) + _STRENGTH * self._base_pairs) / n
        self._tied = (sum(block.tied for block in blocks) + _STRENGTH * self._base_tied) / n
        return Belief(*(_joined([block.belief[rate] for block in blocks]) for rate in range(3)))

    def _block(self, counts: Counted) -> _Block:
        """The posteriors of some annotators, and what they add to the kernels' weights."""
        caught, missed, passed, accused = counts
        log_sens, log_spec = _log_evidence(caught, missed), _log_evidence(passed, accused)  # (K, A)
        log_tied = _log_evidence(caught + passed, missed + accused)
        top_sens, top_spec, top_tied = log_sens.max(0), log_spec.max(0), log_tied.max(0)  # (A,)
        top = np.maximum(top_sens + top_spec, top_tied) if self._base_pairs.any() else top_tied
        sens = np.exp(log_sens - top_sens)
        spec = np.exp(log_spec - top_spec) * np.exp(np.minimum(top_sens + top_spec - top, 0))
        tied = np.exp(log_tied - top_tied)
        alone = tied * self._base_tied[:, None]  # one coin, whatever the mixture says
        for_sens = sens * (self._pairs @ spec)  # (K, A), over the places of the sensitivity
        for_spec = spec * (self._pairs.T @ sens)
        for_tied = tied * self._tied[:, None] * np.exp(top_tied - top)
        total = for_sens.sum(0) + for_tied.sum(0)
        pooled = (caught + passed, missed + accused)
        by_one_coin = (for_tied / total, *pooled)
        belief = Belief(
            accuracy=_matched((alone / alone.sum(0), *pooled)),
            sensitivity=_matched((for_sens / total, caught, missed), by_one_coin),
            specificity=_matched((for_spec / total, passed, accused), by_one_coin),
        )
        return _Block(belief, self._pairs * (sens @ (spec / total).T), by_one_coin[0].sum(1))


def _joined(counts: list[BetaCounts]) -> BetaCounts:
    return BetaCounts(np.concatenate([c.hits for c in counts]), np.concatenate([c.misses for c in counts]))


def _discretised(counts: Pair) -> Floats:
    """Weights of the kernels that stand for `Beta(a, b)`: its density times the width of each kernel's cell, (K,)."""
    from scipy.stats import beta

    def part(places: Floats, share: float) -> Floats:
        weights: Floats = beta.pdf(places, *counts) * np.gradient(places)
        weights *= share / weights.sum()
        return weights

    return np.concatenate([part(places, share) for _, places, share in _FAMILIES])


def _log_evidence(hits: Floats, misses: Floats) -> Floats:
    """Log beta-binomial evidence of (A,) counts under each kernel, without the binomial coefficient, (K, A)."""
    from scipy.special import betaln, gammaln

    evidence: Floats = gammaln(_A[:, None] + hits)
    evidence += gammaln(_B[:, None] + misses)
    evidence -= gammaln(_STRENGTHS[:, None] + (hits + misses))[_FAMILY_OF]
    evidence -= betaln(_A, _B)[:, None]
    return evidence


def _matched(*parts: tuple[Floats, Floats, Floats]) -> BetaCounts:
    """The Beta distribution with the mean and variance of a mixture of updated kernels.

    A kernel with `a = nu m + h` and `a + b = nu + n` has the moments `a / (nu + n)` and `a (a + 1) / ((nu + n)
    (nu + n + 1))`: sums over a family of one strength need the sums of 1, `nu m` and `(nu m)**2` only.

    Args:
        parts: (responsibilities (K, A), hits (A,), misses (A,)); the responsibilities of all parts add up to 1.
    """
    first: Floats = np.zeros(1)
    second: Floats = np.zeros(1)
    for share, h, misses in parts:
        ones, places, squares = (_SUMS @ share).reshape(3, len(_FAMILIES), -1)  # (F, A) each
        total = _STRENGTHS[:, None] + (h + misses)
        first = first + ((places + h * ones) / total).sum(0)
        second = second + ((squares + (2 * h + 1) * places + h * (h + 1) * ones) / (total * (total + 1))).sum(0)
    strength = first * (1 - first) / np.maximum(second - first**2, 1e-12) - 1
    return BetaCounts(first * strength, (1 - first) * strength)
