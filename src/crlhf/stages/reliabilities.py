"""Stage `reliabilities`: how reliable each annotator is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from crlhf.schema import Summary
from crlhf.stages.crowd_record import CrowdRecord, joined, read_record, write_record
from crlhf.store import Store, write_json

if TYPE_CHECKING:
    from crlhf.stages.runner import Context

SECTIONS = ("seed", "reliability")
MODEL = "reliability_model.json"


def model_path(store: Store, round_name: str | None = None) -> Path:
    """Where the estimator's model of a round (default: the store's) lies."""
    return store.table_path("reliabilities", round_name).with_name(MODEL)


def run(context: Context) -> Summary:
    """Write `reliabilities`, the estimator's model, and the record of the crowd for the next round.

    What the round before knew of an annotator is the prior here, with forgetting (`reliability.carry_over`). Verdicts
    that arrived late for earlier rounds are evidence as well: their items are in the record.
    """
    from crlhf.evaluation.report import draw_calibration, draw_reliabilities, png
    from crlhf.reliability import diagnose, estimate, remembered

    params, store = context.params.reliability, context.store
    annotations, earlier = store.read("validated"), read_record(store, context.previous)
    items = joined(earlier.items, store.read("items"))
    known = None if earlier.reliabilities.empty else earlier.reliabilities
    estimated = estimate(annotations, items, params, earlier=known, seed=context.seed)
    diagnosis = diagnose(annotations, items, params, seed=context.seed)
    is_simulated = bool((annotations["source"] == "simulated").any())
    store.write("reliabilities", estimated.reliabilities)
    write_json(model_path(store), {**estimated.model, "is_simulated": is_simulated, **diagnosis.record()})
    everyone = remembered(earlier.reliabilities, estimated.reliabilities, params)
    write_record(store, CrowdRecord(everyone, items, joined(earlier.verdicts, annotations)))
    table = estimated.reliabilities
    metrics: dict[str, float] = {
        "n_annotators": len(table),
        "n_carried_over": int(table["annotator_id"].isin(earlier.reliabilities["annotator_id"]).sum()),
        "n_kept": int(table["is_kept"].sum()),
        "n_without_honeypots": int((table["n_honeypots"] == 0).sum()),
    }
    metrics |= {
        f"mean_{name}": round(float(table[name].mean()), 6) for name in ("accuracy", "sensitivity", "specificity")
    }
    metrics |= diagnosis.metrics()
    facts = {"estimator": str(estimated.model["estimator"]), "orientation": str(estimated.model["orientation"])}
    facts |= {f"suspect/{row.annotator_id}": f"{row.kind}: {row.evidence}" for row in diagnosis.suspects.itertuples()}
    figures = (
        context.keep_figure("reliabilities", png(draw_reliabilities(table))),
        context.keep_figure("calibration", png(draw_calibration(diagnosis.bins))),
    )
    return Summary(metrics, facts, is_simulated=is_simulated, figures=figures)
