"""Stage `reliabilities`: how reliable each annotator is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crlhf.schema import Summary
from crlhf.store import write_json

if TYPE_CHECKING:
    from crlhf.stages.runner import Context

SECTIONS = ("seed", "reliability")
MODEL = "data/tables/reliability_model.json"


def run(context: Context) -> Summary:
    """Write `reliabilities` and the estimator's model."""
    from crlhf.evaluation.report import draw_calibration, draw_reliabilities, png
    from crlhf.reliability import diagnose, estimate

    annotations = context.store.read("validated")
    items = context.store.read("items")
    estimated = estimate(annotations, items, context.params.reliability, seed=context.params.seed)
    diagnosis = diagnose(annotations, items, context.params.reliability, seed=context.params.seed)
    is_simulated = bool((annotations["source"] == "simulated").any())
    context.store.write("reliabilities", estimated.reliabilities)
    write_json(context.path(MODEL), {**estimated.model, "is_simulated": is_simulated, **diagnosis.record()})
    table = estimated.reliabilities
    metrics: dict[str, float] = {
        "n_annotators": len(table),
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
