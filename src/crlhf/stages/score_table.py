"""What `crlhf score` and `crlhf evaluate` print: pass@k with intervals, and what became of the samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from crlhf.evaluation.outcomes import told
from crlhf.evaluation.pass_at_k import PassCount
from crlhf.evaluation.scores import Bootstrap, Counts, score, too_few_samples

DEFAULT_K = (1, 10, 100)


def counts_of(meta: dict[str, Any], name: str = "problems") -> Counts:
    """n and c of each problem from meta data."""
    return {problem_id: PassCount(row["n"], row["c"]) for problem_id, row in meta[name].items()}


def score_rows(counts: Counts, ks: Sequence[int], bootstrap: Bootstrap) -> list[dict[str, Any]]:
    """A record for each k that every problem has samples enough for, as the meta data keep it."""
    records = []
    for k in ks:
        if counts and not too_few_samples(counts, k):
            interval = score(counts, k, bootstrap)
            records.append({"k": k} | {name: round(value, 9) for name, value in interval._asdict().items()})
    return records


def refusals(counts: Counts, ks: Sequence[int]) -> list[str]:
    """One sentence for each k that some problem has too few samples for."""
    lines = []
    for k in ks:
        if short := too_few_samples(counts, k):
            lines.append(
                f"pass@{k} is refused: {len(short)} problem{'s have' if len(short) > 1 else ' has'} fewer than {k} "
                f"samples, the first is {short[0]} with {counts[short[0]].n}"
            )
    return lines


def score_lines(meta: dict[str, Any], n_all: int) -> list[str]:
    """The lines that are printed for a result with these meta data, of a benchmark with `n_all` problems."""
    sizes = [row["n"] for row in meta["problems"].values()]
    each = (
        "" if not sizes else f", {min(sizes)} each" if min(sizes) == max(sizes) else f", {min(sizes)}-{max(sizes)} each"
    )
    lines = [
        f"{meta['protocol']} ({meta['protocol_sha256'][:12]}): {meta['n_problems']} of {n_all} problems, "
        f"{meta['n_samples']} samples{each}"
    ]
    for title, name in (("", "scores"), (" base tests only", "scores_base")):
        for record in meta.get(name, []):
            lines.append(
                f"  pass@{record['k']:<4} {100 * record['value']:5.1f} % "
                f"[{100 * record['low']:.1f}, {100 * record['high']:.1f}]{title}"
            )
    if meta["n_problems"] < n_all:
        lines.append(
            f"  {n_all - meta['n_problems']} problems have no sample: this is not a score on the whole benchmark"
        )
    lines.append(f"  outcomes: {told(meta['outcomes'])}; isolation: {', '.join(meta['isolation']) or 'none'}")
    return lines
