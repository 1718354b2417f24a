"""Stage `reliabilities`: how reliable each annotator is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crlhf.schema import Summary
from crlhf.store import write_json

if TYPE_CHECKING:
    from crlhf.stages.runner import Context

SECTIONS = ("reliability",)
MODEL = "data/tables/reliability_model.json"


def run(context: Context) -> Summary:
    """Write `reliabilities` and the estimator's model."""
    from crlhf.evaluation.report import draw_reliabilities, png
    from crlhf.reliability import estimate

    annotations = context.store.read("validated")
    estimated = estimate(annotations, context.store.read("items"), context.params.reliability)
    is_simulated = bool((annotations["source"] == "simulated").any())
    context.store.write("reliabilities", estimated.reliabilities)
    write_json(context.path(MODEL), {**estimated.model, "is_simulated": is_simulated})
    table = estimated.reliabilities
    metrics: dict[str, float] = {
        "n_annotators": len(table),
        "n_kept": int(table["is_kept"].sum()),
        "n_without_honeypots": int((table["n_honeypots"] == 0).sum()),
    }
    metrics |= {
        f"mean_{name}": round(float(table[name].mean()), 6) for name in ("accuracy", "sensitivity", "specificity")
    }
    facts = {"estimator": str(estimated.model["estimator"]), "orientation": str(estimated.model["orientation"])}
    figure = context.keep_figure("reliabilities", png(draw_reliabilities(table)))
    return Summary(metrics, facts, is_simulated=is_simulated, figures=(figure,))
