"""`estimate`: the annotators' reliabilities by the estimator that the params name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from crlhf.params import ReliabilityParams
from crlhf.reliability import dawid_skene
from crlhf.reliability.carry_over import carried_belief
from crlhf.reliability.crowd_prior import Counted, CrowdPrior
from crlhf.reliability.honeypot_beta import Belief, BetaCounts, nothing_known, prior_belief, update_all
from crlhf.reliability.l1_logistic import fit_l1
from crlhf.reliability.labels import Labels, honeypot_answers, labels_of
from crlhf.reliability.majority import fit_majority
from crlhf.reliability.record import (
    Estimate,
    Found,
    count_verdicts,
    one_coin_weights,
    reasons_of,
    reliabilities_frame,
    two_coin_weights,
)
from crlhf.reliability.verdicts import code_verdicts

if TYPE_CHECKING:
    import pandas as pd


def estimate(
    annotations: pd.DataFrame,
    items: pd.DataFrame,
    params: ReliabilityParams,
    *,
    earlier: pd.DataFrame | None = None,
    seed: int = 0,
) -> Estimate:
    """Estimate how reliable each annotator is.

    Args:
        annotations: schema ANNOTATIONS, validated.
        items: schema ITEMS; the honeypots among them are the answer key.
        params: the section `reliability` of params.yaml.
        earlier: schema RELIABILITIES of the last round, carried over with `params.carry_over`.
        seed: of the folds of cross-validation.

    Returns:
        One row for each annotator who gave a verdict, by annotator_id, and the model. An empty table gives an empty
        one. Rates are strictly between 0 and 1 and weights are finite, because the pseudo-counts are positive.
    """
    verdicts = code_verdicts(annotations, items)
    labels = labels_of(verdicts, params.line_correlation)
    carried = None
    if earlier is not None:
        carried = carried_belief(earlier, verdicts.annotator_ids, params.carry_over)
    found = find(labels, params, carried=carried, seed=seed)
    counts = count_verdicts(labels)
    reasons = found.reasons or reasons_of(
        found.belief, counts, coins=params.coins, min_honeypots=params.min_honeypots, is_em=is_em(params)
    )
    frame = reliabilities_frame(found, counts, verdicts.annotator_ids, params.estimator, reasons)
    has_honeypots = bool(labels.is_known.any())
    notes = found.notes if has_honeypots else [*found.notes, "no honeypots: that most annotators are right is assumed"]
    return Estimate(
        frame,
        {
            "estimator": params.estimator,
            "coins": params.coins,
            "prior_correct": None if found.prior_wrong is None else 1 - found.prior_wrong,
            "temperature": found.temperature,
            "orientation": "honeypots" if has_honeypots else "assumed",
            "notes": notes,
        },
    )


def find(labels: Labels, params: ReliabilityParams, *, carried: Belief | None = None, seed: int = 0) -> Found:
    """Run the estimator that the params name on coded labels."""
    if params.estimator == "honeypot_beta":
        return _by_honeypots(labels, params, carried)
    if params.estimator == "dawid_skene":
        return _by_em(labels, params, carried)
    if params.estimator == "l1_logistic":
        return fit_l1(labels, params, seed)
    return fit_majority(labels, params)


def is_em(params: ReliabilityParams) -> bool:
    """True: the estimator learns from lines of unknown truth too."""
    return params.estimator == "dawid_skene"


def _by_honeypots(labels: Labels, params: ReliabilityParams, carried: Belief | None) -> Found:
    """The Beta posterior of each annotator from the honeypots that the annotator answered."""
    answers = honeypot_answers(labels)
    n_honeypots = np.bincount(answers.annotator, minlength=labels.n_annotators)
    is_enough = n_honeypots >= params.min_honeypots
    earlier = carried or nothing_known(labels.n_annotators)
    evidence = update_all(earlier, answers.only(is_enough[answers.annotator]), params.line_correlation)
    prior = prior_belief(params, labels.n_annotators)
    belief = Belief(*(_added(before, seen) for before, seen in zip(prior, evidence, strict=True)))
    temperature = params.temperature or 1.0
    weights = (
        one_coin_weights(belief.accuracy.mean)
        if params.coins == 1
        else two_coin_weights(belief.sensitivity.mean, belief.specificity.mean)
    )
    n_unseen = int(np.sum(~is_enough | (n_honeypots == 0)))
    return Found(
        belief,
        temperature * weights,
        prior_wrong=None if params.prior_correct is None else 1 - params.prior_correct,
        interval_method="Beta posterior, honeypots",
        temperature=temperature,
        is_kept=np.ones(labels.n_annotators, bool),
        reasons=None,
        notes=[f"{n_unseen} of {labels.n_annotators} annotators have too few honeypots and keep the prior"]
        if n_unseen
        else [],
        evidence=evidence,
    )


def _by_em(labels: Labels, params: ReliabilityParams, carried: Belief | None) -> Found:
    """Semi-supervised Dawid-Skene."""
    fit = dawid_skene.fit(
        labels,
        CrowdPrior(params.prior_accuracy, params.prior_sensitivity, params.prior_specificity, params.coins),
        prior_wrong=None if params.prior_correct is None else 1 - params.prior_correct,
        temperature=params.temperature,
        carried=None
        if carried is None
        else Counted(
            carried.sensitivity.hits,
            carried.sensitivity.misses,
            carried.specificity.hits,
            carried.specificity.misses,
        ),
    )
    settled = "settled" if fit.has_converged else "stopped at the limit"
    return Found(
        fit.belief,
        fit.weights,
        prior_wrong=fit.prior_wrong,
        interval_method="Beta posterior, EM with missing information",
        temperature=fit.tempering.temperature,
        is_kept=np.ones(labels.n_annotators, bool),
        reasons=None,
        notes=[f"EM {settled} after {fit.n_iterations} iterations"],
        shift=fit.tempering.shift,
        evidence=fit.evidence,
    )


def _added(counts: BetaCounts, extra: BetaCounts) -> BetaCounts:
    return BetaCounts(counts.hits + extra.hits, counts.misses + extra.misses)
