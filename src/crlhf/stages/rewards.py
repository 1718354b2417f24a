"""Stage `rewards`: from verdicts and reliabilities to the reward of each completion."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from crlhf.errors import InputError
from crlhf.schema import Summary
from crlhf.stages.reliabilities import model_path
from crlhf.stages.same_programs import require_same_programs
from crlhf.store import atomic_write, read_json, records

if TYPE_CHECKING:
    import pandas as pd

    from crlhf.rewards import Chain
    from crlhf.stages.runner import Context
    from crlhf.store import Store

SECTIONS = ("rewards", "report")
_CONTRADICTION = 5.0  # nats on the honeypots: odds of 150 to 1 against the chain


def run(context: Context) -> Summary:
    """Write `line_posteriors` and `scores`; with a simulated crowd also compare them with its truth."""
    from crlhf.evaluation.report import draw_rewards, png
    from crlhf.rewards import chained, left_out, line_posteriors, scores, value_of_verdicts

    params, store = context.params.rewards, context.store
    model = read_json(model_path(store))
    prior = params.prior_correct if model["prior_correct"] is None else model["prior_correct"]
    completions = store.read("completions")
    verdicts = (store.read("validated"), store.read("items"), store.read("reliabilities"), prior)
    _require_judged(store, completions, *verdicts[:2])
    posteriors = line_posteriors(*verdicts)
    chain: Chain | None = None
    of_chain: dict[str, float] = {}
    if params.lines == "chain":
        chain, of_chain = _proven_chain(posteriors, line_posteriors(*verdicts, of_honeypots=True), verdicts[1], prior)
    if chain is not None:
        posteriors = chained(posteriors, chain)
    scored = scores(posteriors, completions, params, chain)
    if scored.empty:
        raise InputError(
            f"{store.table_path('validated')}: no completion has the verdicts that rewards.min_annotators asks for"
        )
    store.write("line_posteriors", posteriors)
    store.write("scores", scored)
    missing = left_out(posteriors, completions, params)
    metrics = {f"n_{name}": count for name, count in missing._asdict().items()} | {
        "n_scored": len(scored),
        "mean_aligned_score": _rounded(scored["aligned_score"].mean()),
        "mean_reward": _rounded(scored["reward"].mean()),
        "sd_reward": _rounded(scored["reward"].std(ddof=0)),
        "share_tied": _rounded(scored["is_tied"].mean()),
        "prior_correct": prior,
    }
    wanted = value_of_verdicts(posteriors, store.read("reliabilities"))
    metrics |= {
        "next_verdicts/n_precise": int((wanted["n_more"] == 0).sum()),
        "next_verdicts/n_out_of_reach": int(wanted["n_more"].isna().sum()),
        "next_verdicts/n_more": int(wanted["n_more"].sum()),
    }
    metrics |= of_chain
    if model["is_simulated"]:
        metrics |= simulated_errors(posteriors, scored, store.read("line_truths"))
    figure = context.keep_figure("rewards", png(draw_rewards(scored)))
    _keep_samples(context, posteriors, scored, is_simulated=model["is_simulated"])
    facts = {
        "kind": params.kind,
        "lines": "independent" if chain is None else "chain",
        "another_annotator_helps_most": ", ".join(wanted["completion_id"].head(5)),
    }
    return Summary(metrics, facts, is_simulated=model["is_simulated"], figures=(figure,))


def _require_judged(store: Store, completions: pd.DataFrame, validated: pd.DataFrame, items: pd.DataFrame) -> None:
    """Raise IntegrityError unless annotators judged the programs of the completions table."""
    require_same_programs(store, completions, "items", items[~items["is_honeypot"].astype(bool)])
    is_own = validated["completion_id"].isin(completions["completion_id"])  # not honeypots, nor late for earlier rounds
    require_same_programs(store, completions, "validated", validated[is_own])


def _proven_chain(
    posteriors: pd.DataFrame, honeypots: pd.DataFrame, items: pd.DataFrame, prior: float
) -> tuple[Chain | None, dict[str, float]]:
    """The chain that the completions teach, or None where the honeypots speak clearly against it; and its metrics.

    Verdicts on neighbouring lines also hang together when annotators give whole programs one answer. Honeypots tell
    that apart: their truth is known. They are another kind of programs, so a little evidence is not enough.
    """
    from crlhf.rewards import fit_to_posteriors, gain_on_known

    chain = fit_to_posteriors(posteriors, prior)
    wrong = {row["completion_id"]: set(row["wrong_line_nos"]) for row in records(items[items["is_honeypot"]])}
    truth = [line in wrong[item] for item, line in zip(honeypots["completion_id"], honeypots["line_no"], strict=True)]
    gain = gain_on_known(
        chain,
        honeypots["evidence"].to_numpy(float),
        honeypots["completion_id"].factorize()[0],
        np.array(truth, bool),
        prior,
    )
    metrics = {
        "chain/share_clean": _rounded(chain.start[0]),
        "chain/wrong_after_wrong": _rounded(chain.transition[2, 2]),
        "chain/nats_on_honeypots": _rounded(gain),
    }
    return (chain if gain >= -_CONTRADICTION else None), metrics


def _keep_samples(context: Context, posteriors: pd.DataFrame, scored: pd.DataFrame, *, is_simulated: bool) -> None:
    """Write reports/samples/<round>.html: some completions, from the best to the worst, line by line."""
    from crlhf.evaluation.report import choose_samples, samples_page

    store, path = context.store, context.path(f"reports/samples/{context.round}.html")
    page = samples_page(
        f"Annotated completions, round {context.round}",
        choose_samples(scored, context.params.report.n_samples),
        store.read("problems"),
        store.read("items"),
        scored,
        posteriors,
        is_simulated=is_simulated,
    )
    with atomic_write(path, "w") as file:
        file.write(page)
    context.run.log_artifact(path, "samples")


def simulated_errors(posteriors: pd.DataFrame, scored: pd.DataFrame, truths: pd.DataFrame) -> dict[str, float]:
    """How near posteriors and aligned scores come to the simulated truth (not to be had with a human crowd)."""

    lines = posteriors.merge(truths, on=["completion_id", "line_no"], validate="one_to_one")
    marked = lines["posterior"] < 0.5
    truth = 1 - lines.groupby("completion_id")["is_wrong"].mean()
    error = scored.set_index("completion_id")["aligned_score"] - truth
    wrong = lines["is_wrong"]
    return {
        "simulated/line_accuracy": _rounded((marked == wrong).mean()),
        "simulated/wrong_line_recall": _rounded(marked[wrong].mean()) if wrong.any() else 0.0,
        "simulated/aligned_score_rmse": _rounded(np.sqrt((error**2).mean())),
    }


def _rounded(value: float) -> float:
    """Nine decimals: enough to read, and the same wherever sums are added in another order."""
    return round(float(value), 9)
