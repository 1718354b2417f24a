"""Semi-supervised Dawid-Skene EM with one or two coins.

Source: Dawid & Skene 1979, doi:10.2307/2346806. Lines have a hidden truth; honeypots are clamped to theirs.

    E-step: x_l = sum_i log P(verdict of i | wrong) / P(verdict of i | correct),  q_l = sigmoid(logit(pi) + x_l)
    M-step: soft counts of hits and misses -> posterior means of sensitivity and specificity under `CrowdPrior`

EM starts from the honeypots alone, and from the majority only where there is none: a crowd with more adversaries than
experts is oriented right. Beta pseudo-counts act in every M-step. The class prior `pi` is that of the lines that are
not honeypots, because the share of wrong lines among honeypots is a design. Once EM has settled, the counts are
shrunk to the information that lines of hidden truth hold, and a temperature is found (`calibration`).

Departs from the paper (arXiv:2503.15129), which estimates from honeypots alone; and from Dawid and Skene in the
learned prior, the clamping, the down-weighting and the temperature.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from crlhf.reliability.calibration import (
    Tempering,
    evidence_weights,
    fit_to_honeypots,
    held_out_evidence,
    logit,
    sigmoid,
    temperature_from_agreement,
)
from crlhf.reliability.crowd_prior import Counted, CrowdPrior
from crlhf.reliability.honeypot_beta import Belief, BetaCounts
from crlhf.reliability.labels import Labels
from crlhf.reliability.verdicts import Bools, Floats

_CLASS_BOUNDS = (0.005, 0.995)
_INFORMED_STEPS, _LEAST_INFORMATION = 3, 0.05


class Fit(NamedTuple):
    """What EM found.

    Attributes:
        belief: (A,) posterior of each annotator's rates, with the information that hidden truth costs taken off.
        evidence: (A,) the hits and misses behind it, those of earlier rounds included, without any prior.
        weights: (A, 2) tempered evidence, wrong against correct, of a verdict `ok` and of a verdict `wrong`.
        posterior_wrong: (N,) P(line wrong | verdicts), honeypots too, as if their truth were not known.
        prior_wrong: P(line wrong) before any verdict, the shift included.
        tempering: temperature, in `weights` already, and shift, in `prior_wrong` already.
        n_iterations: E-steps done.
        has_converged: False: stopped at the limit.
    """

    belief: Belief
    evidence: Belief
    weights: Floats
    posterior_wrong: Floats
    prior_wrong: float
    tempering: Tempering
    n_iterations: int
    has_converged: bool


class _Steps(NamedTuple):
    prior: CrowdPrior
    carried: Counted | None
    prior_wrong: float | None
    max_iterations: int
    tolerance: float


class _State(NamedTuple):
    belief: Belief
    prior_wrong: float
    evidence: Floats
    n_iterations: int
    has_converged: bool


def fit(
    labels: Labels,
    prior: CrowdPrior,
    *,
    prior_wrong: float | None = None,
    temperature: float | None = None,
    carried: Counted | None = None,
    max_iterations: int = 60,
    tolerance: float = 1e-4,
) -> Fit:
    """Run EM.

    Args:
        labels: the labels; lines of known truth are clamped.
        prior: the prior of the annotators' rates, learned on the way.
        prior_wrong: P(line wrong) before any verdict; None estimates it.
        temperature: None finds it and a shift; a fixed `prior_wrong` is not shifted.
        carried: counts of earlier rounds.
        max_iterations: at most so many E-steps.
        tolerance: EM has settled when the rates move by no more on average.

    Returns:
        The fit. Without labels the rates are the prior's and arrays are empty; without honeypots the orientation rests
        on the prior, in which most annotators are better than chance.
    """
    steps = _Steps(prior, carried, prior_wrong, max_iterations, tolerance)
    state = _informed(labels, steps, _iterate(labels, steps, *_start(labels)))
    is_fixed = prior_wrong is not None
    found = _tempering(labels, state, is_fixed) if temperature is None else Tempering(temperature, 0.0)
    shifted = float(sigmoid(logit(state.prior_wrong) + found.shift))
    posterior = sigmoid(logit(shifted) + found.temperature * state.evidence)
    belief, evidence = _informed_belief(labels, steps, state.belief, posterior)
    return Fit(
        belief,
        evidence,
        found.temperature * evidence_weights(state.belief.sensitivity, state.belief.specificity),
        posterior,
        shifted,
        found,
        state.n_iterations,
        state.has_converged,
    )


def _start(labels: Labels) -> tuple[Floats, Floats]:
    """First responsibilities and M-step weights: honeypots alone, or the share of marks where there is none."""
    known = labels.is_known
    if known.any():
        return labels.is_wrong, np.where(known, labels.weight, 0.0)
    n_marks = labels.matrix @ np.tile([0.0, 1.0], labels.n_annotators)
    n_verdicts = labels.matrix @ np.ones(2 * labels.n_annotators)
    return (n_marks + 0.5) / (n_verdicts + 1), labels.weight


def _iterate(labels: Labels, steps: _Steps, responsibility: Floats, weight: Floats) -> _State:
    """Alternate M-steps and E-steps until the rates settle.

    Args:
        labels: the labels.
        steps: what an M-step needs besides.
        responsibility: (N,) P(line wrong) that the first M-step starts from, where `weight` is above 0.
        weight: (N,) weights of lines in the first M-step.
    """
    prior_wrong = _class_prior(labels, responsibility, steps.prior_wrong, weight > 0)
    belief = _m_step(labels, steps, responsibility, weight, labels.counts(weight))
    all_counts = labels.counts(labels.weight)
    rates = _rates(belief)
    for n in range(1, steps.max_iterations + 1):
        evidence = labels.matrix @ evidence_weights(belief.sensitivity, belief.specificity).ravel()
        state = _State(belief, prior_wrong, evidence, n, False)
        responsibility = _posterior(state)
        prior_wrong = _class_prior(labels, responsibility, steps.prior_wrong)
        belief = _m_step(labels, steps, responsibility, labels.weight, all_counts)
        moved = _rates(belief)
        if n > 2 and np.abs(moved - rates).sum() <= steps.tolerance * len(rates):
            return state._replace(has_converged=True)
        rates = moved
    return state


def _m_step(labels: Labels, steps: _Steps, responsibility: Floats, weight: Floats, all_counts: Floats) -> Belief:
    """The posterior of each annotator's rates under the learned prior, given the soft counts."""
    return steps.prior.belief(*_soft_counts(labels, steps.carried, responsibility, weight, all_counts))


def _soft_counts(
    labels: Labels, carried: Counted | None, responsibility: Floats, weight: Floats, all_counts: Floats
) -> Counted:
    """Soft counts of each annotator, honeypots clamped, earlier rounds added.

    `all_counts` are the counts of lines of either truth, (A, 2): what is not wrong is correct.
    """
    wrong = labels.counts(np.where(labels.is_known, labels.is_wrong, responsibility) * weight)
    correct = np.maximum(all_counts - wrong, 0)
    counts = Counted(wrong[:, 1], wrong[:, 0], correct[:, 0], correct[:, 1])
    return counts if carried is None else Counted(*(now + old for now, old in zip(counts, carried, strict=True)))


def _rates(belief: Belief) -> Floats:
    return np.concatenate([belief.sensitivity.mean, belief.specificity.mean])


def _posterior(state: _State) -> Floats:
    """P(line wrong | verdicts) as EM sees it, not tempered, honeypots too, (N,)."""
    return sigmoid(logit(state.prior_wrong) + state.evidence)


def _class_prior(labels: Labels, responsibility: Floats, fixed: float | None, counted: Bools | None = None) -> float:
    """P(line wrong) over the lines that are not honeypots, two pseudo-lines at the honeypots' share added."""
    if fixed is not None:
        return fixed
    known = labels.is_known
    share = (labels.is_wrong.sum() + 1) / (known.sum() + 2)
    free = ~known if counted is None else ~known & counted
    estimate = (responsibility[free].sum() + 2 * share) / (free.sum() + 2)
    return float(np.clip(estimate, *_CLASS_BOUNDS))


def _tempering(labels: Labels, state: _State, is_prior_fixed: bool) -> Tempering:
    """The temperature from agreement, corrected by held-out honeypots where there are some."""
    rates = (state.belief.sensitivity, state.belief.specificity)
    centre = temperature_from_agreement(labels, state.evidence, state.prior_wrong, *rates)
    lines = np.flatnonzero(labels.is_known)
    found = fit_to_honeypots(held_out_evidence(labels, lines, *rates), labels.is_wrong[lines], centre)
    return found._replace(shift=0.0) if is_prior_fixed else found


def _informed(labels: Labels, steps: _Steps, state: _State) -> _State:
    """The settled state with rates that know how little hidden truth tells, and one more E-step."""
    belief, _ = _informed_belief(labels, steps, state.belief, _posterior(state))
    evidence = labels.matrix @ evidence_weights(belief.sensitivity, belief.specificity).ravel()
    return state._replace(belief=belief, evidence=evidence)


def _informed_belief(labels: Labels, steps: _Steps, belief: Belief, posterior: Floats) -> tuple[Belief, Belief]:
    """M-steps on counts that are shrunk to the share of information that they hold.

    EM takes expected counts for observed ones. A line of posterior `q` misses `q (1 - q) ((hit - r) / (r (1 - r)))**2`
    of a rate's information (Louis 1982, doi:10.1111/j.2517-6161.1982.tb01203.x), other rates taken as known. Counts
    less by that share leave more to the crowd's prior, and make intervals honest. Returns the belief and those counts.
    """
    counts = _soft_counts(labels, steps.carried, posterior, labels.weight, labels.counts(labels.weight))
    hidden = labels.counts(np.where(labels.is_known, 0.0, posterior * (1 - posterior)) * labels.weight)  # (A, 2)

    def shrunk(rate: Floats, hits: Floats, misses: Floats, of_hits: Floats, of_misses: Floats) -> tuple[Floats, Floats]:
        missing = (of_hits * (1 - rate) ** 2 + of_misses * rate**2) / (rate * (1 - rate))
        share = np.clip(1 - missing / np.maximum(hits + misses, 1e-9), _LEAST_INFORMATION, 1.0)
        return hits * share, misses * share

    for _ in range(_INFORMED_STEPS):
        caught, missed = shrunk(belief.sensitivity.mean, counts.caught, counts.missed, hidden[:, 1], hidden[:, 0])
        passed, accused = shrunk(belief.specificity.mean, counts.passed, counts.accused, hidden[:, 0], hidden[:, 1])
        belief = steps.prior.belief(caught, missed, passed, accused)
    both = BetaCounts(caught + passed, missed + accused)
    return belief, Belief(both, BetaCounts(caught, missed), BetaCounts(passed, accused))
