"""Stage `honeypots`: everything annotators are shown, and the simulated truth of its lines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from crlhf.schema import Program, Summary, Verdict
from crlhf.stages import summary_path
from crlhf.stages.programs import run_programs
from crlhf.store import read_json, records

if TYPE_CHECKING:
    import pandas as pd

    from crlhf.crowd.honeypots import HoneypotsMade
    from crlhf.crowd.label_noise import LabelNoise
    from crlhf.stages.runner import Context

SECTIONS = ("seed", "honeypots", "sandbox", "completions")
N_NOISE_FAULTS = 60
"""Injected faults on which the heuristic for wrong lines is measured."""


def run(context: Context) -> Summary:
    """Run the completions, make honeypots, write `items` and `line_truths`, and measure the truth's label noise."""
    import pandas as pd

    from crlhf.crowd.honeypots import make_honeypots
    from crlhf.crowd.items import completion_items, join_items
    from crlhf.crowd.label_noise import label_noise
    from crlhf.crowd.truth import line_truths, passing_programs

    params, seed = context.params, context.seed
    problems = context.store.read("problems")
    problems = problems[problems["split"] == "train"].reset_index(drop=True)
    completions = context.store.read("completions")

    def run_all(programs: Sequence[Program], label: str = "honeypots: running") -> list[Verdict]:
        return run_programs(programs, params.sandbox, label)

    verdicts = run_all(_programs(context, problems, completions), "completions: running")
    made = make_honeypots(problems, completions, verdicts, run_all, params.honeypots, seed)
    languages = dict(zip(problems["problem_id"], problems["language"], strict=True))
    items = join_items(completion_items(completions, languages), made.items)
    context.store.write("items", items)
    truths = line_truths(completions, problems, verdicts)
    context.store.write("line_truths", pd.concat([truths, made.line_truths], ignore_index=True))
    noise = label_noise(problems, run_all, seed, N_NOISE_FAULTS, passing_programs(completions, verdicts))
    for note in (*made.notes, *noise.notes):
        context.say(f"honeypots: {note}")
    is_simulated = read_json(context.path(summary_path("completions", context.round)))["is_simulated"]
    return _summary(completions, items, verdicts, made, noise, is_simulated=is_simulated)


def _programs(context: Context, problems: pd.DataFrame, completions: pd.DataFrame) -> list[Program]:
    from crlhf.evaluation.protocols import get_protocol

    protocol = get_protocol(context.params.completions.protocol)
    rows = {row["problem_id"]: row for row in records(problems)}
    return [
        protocol.program(rows[completion["problem_id"]], completion["code"], completion["completion_id"])
        for completion in records(completions)
    ]


def _summary(
    completions: pd.DataFrame,
    items: pd.DataFrame,
    verdicts: Sequence[Verdict],
    made: HoneypotsMade,
    noise: LabelNoise,
    *,
    is_simulated: bool,
) -> Summary:
    honeypots = items[items["is_honeypot"]]
    metrics: dict[str, float] = {
        f"n_{kind}": sum(v.verdict == kind for v in verdicts) for kind in ("pass", "fail", "timeout", "error")
    }
    metrics |= {
        "pass_rate": round(metrics["n_pass"] / max(1, len(verdicts)), 9),
        "n_items": len(items),
        "n_completions_without_lines": len(completions) - int((~items["is_honeypot"]).sum()),
        "n_honeypots": made.n_made,
        "n_honeypots_correct": int((honeypots["fault_kind"] == "none").sum()),
        "n_honeypots_from_completions": int((honeypots["origin"] == "completion").sum()),
        "n_fault_kinds": int(honeypots.loc[honeypots["fault_kind"] != "none", "fault_kind"].nunique()),
        "label_noise/n_faults": noise.n_faults,
    }
    overall = noise.table[noise.table["method"] == "all"]
    for row in overall.to_dict("records"):
        for name in ("exact", "precision", "recall", "noise"):
            for part in (name, f"{name}_low", f"{name}_high"):
                if not math.isnan(row[part]):
                    metrics[f"label_noise/{row['variant']}/{part}"] = round(float(row[part]), 9)
    isolation = ", ".join(sorted({verdict.isolation for verdict in verdicts}))
    notes = "; ".join((*made.notes, *noise.notes)) or "none"
    facts = {
        "isolation": isolation,
        "notes": notes,
        "truth": "simulated: from injected faults and tests, not from people",
    }
    return Summary(metrics, facts, is_simulated=is_simulated)
