"""Crowds for benchmarks of the statistics, as plain tables of numbers: the estimators' own model and its violations.

`generate` draws completions with runs of wrong lines, assigns them, and lets one of these crowds judge every line:

- `one_coin`: P(verdict right) = p. 60 % of annotators p ~ Beta(16, 3), 20 % Beta(6, 4), 15 % p = 0.5, 5 % p = 0.2.
- `two_coin`: the first 80 % have sensitivity ~ Beta(8, 4) and specificity ~ Beta(30, 2); 15 % p = 0.5, 5 % p = 0.2.
- `lazy`: the two-coin crowd, `lazy_share` of it replaced by annotators who mark any line with probability 0.005.
- `adversarial`: completions of a single line, 85 % right; a third of the annotators p = 0.85, the others p = 0.3.
- `difficulty`: the two-coin crowd, and every wrong line lowers everyone's sensitivity by its own amount.
- `correlated_misses`: the two-coin crowd, whose verdicts within a run of wrong lines hang together.
- `clique`: the two-coin crowd, `clique_size` of whom copy one of them.
- `easy_honeypots`: the two-coin crowd, for whom wrong lines of honeypots are easier than others.
- `fatigue`: the two-coin crowd, whose verdicts drift to coin flips with the number of answers.

The last five break the model that estimators assume; `annotators` then holds the values before the violation, except
for a clique, whose members have the values of the one they copy.

Notation: `A` annotators, `C` completions, `N` lines, `K` labels. Everything is vectorised; ten million labels fit in
about a gigabyte.

Departs from the paper: it reports no simulated crowds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crlhf.crowd.assignment import Floats, assign, planned_loads

Index = NDArray[np.int32]
Bools = NDArray[np.bool_]
Shares = NDArray[np.float32]
KINDS: tuple[str, ...] = (
    "one_coin",
    "two_coin",
    "lazy",
    "adversarial",
    "difficulty",
    "correlated_misses",
    "clique",
    "easy_honeypots",
    "fatigue",
)
_EXTRA_RUNS = 0.8  # mean of further runs in a completion with errors: makes 15 to 16 % of all lines wrong


class GeneratedCrowd(NamedTuple):
    """A crowd's labels with their truth.

    `labels`: one verdict each, sorted by completion, annotator and line: `annotator, completion, line` (int32, from 0;
    `line` counts all lines of all completions and is the row of `lines`) and `is_marked` (True: judged wrong).
    `lines`: one line each: `completion, line_no` (1-based), `is_wrong, is_honeypot`.
    `annotators`: one annotator each: `sensitivity, specificity, kind`.
    """

    labels: pd.DataFrame
    lines: pd.DataFrame
    annotators: pd.DataFrame


@dataclass(frozen=True)
class Options:
    """What can be varied; the defaults are the published settings of this benchmark."""

    k: int = 5
    honeypot_share: float | None = None  # None: 0.1, and 0.02 of the adversarial crowd
    lazy_share: float = 0.3
    difficulty_sd: float = 1.5  # of the half-normal amount, in logits, that a line takes off sensitivity
    run_correlation: float = 0.7  # share of verdicts within a run that repeat the annotator's first draw
    clique_size: int = 5
    clique_activity: float = 4.0  # of each member, where 1 is the mean: copies must meet on a completion to matter
    easy_by: float = 1.5  # logits added to sensitivity on honeypots
    fatigue: float = 0.4  # share of the distance to a coin flip that is lost by the last answer


class _Lines(NamedTuple):
    """Lines of all completions: (N,) arrays; `run` numbers runs of wrong lines, -1 elsewhere."""

    completion: Index
    is_wrong: Bools
    is_honeypot: Bools
    run: Index


def generate(kind: str, n_labels: int, n_annotators: int, seed: int, **options: float) -> GeneratedCrowd:
    """Draw the crowd called `kind` and its labels.

    Args:
        kind: one of `KINDS`.
        n_labels: labels wanted; whole completions are drawn until there are at least so many.
        n_annotators: A, at least `k`.
        seed: of every draw.
        **options: fields of `Options`.

    Raises:
        ValueError: there is no such kind.
        TypeError: there is no such option.
    """
    if kind not in KINDS:
        raise ValueError(f"no crowd is called {kind!r}; there are {', '.join(KINDS)}")
    chosen = Options(**options)  # type: ignore[arg-type]
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    lines = _draw_lines(kind, -(-n_labels // chosen.k), chosen, rng)
    annotators = _draw_annotators(kind, n_annotators, chosen, rng)
    activities = np.ones(n_annotators) if kind == "adversarial" else rng.gamma(1.0, 1.0, n_annotators) + 0.05
    if kind == "clique":
        activities[: chosen.clique_size] = chosen.clique_activity * activities.mean()
    pair, annotator, line = _assign(lines, activities, chosen.k, rng)
    is_marked = _judge(kind, lines, annotators, pair, annotator, line, chosen, rng)
    if kind == "clique":
        _copy_first(lines, annotators, annotator, line, is_marked, chosen.clique_size, rng)
    labels = {"annotator": annotator, "completion": lines.completion[line], "line": line, "is_marked": is_marked}
    first = np.searchsorted(lines.completion, lines.completion, side="left")
    truth = {
        "completion": lines.completion,
        "line_no": (np.arange(len(first)) - first + 1).astype(np.int32),
        "is_wrong": lines.is_wrong,
        "is_honeypot": lines.is_honeypot,
    }
    return GeneratedCrowd(pd.DataFrame(labels, copy=False), pd.DataFrame(truth), annotators)


def _draw_lines(kind: str, n_lines: int, options: Options, rng: np.random.Generator) -> _Lines:
    """Whole completions of at least `n_lines` lines in all, with their wrong lines and honeypots."""
    share = options.honeypot_share
    if kind == "adversarial":
        share = 0.02 if share is None else share
        is_wrong = rng.random(n_lines) < 0.15
        each = np.arange(n_lines, dtype=np.int32)
        return _Lines(each, is_wrong, _first_shuffled(n_lines, share, rng), np.where(is_wrong, each, -1))
    share = 0.1 if share is None else share
    lengths = rng.poisson(12, n_lines // 3 + 1).clip(3, 40)
    lengths = lengths[: int(np.searchsorted(np.cumsum(lengths), n_lines)) + 1]
    completion = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    is_wrong = _runs_of_wrong_lines(lengths, rng)
    begins = is_wrong.copy()
    begins[1:] &= ~is_wrong[:-1] | (completion[1:] != completion[:-1])
    run = np.where(is_wrong, np.cumsum(begins) - 1, -1).astype(np.int32)
    return _Lines(completion, is_wrong, _first_shuffled(len(lengths), share, rng)[completion], run)


def _runs_of_wrong_lines(lengths: NDArray[np.int64], rng: np.random.Generator) -> Bools:
    """Half of the completions carry runs of wrong lines of geometric length, cut at the completion's end."""
    ends = np.cumsum(lengths)
    n_runs = np.where(rng.random(len(lengths)) < 0.5, 1 + rng.poisson(_EXTRA_RUNS, len(lengths)), 0)
    owner = np.repeat(np.arange(len(lengths)), n_runs)
    start = (ends - lengths)[owner] + (rng.random(len(owner)) * lengths[owner]).astype(np.int64)
    stop = np.minimum(start + rng.geometric(0.35, len(owner)), ends[owner])
    steps = np.bincount(start, minlength=ends[-1] + 1) - np.bincount(stop, minlength=ends[-1] + 1)
    return np.asarray(np.cumsum(steps[:-1]) > 0)


def _first_shuffled(n: int, share: float, rng: np.random.Generator) -> Bools:
    """`n` flags of which `round(n * share)` are set, at random places."""
    flags = np.arange(n) < round(n * share)
    return flags[rng.permutation(n)]


def _draw_annotators(kind: str, n: int, options: Options, rng: np.random.Generator) -> pd.DataFrame:
    """Sensitivity and specificity of each annotator."""
    number = np.arange(n) / n
    if kind == "adversarial":
        p = np.where(number < 1 / 3, 0.85, 0.3)
        return _annotators(p, p, np.where(number < 1 / 3, "good", "adversarial"))
    p = np.where(number < 0.6, rng.beta(16, 3, n), rng.beta(6, 4, n))
    p = np.select([number >= 0.95, number >= 0.8], [0.2, 0.5], p)
    names = np.select([number >= 0.95, number >= 0.8], ["adversarial", "random"], "usual")
    if kind == "one_coin":
        return _annotators(p, p, names)
    sensitivity = np.where(number < 0.8, rng.beta(8, 4, n), p)
    specificity = np.where(number < 0.8, rng.beta(30, 2, n), p)
    if kind == "lazy":
        is_lazy = _first_shuffled(n, options.lazy_share, rng)
        sensitivity, specificity = np.where(is_lazy, 0.005, sensitivity), np.where(is_lazy, 0.995, specificity)
        names = np.where(is_lazy, "lazy", names)
    if kind == "clique":
        is_copy = np.arange(n) < options.clique_size
        sensitivity = np.where(is_copy, sensitivity[0], sensitivity)
        specificity = np.where(is_copy, specificity[0], specificity)
        names = np.where(is_copy, "clique", names)
    return _annotators(sensitivity, specificity, names)


def _annotators(sensitivity: Floats, specificity: Floats, kinds: NDArray[np.str_]) -> pd.DataFrame:
    return pd.DataFrame({"sensitivity": sensitivity, "specificity": specificity, "kind": kinds.astype(object)})


def _assign(lines: _Lines, activities: Floats, k: int, rng: np.random.Generator) -> tuple[Index, Index, Index]:
    """(K,) answer number, annotator and line of each label; an answer is one annotator on one completion."""
    lengths = np.bincount(lines.completion)
    chosen = assign(planned_loads(activities, len(lengths), k), len(lengths), k, rng).astype(np.int32)
    answer_lengths = np.repeat(lengths, k)
    pair = np.repeat(np.arange(chosen.size, dtype=np.int32), answer_lengths)
    shift = np.repeat(np.cumsum(lengths) - lengths, k) - (np.cumsum(answer_lengths) - answer_lengths)
    line = (np.arange(len(pair)) + np.repeat(shift, answer_lengths)).astype(np.int32)
    return pair, chosen.ravel()[pair], line


def _judge(
    kind: str,
    lines: _Lines,
    annotators: pd.DataFrame,
    pair: Index,
    annotator: Index,
    line: Index,
    options: Options,
    rng: np.random.Generator,
) -> Bools:
    """(K,) whether each label marks its line."""
    is_wrong = lines.is_wrong[line]
    p_right = _p_right(kind, lines, annotators, pair, annotator, line, options, rng)
    draw = rng.random(len(line), dtype=np.float32)
    if kind == "correlated_misses":
        run = lines.run[line]
        same = (run[1:] == run[:-1]) & (pair[1:] == pair[:-1]) & (run[1:] >= 0)
        first = np.maximum.accumulate(
            np.where(np.concatenate([[False], same]), 0, np.arange(len(line), dtype=np.int32))
        )
        repeats = rng.random(len(line), dtype=np.float32) < options.run_correlation
        draw = np.where(repeats, draw[first], draw)
    return np.asarray((draw < p_right) == is_wrong)


def _p_right(
    kind: str,
    lines: _Lines,
    annotators: pd.DataFrame,
    pair: Index,
    annotator: Index,
    line: Index,
    options: Options,
    rng: np.random.Generator,
) -> Shares:
    """(K,) P(the label is right): sensitivity or specificity, with the crowd's violation of the model."""
    is_wrong = lines.is_wrong[line]
    sensitivity = annotators["sensitivity"].to_numpy(dtype=np.float32)
    specificity = annotators["specificity"].to_numpy(dtype=np.float32)
    p = np.where(is_wrong, sensitivity[annotator], specificity[annotator])
    if kind == "difficulty":
        amount = np.abs(rng.normal(0.0, options.difficulty_sd, len(lines.is_wrong))).astype(np.float32)
        return _moved(p, np.where(is_wrong, -amount[line], np.float32(0)))
    if kind == "easy_honeypots":
        return _moved(p, np.where(is_wrong & lines.is_honeypot[line], np.float32(options.easy_by), np.float32(0)))
    if kind == "fatigue":
        freshness = 1 - np.float32(options.fatigue) * _progress(pair, annotator)
        return np.asarray(0.5 + (p - 0.5) * freshness, dtype=np.float32)
    return np.asarray(p, dtype=np.float32)


def _moved(p: Shares, logits: Shares) -> Shares:
    """`p` moved by `logits` on the log-odds scale; 0 and 1 stay."""
    odds_factor = np.exp(logits)
    return np.asarray(p * odds_factor / (1 - p + p * odds_factor), dtype=np.float32)


def _progress(pair: Index, annotator: Index) -> Shares:
    """(K,) how far the annotator has come in their own answers, from 0 at the first to 1 at the last."""
    begins = np.concatenate([[True], pair[1:] != pair[:-1]])
    who = annotator[begins]  # (answers,)
    order = np.argsort(who, kind="stable")
    loads = np.bincount(who)
    rank = np.empty(len(who), dtype=np.float32)
    rank[order] = np.arange(len(who)) - np.repeat(np.cumsum(loads) - loads, loads)
    return np.asarray((rank / np.maximum(loads[who] - 1, 1))[pair], dtype=np.float32)


def _copy_first(
    lines: _Lines,
    annotators: pd.DataFrame,
    annotator: Index,
    line: Index,
    is_marked: Bools,
    clique_size: int,
    rng: np.random.Generator,
) -> None:
    """Replace the verdicts of annotators 0 to `clique_size - 1` by what annotator 0 thinks of the line, in place."""
    sensitivity, specificity = annotators["sensitivity"].iloc[0], annotators["specificity"].iloc[0]
    thought = rng.random(len(lines.is_wrong)) < np.where(lines.is_wrong, sensitivity, 1 - specificity)
    in_clique = annotator < clique_size
    is_marked[in_clique] = thought[line[in_clique]]
