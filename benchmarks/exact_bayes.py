"""What exact Bayes reaches when only the annotators' prior is known: Gibbs sampling with the generator's own mixture.

Lines are independent, as in the formula; their share of wrong ones has a uniform prior. Conjugate updates alternate
between the truth of the lines and the annotators' kinds and rates (Geman & Geman 1984, doi:10.1109/TPAMI.1984.4767596).
"""

from __future__ import annotations

import numpy as np
from scipy.special import betaln, expit, logit

from crlhf.crowd.generators import GeneratedCrowd

_COIN_FLIPPERS, _ADVERSARIES = (0.15, (0.5, 0.5)), (0.05, (0.2, 0.2))
_TWO_COIN = ((0.8, ((8, 4), (30, 2))), _COIN_FLIPPERS, _ADVERSARIES)
PRIORS = {
    "one_coin": ((0.6, (16, 3)), (0.2, (6, 4)), _COIN_FLIPPERS, _ADVERSARIES),
    "two_coin": _TWO_COIN,
    "lazy": (*((0.7 * share, kind) for share, kind in _TWO_COIN), (0.3, (0.005, 0.995))),
}
"""Share and rates of each kind of annotator: Beta of the one coin, Betas of the two, or two fixed rates (below 1)."""


def exact_bayes(crowd: GeneratedCrowd, kind: str, seed: int, sweeps: int = 400, burn_in: int = 100) -> np.ndarray:
    """P(line wrong | all labels and honeypots), (N,): the mean over sweeps."""
    rng = np.random.default_rng(seed)
    line, who = crowd.labels["line"].to_numpy(), crowd.labels["annotator"].to_numpy()
    is_marked = crowd.labels["is_marked"].to_numpy()
    known, truth = crowd.lines["is_honeypot"].to_numpy(), crowd.lines["is_wrong"].to_numpy()
    n_annotators, n_lines = len(crowd.annotators), len(crowd.lines)
    share_marked = np.bincount(line, is_marked, n_lines) / np.maximum(np.bincount(line, minlength=n_lines), 1)
    state = np.where(known, truth, share_marked > 0.5)
    total = np.zeros(n_lines)
    for sweep in range(sweeps):
        cell = (who * 2 + state[line]) * 2 + is_marked
        counts = np.bincount(cell, minlength=4 * n_annotators).reshape(-1, 4).T.astype(float)
        sens, spec = _draw_rates(counts, PRIORS[kind], rng)
        weight = np.where(is_marked, np.log(sens / (1 - spec))[who], np.log((1 - sens) / spec)[who])
        n_wrong = state[~known].sum()
        share = rng.beta(1 + n_wrong, 1 + (~known).sum() - n_wrong)
        posterior = expit(logit(share) + np.bincount(line, weight, n_lines))
        state = np.where(known, truth, rng.random(n_lines) < posterior)
        if sweep >= burn_in:
            total += posterior
    return total / (sweeps - burn_in)


def _draw_rates(counts: np.ndarray, kinds: tuple, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw each annotator's kind and rates given (passed, accused, missed, caught), (4, A)."""
    passed, accused, missed, caught = counts

    def evidence(kind: tuple) -> np.ndarray:
        if isinstance(kind[0], tuple):
            (a, b), (c, d) = kind
            return betaln(a + caught, b + missed) - betaln(a, b) + betaln(c + passed, d + accused) - betaln(c, d)
        if max(kind) > 1:
            return betaln(kind[0] + caught + passed, kind[1] + missed + accused) - betaln(*kind)
        hits = caught * np.log(kind[0]) + passed * np.log(kind[1])
        return hits + missed * np.log1p(-kind[0]) + accused * np.log1p(-kind[1])

    def rates(kind: tuple) -> tuple[np.ndarray, np.ndarray]:
        if isinstance(kind[0], tuple):
            (a, b), (c, d) = kind
            return rng.beta(a + caught, b + missed), rng.beta(c + passed, d + accused)
        if max(kind) > 1:
            p = rng.beta(kind[0] + caught + passed, kind[1] + missed + accused)
            return p, p
        return np.full(len(caught), kind[0]), np.full(len(caught), kind[1])

    log_share = np.stack([np.log(share) + evidence(kind) for share, kind in kinds])
    chosen = np.argmax(log_share + rng.gumbel(size=log_share.shape), 0)
    drawn = np.stack([rates(kind) for _, kind in kinds])  # (kinds, 2, A)
    sens, spec = np.clip(drawn[chosen, :, np.arange(len(chosen))].T, 1e-9, 1 - 1e-9)
    return sens, spec
