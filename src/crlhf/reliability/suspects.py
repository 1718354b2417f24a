"""Annotators to look at: lazy, random, adversarial and copying ones, each with the evidence.

- lazy: nothing is marked whatever it is; the interval of the sensitivity lies below 0.25 and the specificity is at
  least 0.95.
- adversarial: the interval of `J = sensitivity + specificity - 1` lies below 0.
- random: that interval covers 0 and is so narrow that J is below 0.3 for certain, and the annotator is not lazy.
- copying: two annotators agree more often than two independent ones of their rates would. With `Q` expected wrong
  lines among `n` common ones,

      E = Q (s_i s_j + (1 - s_i)(1 - s_j)) + (n - Q) (c_i c_j + (1 - c_i)(1 - c_j)),
      z = (agreed - E) / sqrt(E (1 - E/n)).

  Hard lines raise all pairs' `z`, so a pair counts when it stands out from the other pairs: by more than 6 robust
  standard deviations (median and MAD), with at least 97 % agreement on at least 30 common lines.

Departs from the paper (arXiv:2503.15129): the paper detects nobody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from crlhf.params import ReliabilityParams
from crlhf.reliability import dawid_skene
from crlhf.reliability.crowd_prior import CrowdPrior
from crlhf.reliability.diagnostics import Pairs, pairwise_agreement
from crlhf.reliability.honeypot_beta import BetaCounts
from crlhf.reliability.labels import Labels, labels_of
from crlhf.reliability.verdicts import Floats, code_verdicts

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("annotator_id", "kind", "evidence", "strength")
_OUTSTANDING, _AGREEMENT, _MIN_COMMON = 6.0, 0.97, 30


def find_suspects(annotations: pd.DataFrame, items: pd.DataFrame, params: ReliabilityParams) -> pd.DataFrame:
    """List the suspects.

    Args:
        annotations: schema ANNOTATIONS, validated.
        items: schema ITEMS.
        params: the section `reliability`; its priors and correlation are used, whatever the estimator.

    Returns:
        Columns annotator_id, kind (lazy | random | adversarial | copying), evidence (one sentence) and strength
        (standard deviations from innocence), by annotator_id and kind. An annotator may be listed twice.
    """
    import pandas as pd

    verdicts = code_verdicts(annotations, items)
    labels = labels_of(verdicts, params.line_correlation)
    prior = CrowdPrior(params.prior_accuracy, params.prior_sensitivity, params.prior_specificity)
    fit = dawid_skene.fit(labels, prior)
    n_verdicts = labels.counts(np.ones(len(labels.truth)))
    rows = []
    for index, name in enumerate(verdicts.annotator_ids):
        sens, spec = (_one(counts, index) for counts in (fit.belief.sensitivity, fit.belief.specificity))
        found = _by_rates(sens, spec)
        if found is not None:
            marks, total = n_verdicts[index, 1], n_verdicts[index].sum()
            rows.append((name, found[0], f"{found[1]}; marked {marks:.0f} of {total:.0f} lines", found[2]))
    rows += _copying(labels, fit, verdicts.annotator_ids.tolist())
    return pd.DataFrame(rows, columns=list(COLUMNS)).sort_values(["annotator_id", "kind"], ignore_index=True)


def _one(counts: BetaCounts, index: int) -> BetaCounts:
    return BetaCounts(counts.hits[index], counts.misses[index])


def _by_rates(sens: BetaCounts, spec: BetaCounts) -> tuple[str, str, float] | None:
    """Kind, evidence and strength for one annotator's rates, or None."""
    j = float(sens.mean + spec.mean - 1)
    sd = float(np.sqrt(sens.variance + spec.variance))
    rates = f"sensitivity {float(sens.mean):.2f}, specificity {float(spec.mean):.2f}"
    text = f"{rates}, sum less 1 is {j:.2f} +- {1.96 * sd:.2f}"
    if float(sens.interval()[1]) < 0.25 and float(spec.mean) >= 0.95:
        return "lazy", text, float((0.25 - sens.mean) / np.sqrt(sens.variance))
    if j + 1.96 * sd < 0:
        return "adversarial", text, -j / sd
    if abs(j) <= 1.96 * sd and j + 1.96 * sd < 0.3:
        return "random", text, (0.3 - j) / sd
    return None


def _copying(labels: Labels, fit: dawid_skene.Fit, names: list[str]) -> list[tuple[str, str, str, float]]:
    """Rows for both members of each outstanding pair, the strongest partner of each."""
    pairs = pairwise_agreement(labels, np.where(labels.is_known, labels.is_wrong, fit.posterior_wrong), _MIN_COMMON)
    if len(pairs.first) < 3:
        return []
    strength = outstanding(pairs, fit.belief.sensitivity.mean, fit.belief.specificity.mean)
    agreement = pairs.n_agreed / pairs.n_common
    best: dict[int, int] = {}
    for pair in np.flatnonzero((strength > _OUTSTANDING) & (agreement >= _AGREEMENT)).tolist():
        for member in (int(pairs.first[pair]), int(pairs.second[pair])):
            if member not in best or strength[pair] > strength[best[member]]:
                best[member] = pair
    rows = []
    for member, pair in best.items():
        partner = int(pairs.first[pair] + pairs.second[pair]) - member
        text = f"agrees with {names[partner]} on {pairs.n_agreed[pair]:.0f} of {pairs.n_common[pair]:.0f} common lines"
        rows.append((names[member], "copying", text, float(strength[pair])))
    return rows


def outstanding(pairs: Pairs, sensitivity: Floats, specificity: Floats) -> Floats:
    """How many robust standard deviations each pair's agreement stands out from that of all pairs, (P,)."""

    def same(rate: Floats) -> Floats:
        a, b = rate[pairs.first], rate[pairs.second]
        both: Floats = a * b + (1 - a) * (1 - b)
        return both

    expected = pairs.n_wrong * same(sensitivity) + (pairs.n_common - pairs.n_wrong) * same(specificity)
    z = (pairs.n_agreed - expected) / np.sqrt(np.maximum(expected * (1 - expected / pairs.n_common), 1e-6))
    middle = np.median(z)
    spread = max(1.4826 * float(np.median(np.abs(z - middle))), 1.0)
    return np.asarray((z - middle) / spread)
