"""P(line correct | verdicts) by Bayes' rule.

Source: arXiv:2503.15129. Log-odds add up over the annotators who judged the line:

    log odds_l = log(pi0 / (1 - pi0)) + sum_{i judged l ok} weight_ok_i + sum_{j marked l wrong} weight_wrong_j
    q_l        = 1 / (1 + exp(-log odds_l))

Departs from the paper: an annotator's two weights come from sensitivity and specificity, which with one coin are the
paper's `w_i` and `-w_i`; only judgeable lines have a posterior. Here lines are independent, as in the paper;
`line_chain` then looks at the neighbours too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from crlhf.schema import LINE_POSTERIORS

if TYPE_CHECKING:
    import pandas as pd


def line_posteriors(
    annotations: pd.DataFrame,
    items: pd.DataFrame,
    reliabilities: pd.DataFrame,
    prior_correct: float,
    *,
    of_honeypots: bool = False,
) -> pd.DataFrame:
    """The posterior of every judgeable line of every completion that has a verdict, or of every honeypot that has.

    Args:
        annotations: schema ANNOTATIONS, validated.
        items: schema ITEMS; says which lines are judgeable and which items are honeypots.
        reliabilities: schema RELIABILITIES; verdicts of annotators who are not kept, or not listed, do not count.
        prior_correct: pi0 = P(a line is correct), strictly between 0 and 1.
        of_honeypots: list the honeypots, and nothing else, as if their truth were not known.

    Returns:
        Schema LINE_POSTERIORS by completion_id and line_no. A line without a verdict that counts has the prior. The
        sum runs in the order of annotator_id, so the order of rows changes no bit.
    """
    is_listed = items["is_honeypot"].astype(bool) == of_honeypots
    lines = items.loc[is_listed, ["completion_id", "line_nos"]].explode("line_nos")
    lines = lines.dropna().rename(columns={"line_nos": "line_no"}).astype({"line_no": np.int64})
    lines = lines[lines["completion_id"].isin(annotations["completion_id"])]
    lines = lines.sort_values(["completion_id", "line_no"], ignore_index=True)
    lines["line"] = np.arange(len(lines))
    kept = reliabilities.loc[reliabilities["is_kept"].astype(bool), ["annotator_id", "weight_ok", "weight_wrong"]]
    rows = (
        annotations[["completion_id", "line_no", "annotator_id", "verdict"]]
        .merge(lines, on=["completion_id", "line_no"])
        .merge(kept, on="annotator_id")
        .sort_values(["line", "annotator_id"], kind="stable")
    )
    is_wrong = (rows["verdict"] == "wrong").to_numpy(bool)
    line = rows["line"].to_numpy(np.int64)
    weight = np.where(is_wrong, rows["weight_wrong"].to_numpy(np.float64), rows["weight_ok"].to_numpy(np.float64))
    n = len(lines)
    evidence = np.bincount(line, weights=weight, minlength=n).astype(np.float64)  # ints when there is no verdict
    log_odds = np.log(prior_correct / (1 - prior_correct)) + evidence
    lines["evidence"], lines["log_odds"] = evidence, log_odds
    lines["posterior"] = 0.5 * (1 + np.tanh(log_odds / 2))  # never overflows
    lines["n_ok"] = np.bincount(line[~is_wrong], minlength=n).astype(np.int64)
    lines["n_wrong"] = np.bincount(line[is_wrong], minlength=n).astype(np.int64)
    return lines[list(LINE_POSTERIORS.column_names)]
