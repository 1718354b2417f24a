"""Wrong lines come in runs, and many programs have none: a hidden Markov chain over the lines of a completion.

Every judgeable line is in one of three states: `CLEAN` (a correct line of a program without any error), `OK` (a correct
line of a program with errors) or `WRONG`. With the start probabilities `s`, the transitions `T`, and the evidence
`x_l = sum_i log P(verdict of i | correct) / P(verdict of i | wrong)` of the paper's formula,

    P(states, verdicts) ~ s[z_1] * prod_l T[z_(l-1), z_l] * prod_l exp(x_l * [z_l is not WRONG]),   T[CLEAN, CLEAN] = 1,

    q_l = P(z_l is not WRONG | all verdicts on the completion),

by the forward-backward recursions, and `s` and `T` by EM on the completions themselves, honeypots left out because
their wrong lines are a design (Baum et al. 1970, doi:10.1214/aoms/1177697196; Rabiner 1989, doi:10.1109/5.18626).
A line is so judged in the light of its neighbours and of the whole program. When nothing hangs together,
`s = (0, pi0, 1 - pi0)` and both rows of `T` the same, this is the paper's formula.

Notation: `C` completions, `N` lines, `M` lines of the longest completion, 3 states.

Departs from the paper (arXiv:2503.15129), whose lines are independent with one prior `pi0`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Bools = npt.NDArray[np.bool_]

CLEAN, OK, WRONG = 0, 1, 2
_ITERATIONS, _SETTLED = 100, 1e-4
_PSEUDO_COMPLETIONS, _PSEUDO_LINES = 2.0, 2.0  # of the prior of `s`, and of each row of `T`: independent lines


class Chain(NamedTuple):
    """`start` (3,) and `transition` (3, 3), rows to columns, over the states CLEAN, OK and WRONG."""

    start: Floats
    transition: Floats


class _Smoothed(NamedTuple):
    """What a pass forward and backward gives.

    (C, M, 3) P(state of a line | all verdicts), 0 past a completion's end; (3, 3) expected transitions; and
    log P(verdicts), up to a constant.
    """

    states: Floats
    transitions: Floats
    log_likelihood: float


def independent(prior_correct: float, share_clean: float = 0.0) -> Chain:
    """The chain in which lines are independent: with `share_clean` 0 the paper's formula."""
    row = np.array([0.0, prior_correct, 1 - prior_correct])
    start = (1 - share_clean) * row + share_clean * np.array([1.0, 0.0, 0.0])
    return Chain(start, np.stack([[1.0, 0.0, 0.0], row, row]))


def fit_chain(evidence: Floats, completion: Ints, prior_correct: float) -> Chain:
    """Learn the chain from the evidence on N lines, by EM.

    Args:
        evidence: (N,) log-likelihood ratio of each line's verdicts, correct against wrong.
        completion: (N,) which completion a line belongs to; its lines stand together, in order.
        prior_correct: P(a line is correct) of the pseudo-counts: with few completions lines are nearly independent.

    Returns:
        The chain; the one of independent lines, half of the programs clean, when there is no line.
    """
    prior = independent(prior_correct, share_clean=0.5)
    chain = prior
    likelihood, is_line = _padded(evidence, completion)
    for _ in range(_ITERATIONS if len(evidence) else 0):
        found = _forward_backward(chain, likelihood, is_line)
        start = found.states[:, 0].sum(0) + _PSEUDO_COMPLETIONS * prior.start
        rows = found.transitions + _PSEUDO_LINES * prior.transition
        moved = Chain(start / start.sum(), rows / rows.sum(1, keepdims=True))
        change = max(np.abs(moved.start - chain.start).max(), np.abs(moved.transition - chain.transition).max())
        chain = moved
        if change < _SETTLED:
            break
    return chain


def fit_independent(evidence: Floats, prior_correct: float) -> Chain:
    """The chain of independent lines that explains the evidence best; `prior_correct` is where EM starts."""
    from scipy.special import expit

    share = prior_correct
    for _ in range(_ITERATIONS if len(evidence) else 0):
        total = expit(np.log(share / (1 - share)) + evidence).sum() + _PSEUDO_LINES * prior_correct
        moved = float(total / (len(evidence) + _PSEUDO_LINES))
        change, share = abs(moved - share), moved
        if change < _SETTLED:
            break
    return independent(share)


def log_likelihood(chain: Chain, evidence: Floats, completion: Ints) -> float:
    """log P(verdicts | chain) in nats, up to a constant that the chain has no part in; arguments as in `fit_chain`."""
    return _forward_backward(chain, *_padded(evidence, completion)).log_likelihood


def chain_posteriors(chain: Chain, evidence: Floats, completion: Ints) -> Floats:
    """q_l = P(line correct | all verdicts on its completion), (N,); arguments as in `fit_chain`."""
    return 1 - wrong_posteriors(chain, evidence, completion)


def wrong_posteriors(chain: Chain, evidence: Floats, completion: Ints) -> Floats:
    """1 - q_l, (N,), without the loss of digits where it is small."""
    likelihood, is_line = _padded(evidence, completion)
    states: Floats = _forward_backward(chain, likelihood, is_line).states[is_line]  # (N, 3), in order
    return np.asarray(states[:, WRONG])


def gain_on_known(chain: Chain, evidence: Floats, completion: Ints, is_wrong: Bools, prior_correct: float) -> float:
    """By how many nats the chain tells known truths better than independent lines do.

        sum_l log P(truth of l | chain, verdicts) - log P(truth of l | verdicts of l)

    Args:
        chain: learned on other lines.
        evidence: (N,) of lines of known truth; `completion` as in `fit_chain`.
        completion: see `evidence`.
        is_wrong: (N,) the truth.
        prior_correct: P(a line is correct) of independent lines.
    """
    from scipy.special import expit, logit

    apart = expit(-logit(prior_correct) - evidence)
    chained = wrong_posteriors(chain, evidence, completion)
    return log_probability(chained, is_wrong) - log_probability(apart, is_wrong)


def log_probability(wrong: Floats, is_wrong: Bools) -> float:
    """Sum of the log-probabilities that (N,) P(wrong) give the truth, none below 1e-10."""
    return float(np.log(np.clip(np.where(is_wrong, wrong, 1 - wrong), 1e-10, 1)).sum())


def chained(posteriors: pd.DataFrame, chain: Chain) -> pd.DataFrame:
    """The table LINE_POSTERIORS with the posteriors and log-odds that the chain gives."""
    completion = posteriors["completion_id"].factorize()[0].astype(np.int64)
    wrong = wrong_posteriors(chain, posteriors["evidence"].to_numpy(np.float64), completion)
    tiny, almost = np.finfo(np.float64).tiny, 1 - np.finfo(np.float64).epsneg
    clipped = np.clip(wrong, tiny, almost)
    return posteriors.assign(posterior=1 - wrong, log_odds=np.log1p(-clipped) - np.log(clipped))


def fit_to_posteriors(posteriors: pd.DataFrame, prior_correct: float) -> Chain:
    """`fit_chain` on the table LINE_POSTERIORS."""
    completion = posteriors["completion_id"].factorize()[0].astype(np.int64)
    return fit_chain(posteriors["evidence"].to_numpy(np.float64), completion, prior_correct)


def n_correct_distribution(chain: Chain, evidence: Floats) -> Floats:
    """P(exactly k lines of one completion are correct | its verdicts) for k = 0 .. L, (L + 1,).

    The forward recursion with the count beside the state. Independent lines give the Poisson-binomial distribution.
    """
    likelihood = _likelihood(np.asarray(evidence, np.float64))
    before = np.zeros((3, len(likelihood) + 1))  # (states, count)
    before[:, 0] = chain.start
    for step, of_line in enumerate(likelihood):
        at_line = before if step == 0 else chain.transition.T @ before
        before = of_line[:, None] * at_line
        before[[CLEAN, OK], 1:] = before[[CLEAN, OK], :-1]
        before[[CLEAN, OK], 0] = 0
        before /= before.sum()
    return np.asarray(before.sum(0))


def _likelihood(evidence: Floats) -> Floats:
    """(..., 3) P(verdicts | state) up to a factor for each line, at most 1."""
    ok = np.exp(np.minimum(evidence, 0))
    return np.stack([ok, ok, np.exp(-np.maximum(evidence, 0))], -1)


def _padded(evidence: Floats, completion: Ints) -> tuple[Floats, Bools]:
    """(C, M, 3) likelihoods, 1 past a completion's end, and (C, M) which places are lines."""
    if not len(evidence):
        return np.ones((0, 1, 3)), np.zeros((0, 1), bool)
    begins = np.flatnonzero(np.r_[True, completion[1:] != completion[:-1]])
    lengths = np.diff(np.r_[begins, len(completion)])
    is_line = np.arange(lengths.max()) < lengths[:, None]
    likelihood = np.ones((*is_line.shape, 3))
    likelihood[is_line] = _likelihood(evidence)
    return likelihood, is_line


def _forward_backward(chain: Chain, likelihood: Floats, is_line: Bools) -> _Smoothed:
    """Smooth all completions at once, each step scaled to sum to 1."""
    n_completions, longest = is_line.shape
    forward, scale = np.empty(likelihood.shape), np.ones((n_completions, longest, 1))
    for step in range(longest):
        before = chain.start if step == 0 else forward[:, step - 1] @ chain.transition
        joint = before * likelihood[:, step]
        scale[:, step] = joint.sum(1, keepdims=True)
        forward[:, step] = joint / scale[:, step]
    backward, transitions = np.ones(likelihood.shape), np.zeros((3, 3))
    for step in range(longest - 2, -1, -1):
        goes_on = is_line[:, step + 1]
        ahead = backward[:, step + 1] * likelihood[:, step + 1] / scale[:, step + 1]
        backward[:, step] = np.where(goes_on[:, None], ahead @ chain.transition.T, 1.0)
        transitions += forward[goes_on, step].T @ ahead[goes_on] * chain.transition
    total = float(np.log(scale[is_line]).sum())
    states = forward * backward
    states /= states.sum(2, keepdims=True)  # 1 but for rounding
    return _Smoothed(states * is_line[:, :, None], transitions, total)
