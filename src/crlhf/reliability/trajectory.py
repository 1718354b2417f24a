"""How an annotator's reliability moved, honeypot by honeypot: the paper's Figure 3 as a table.

Each answered honeypot updates the Beta posteriors of sensitivity and specificity by `honeypot_beta.update`, in the
order of submission.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crlhf.params import ReliabilityParams
from crlhf.reliability.honeypot_beta import BetaCounts, prior_belief, update

if TYPE_CHECKING:
    import pandas as pd

RATES = ("sensitivity", "specificity")
COLUMNS = (
    "annotator_id",
    "n_honeypots",
    *(f"{rate}{end}" for rate in RATES for end in ("", "_low", "_high")),
)


def honeypot_steps(annotations: pd.DataFrame, items: pd.DataFrame, params: ReliabilityParams) -> pd.DataFrame:
    """Sensitivity and specificity with 95 % intervals after each honeypot.

    Args:
        annotations: schema ANNOTATIONS; every row counts.
        items: schema ITEMS; the honeypots' key.
        params: the section `reliability`; its priors and line correlation are used.

    Returns:
        Columns annotator_id, n_honeypots (1, 2, ...), and each rate with `_low` and `_high`, by annotator_id and
        n_honeypots.
    """
    import numpy as np
    import pandas as pd

    key = items.loc[items["is_honeypot"].astype(bool), ["completion_id", "wrong_line_nos"]].explode("wrong_line_nos")
    wrong = set(zip(key["completion_id"], key["wrong_line_nos"], strict=True))
    rows = annotations[annotations["completion_id"].isin(key["completion_id"])]
    pairs = zip(rows["completion_id"], rows["line_no"], strict=True)
    rows = rows.assign(is_wrong=[pair in wrong for pair in pairs], is_marked=rows["verdict"] == "wrong")
    rows = rows.assign(caught=rows["is_wrong"] & rows["is_marked"], passed=~rows["is_wrong"] & ~rows["is_marked"])
    answers = rows.groupby(["annotator_id", "submitted_at", "completion_id"], sort=True)[
        ["is_wrong", "caught", "passed"]
    ].agg(["sum", "size"])
    found: list[dict[str, Any]] = []
    beliefs: dict[str, Any] = {}
    counts: dict[str, int] = {}
    for (name, _, _), answer in zip(answers.index, answers.to_numpy(), strict=True):
        n_wrong, n_lines, n_caught, _, n_passed, _ = (float(value) for value in answer)
        beliefs[name] = update(
            beliefs.get(name, prior_belief(params)),
            n_wrong=n_wrong,
            n_caught=n_caught,
            n_ok=n_lines - n_wrong,
            n_passed=n_passed,
            line_correlation=params.line_correlation,
        )
        counts[name] = counts.get(name, 0) + 1
        found.append({"annotator_id": name, "n_honeypots": counts[name], "belief": beliefs[name]})
    table = pd.DataFrame(found, columns=["annotator_id", "n_honeypots", "belief"])
    for rate in RATES:
        mine = [getattr(belief, rate) for belief in table["belief"]]
        stacked = BetaCounts(np.array([one.hits for one in mine]), np.array([one.misses for one in mine]))
        low, high = stacked.interval()
        table[rate], table[f"{rate}_low"], table[f"{rate}_high"] = stacked.mean, low, high
    return table[list(COLUMNS)]
