"""The table of arXiv:2503.15129: pass@k of each model before and after tuning, with the intervals that it lacks.

A run's report and `crlhf paper-table` make it from the same `Pair` records.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from crlhf.evaluation.intervals import Interval

MEAN = "mean over models"


class Pair(NamedTuple):
    """One model before and after tuning, on one benchmark at one k.

    Attributes:
        model: the name of the base.
        problems: which problems, in words: `all 164`.
        n_samples: the fewest samples of a problem, on either side.
        temperature: at which both were sampled; None when it is not known.
        note: what else the difference's cell says: McNemar's p, problems gained and lost.
        detectable: a difference below it is found in less than four of five such runs; None for a mean over models.
    """

    model: str
    benchmark: str
    protocol: str
    k: int
    problems: str
    n_samples: int
    temperature: float | None
    base: Interval
    tuned: Interval
    difference: Interval
    note: str
    detectable: float | None

    @property
    def direction(self) -> str:
        """gain | loss, or an empty text where the interval of the difference covers zero."""
        if self.difference.low <= 0 <= self.difference.high:
            return ""
        return "gain" if self.difference.value > 0 else "loss"


class Grid(NamedTuple):
    """The table of one benchmark under one protocol: a row a model, three columns a k; a cell may be missing."""

    benchmark: str
    protocol: str
    ks: tuple[int, ...]
    rows: tuple[tuple[str, tuple[Pair | None, ...]], ...]


def grids(pairs: Sequence[Pair]) -> list[Grid]:
    """`pairs` as tables, by benchmark and protocol; models in the order in which they come, the mean last."""
    found = []
    for benchmark, protocol in dict.fromkeys((pair.benchmark, pair.protocol) for pair in pairs):
        here = [pair for pair in pairs if (pair.benchmark, pair.protocol) == (benchmark, protocol)]
        ks = tuple(sorted({pair.k for pair in here}))
        cells = {(pair.model, pair.k): pair for pair in here}
        models = sorted(dict.fromkeys(pair.model for pair in here), key=lambda model: model == MEAN)
        rows = tuple((model, tuple(cells.get((model, k)) for k in ks)) for model in models)
        found.append(Grid(benchmark, protocol, ks, rows))
    return found


def settings_note(pairs: Sequence[Pair]) -> list[str]:
    """One sentence for each way in which cells were made: problems, samples and temperature of each k."""
    told: dict[tuple[str, str, int, float | None], set[int]] = {}
    for pair in pairs:
        if pair.model != MEAN:
            told.setdefault((pair.benchmark, pair.problems, pair.n_samples, pair.temperature), set()).add(pair.k)
    return [
        f"{benchmark}, {problems}: pass@{', '.join(map(str, sorted(ks)))} from {n} sample{'' if n == 1 else 's'} a "
        f"problem, {'temperature not known' if t is None else 'greedy' if t == 0 else f'temperature {t:g}'}."
        for (benchmark, problems, n, t), ks in told.items()
    ]


def power_note(pairs: Sequence[Pair]) -> list[str]:
    """One sentence for each benchmark and k on what could not be seen, the least and the most of its models."""
    found: dict[tuple[str, str, int], list[float]] = {}
    for pair in pairs:
        if pair.detectable is not None:
            found.setdefault((pair.benchmark, pair.problems, pair.k), []).append(100 * pair.detectable)
    lines = []
    for (benchmark, problems, k), points in found.items():
        least, most = f"{min(points):.1f}", f"{max(points):.1f}"
        said = most if least == most else f"{least} (by model up to {most})"
        lines.append(
            f"With {problems} of {benchmark}, at pass@{k}, a difference below about {said} points is found in less "
            "than four of five such runs."
        )
    return lines


def own_pairs(model: str, scores: Sequence[dict[str, Any]], comparisons: Sequence[dict[str, Any]]) -> list[Pair]:
    """The pairs of a run of the pipeline, from the records of metrics/scores.json and comparisons.json.

    The policy of each round is compared with the base; of several rounds each is named.
    """
    n_rounds = len({one["policy"] for one in comparisons})
    found = {(record["benchmark"], record["k"], record["policy"]): record for record in scores}
    pairs = []
    for one in comparisons:
        base, tuned = (found[one["benchmark"], one["k"], policy] for policy in ("base", one["policy"]))
        ends = [Interval(side["value"], side["low"], side["high"]) for side in (base, tuned)]
        pairs.append(
            Pair(
                f"{model}, {one['policy']}" if n_rounds > 1 else model,
                one["benchmark"],
                base["protocol"],
                one["k"],
                one["subset"],
                min(base["n_samples"], tuned["n_samples"]),
                one.get("temperature"),
                ends[0],
                ends[1],
                Interval(one["difference"], one["low"], one["high"]),
                difference_note(one["n_gained"], one["n_lost"], one["mcnemar_p"]),
                one["minimum_detectable_difference"],
            )
        )
    return pairs


def difference_note(n_gained: int, n_lost: int, mcnemar_p: float | None) -> str:
    """Problems better and worse, and McNemar's p where the test applies."""
    test = "" if mcnemar_p is None else f", McNemar p {mcnemar_p:.2g}"
    return f"+{n_gained} -{n_lost} problems{test}"
