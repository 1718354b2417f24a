"""`estimate`: the annotators' reliabilities by the estimator that the params name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from crlhf.params import ReliabilityParams
from crlhf.reliability.honeypot_beta import prior_belief, update_all
from crlhf.reliability.record import (
    Estimate,
    count_verdicts,
    one_coin_weights,
    reasons_of,
    reliabilities_frame,
    two_coin_weights,
)
from crlhf.reliability.verdicts import Verdicts, code_verdicts, honeypot_answers

if TYPE_CHECKING:
    import pandas as pd


def estimate(annotations: pd.DataFrame, items: pd.DataFrame, params: ReliabilityParams) -> Estimate:
    """Estimate how reliable each annotator is.

    Args:
        annotations: schema ANNOTATIONS, validated.
        items: schema ITEMS; the honeypots among them are the answer key.
        params: the section `reliability` of params.yaml.

    Returns:
        One row for each annotator who gave a verdict, by annotator_id, and the model. An empty table gives an empty
        one. Rates are strictly between 0 and 1 and weights are finite, because the pseudo-counts are positive.
    """
    return _by_honeypots(code_verdicts(annotations, items), params)


def _by_honeypots(verdicts: Verdicts, params: ReliabilityParams) -> Estimate:
    """The Beta posterior of each annotator from the honeypots that the annotator answered."""
    counts = count_verdicts(verdicts)
    enough = counts.n_honeypots >= params.min_honeypots
    answers = honeypot_answers(verdicts)
    answers = answers.only(enough[answers.annotator])
    belief = update_all(prior_belief(params, verdicts.n_annotators), answers, params.line_correlation)
    weights = (
        one_coin_weights(belief.accuracy.mean)
        if params.coins == 1
        else two_coin_weights(belief.sensitivity.mean, belief.specificity.mean)
    )
    n_unseen = int(np.sum(~enough | (counts.n_honeypots == 0)))
    notes = [f"{n_unseen} of {verdicts.n_annotators} annotators have too few honeypots and keep the prior"]
    frame = reliabilities_frame(
        verdicts,
        belief,
        estimator=params.estimator,
        interval_method="Beta posterior, honeypots",
        weights=weights,
        is_kept=[True] * verdicts.n_annotators,
        reasons=reasons_of(belief, counts, coins=params.coins, min_honeypots=params.min_honeypots),
    )
    return Estimate(
        frame,
        {
            "estimator": params.estimator,
            "coins": params.coins,
            "prior_correct": None,
            "temperature": 1.0,
            "orientation": "honeypots" if len(answers.annotator) else "assumed",
            "notes": notes if n_unseen else [],
        },
    )
