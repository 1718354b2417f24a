"""Tasks of any crowd that were shown together: found by who judged them, and smoothed where gold proves that it pays.

Tasks that exactly the same annotators judged (two or more of them, the same number of times), and whose names differ in
their last number alone, are taken for a batch: the lines of a program, the questions of a page. A batch has 2 to 100
tasks and stands in the order of those numbers. In some crowds the truths within a batch hang together. In others it is
the annotators who do (one gives a whole page the same answer), which the labels alone cannot tell apart from the first.
So the chain of `line_chain`, learned on the batches, is used only where both of these hold:

    log P(verdicts | chain) - log P(verdicts | independent) > 10 nats, over 30 batches or more, and
    sum_{l of known truth} log P(truth of l | chain) - log P(truth of l | independent) > 2 nats.

Known truths are a design and tell nothing of the tasks beside them: in a batch that holds other tasks too, their
verdicts are left out when the chain is learned and when their neighbours are judged.

Notation: `N` tasks, `n` of them in batches. Class 1 plays the part of a wrong line.

Departs from the paper (arXiv:2503.15129), whose lines are independent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from crlhf.rewards.line_chain import (
    WRONG,
    Chain,
    fit_chain,
    fit_independent,
    log_likelihood,
    log_probability,
    wrong_posteriors,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt
    import pandas as pd

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Bools = npt.NDArray[np.bool_]

LARGEST, FEWEST = 100, 30
WORTH, KNOWN_WORTH = 10.0, 2.0  # nats
_FITTED_BATCHES, _BLOCK = 2_000, 50_000  # batches that the chain is learned on; tasks smoothed at once
_DIGITS = "0123456789"


class Batches(NamedTuple):
    """`place` (n,): rows of tasks, batch by batch and in order; `batch` (n,): the batch of each, from 0."""

    place: Ints
    batch: Ints

    @property
    def n_batches(self) -> int:
        """How many there are."""
        return int(self.batch[-1]) + 1 if len(self.batch) else 0

    def only(self, chosen: Bools) -> Batches:
        """The batches that are `chosen`, (n_batches,), numbered anew."""
        inside = chosen[self.batch]
        return Batches(self.place[inside], (np.cumsum(chosen) - 1)[self.batch[inside]])


class TaskSmoothing(NamedTuple):
    """What smoothing gave.

    Attributes:
        probability: (N,) P(class 1); tasks outside batches as they were.
        n_batches: batches found, used or not.
        gain: nats by which the chain explains the verdicts better than independent tasks, on 2000 batches at most.
        known_gain: nats by which it tells the known truths better.
        is_used: False: the chain did not prove itself and `probability` is that of independent tasks.
    """

    probability: Floats
    n_batches: int
    gain: float
    known_gain: float
    is_used: bool


def find_batches(tasks: pd.Index, judges: Ints, n_judges: Ints) -> Batches:
    """Find the tasks that were shown together.

    Args:
        tasks: (N,) names, numbers or text.
        judges: (N,) equal where exactly the same annotators judged.
        n_judges: (N,) how many annotators judged each task; one alone says nothing of what was shown together.
    """
    name, number = _split(tasks)
    order = np.lexsort((number, name, judges))
    begins = np.r_[True, (judges[order][1:] != judges[order][:-1]) | (name[order][1:] != name[order][:-1])]
    batch = np.cumsum(begins[: len(order)]) - 1
    size = np.bincount(batch)
    found = Batches(order, batch)
    return found.only((size >= 2) & (size <= LARGEST) & (n_judges[order[begins[: len(order)]]] >= 2))


def smooth(batches: Batches, evidence: Floats, is_one: npt.NDArray[np.int8], prior_one: float) -> TaskSmoothing:
    """Smooth the tasks of each batch, if the chain proves itself.

    Args:
        batches: from `find_batches`.
        evidence: (N,) log-likelihood ratio of each task's verdicts, class 1 against class 0.
        is_one: (N,) 1 or 0 for tasks of known truth, -1 for the others.
        prior_one: P(class 1) before any verdict.

    Returns:
        Probabilities; a task of known truth has the one that verdicts give it. Without any known truth in a batch
        nothing is smoothed.
    """
    from scipy.special import expit, logit

    alone = expit(np.log(prior_one / (1 - prior_one)) + evidence)
    known = is_one >= 0
    n_known = np.bincount(batches.batch, known[batches.place], minlength=batches.n_batches)
    is_open = n_known < np.bincount(batches.batch, minlength=batches.n_batches)
    if is_open.sum() < FEWEST or not n_known.any():
        return TaskSmoothing(alone, batches.n_batches, 0.0, 0.0, False)
    hidden = np.zeros(len(evidence), bool)
    hidden[batches.only(is_open).place] = True
    hidden &= known
    seen = np.where(hidden, 0.0, evidence)
    chain, independent, gain = _learn(batches.only(is_open), seen, 1 - prior_one)
    smoothed = _posteriors(chain, batches, seen, alone)
    smoothed[hidden] = expit(logit(smoothed[hidden]) + evidence[hidden])  # their neighbours, then their own verdicts
    inside = batches.place[known[batches.place]]
    apart = expit(logit(independent.start[WRONG]) + evidence)
    truth = is_one[inside] == 1
    known_gain = log_probability(smoothed[inside], truth) - log_probability(apart[inside], truth)
    is_used = gain > WORTH and known_gain > KNOWN_WORTH
    return TaskSmoothing(smoothed if is_used else alone, batches.n_batches, gain, known_gain, is_used)


def _learn(batches: Batches, evidence: Floats, prior_zero: float) -> tuple[Chain, Chain, float]:
    """The chain, the one of independent tasks, and the nats between them, learned on evenly spaced batches."""
    step = -(-batches.n_batches // _FITTED_BATCHES)
    some = batches.only(np.arange(batches.n_batches) % step == 0)
    of_zero = -evidence[some.place]
    chain = fit_chain(of_zero, some.batch, prior_zero)
    apart = fit_independent(of_zero, prior_zero)
    gain = log_likelihood(chain, of_zero, some.batch) - log_likelihood(apart, of_zero, some.batch)
    return chain, apart, gain


def _posteriors(chain: Chain, batches: Batches, evidence: Floats, otherwise: Floats) -> Floats:
    """(N,) P(class 1) under the chain for tasks in batches, `otherwise` for the others."""
    found = otherwise.copy()
    for block in _blocks(batches):
        found[block.place] = wrong_posteriors(chain, -evidence[block.place], block.batch)
    return found


def _blocks(batches: Batches) -> Iterator[Batches]:
    """Whole batches of about `_BLOCK` tasks, so that memory does not grow with the crowd."""
    begin = 0
    while begin < len(batches.place):
        last = batches.batch[min(begin + _BLOCK, len(batches.place)) - 1]
        end = int(np.searchsorted(batches.batch, last, side="right"))
        yield Batches(batches.place[begin:end], batches.batch[begin:end])
        begin = end


def _split(tasks: pd.Index) -> tuple[Ints, Ints]:
    """Names up to their last number, coded, and that number; (N,) each."""
    import pandas as pd

    if pd.api.types.is_integer_dtype(tasks.dtype):
        return np.zeros(len(tasks), np.int64), tasks.to_numpy(np.int64)
    text = [str(task) for task in tasks]
    heads = [task.rstrip(_DIGITS) for task in text]
    numbers = [int(task[len(head) :][-18:] or 0) for task, head in zip(text, heads, strict=True)]
    return pd.factorize(np.array(heads, object))[0].astype(np.int64), np.array(numbers, np.int64)
