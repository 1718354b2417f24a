"""A simulated crowd: annotators of known sensitivity and specificity judge the lines of completions and honeypots.

Each annotator `a` has a kind, from whose Beta distributions a sensitivity `s_a = P(marked | line wrong)` and a
specificity `t_a = P(not marked | line right)` are drawn once. Given the truth every verdict is an independent draw:

    P(a marks line l) = s_a  if l is wrong, else  1 - t_a

the two-coin model of Dawid and Skene (doi:10.2307/2346806). Crowds that break this model are made by `generators`.

Every completion goes to the same number of distinct annotators, activity varies, and the honeypots of an annotator are
mixed in at random. Times start at a fixed date and pace depends on the kind: simulated annotations are the same
whenever they are made. All columns are drawn at once: a million rows take seconds.

Departs from the paper: its figures show one reliability an annotator; here it is two, since with few wrong lines one
who marks nothing would look reliable.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crlhf.crowd.assignment import Floats, Ints, assign, planned_loads
from crlhf.params import CrowdParams
from crlhf.schema import ANNOTATIONS

EPOCH = np.datetime64("2025-03-17T08:00:00.000", "ms")
_PACES = {"lazy": (2.0, 0.5), "random": (2.0, 0.7)}
_USUAL_PACE = (9.0, 5.0)  # seconds to begin with, and seconds a line
_MIN_DURATION_S = 1.5
_ACTIVITY_SHAPE = 4.0  # Gamma(4, 1/4): mean 1, standard deviation 0.5


class SimulatedCrowd(NamedTuple):
    """Annotations under ANNOTATIONS, and the annotators with their true values.

    `annotators` has one row each: `annotator_id, kind, sensitivity, specificity`. It is for reports on the simulation;
    estimators never see it.
    """

    annotations: pd.DataFrame
    annotators: pd.DataFrame


class _Sessions(NamedTuple):
    """One row per annotator and item, in the order of submission; times are milliseconds after EPOCH."""

    annotator: Ints
    item: Ints
    started_ms: Ints
    duration_ms: Ints


def simulate_annotations(
    items: pd.DataFrame, line_truths: pd.DataFrame, params: CrowdParams, seed: int, *, work_seed: int | None = None
) -> SimulatedCrowd:
    """Let a simulated crowd annotate `items`.

    Each completion gets `verdicts_per_completion` annotators; each annotator judges `honeypots_per_annotator` honeypots
    (all of them where there are fewer). Rows are sorted by time of submission, then by line; `source_row` counts them.

    Args:
        items: under ITEMS, completions and honeypots.
        line_truths: under LINE_TRUTHS, for every judgeable line of every item.
        params: the kinds of annotators and the amounts.
        seed: of every draw; the same seed gives the same annotators.
        work_seed: of what these annotators do, by default `seed`; another in each round.

    Raises:
        ValueError: a judgeable line has no truth, or there are too few annotators.
    """
    annotator_rng = np.random.default_rng(np.random.SeedSequence(seed).spawn(1)[0])
    work_rng, time_rng, verdict_rng = (
        np.random.default_rng(child)
        for child in np.random.SeedSequence(seed if work_seed is None else work_seed).spawn(4)[1:]
    )
    annotators, activities = _draw_annotators(params, seed, annotator_rng)
    annotator, item = _draw_work(items, activities, params, work_rng)
    n_lines: Ints = np.array([len(line_nos) for line_nos in items["line_nos"]], dtype=np.int64)
    sessions = _draw_times(annotator, item, n_lines, annotators["kind"].to_numpy(), time_rng)
    annotations = _annotations(items, line_truths, annotators, sessions, n_lines, verdict_rng)
    return SimulatedCrowd(annotations, annotators.sort_values("annotator_id", ignore_index=True))


def _draw_annotators(params: CrowdParams, seed: int, rng: np.random.Generator) -> tuple[pd.DataFrame, Floats]:
    """The annotators in a random order, and their activities. Pseudonyms are hashes that tell no kind."""
    kinds = np.repeat(list(params.annotators), [kind.n for kind in params.annotators.values()])
    kinds = kinds[rng.permutation(len(kinds))]
    draws = [params.annotators[kind] for kind in kinds]
    names = [hashlib.sha256(f"annotator {seed} {number}".encode()).hexdigest()[:10] for number in range(len(kinds))]
    frame = pd.DataFrame(
        {
            "annotator_id": [f"a-{name}" for name in names],
            "kind": kinds.astype(object),
            "sensitivity": np.array([rng.beta(*kind.sensitivity) for kind in draws], dtype=float),
            "specificity": np.array([rng.beta(*kind.specificity) for kind in draws], dtype=float),
        }
    )
    return frame, rng.gamma(_ACTIVITY_SHAPE, 1 / _ACTIVITY_SHAPE, len(kinds)) + 0.05


def _draw_work(
    items: pd.DataFrame, activities: Floats, params: CrowdParams, rng: np.random.Generator
) -> tuple[Ints, Ints]:
    """Pairs of annotator and item row: first those of completions, then those of honeypots."""
    is_honeypot = items["is_honeypot"].to_numpy(dtype=bool)
    completions, honeypots = np.flatnonzero(~is_honeypot), np.flatnonzero(is_honeypot)
    k = params.verdicts_per_completion
    chosen = assign(planned_loads(activities, len(completions), k), len(completions), k, rng)
    n_each = min(params.honeypots_per_annotator, len(honeypots))
    even = planned_loads(np.ones(len(honeypots)), len(activities), n_each) if n_each else np.zeros(0, dtype=np.int64)
    shown = assign(even, len(activities), n_each, rng)
    annotator = np.concatenate([chosen.ravel(), np.repeat(np.arange(len(activities)), n_each)])
    item = np.concatenate([np.repeat(completions, k), honeypots[shown.ravel()]])
    return annotator, item


def _draw_times(
    annotator: Ints, item: Ints, n_lines: Ints, kinds: NDArray[np.object_], rng: np.random.Generator
) -> _Sessions:
    """When each annotator works on each item: one after another in a random order, with short breaks between."""
    order = np.lexsort((rng.random(len(annotator)), annotator))
    annotator, item = annotator[order], item[order]
    paces = np.array([_PACES.get(str(kind), _USUAL_PACE) for kind in kinds]).reshape(-1, 2)[annotator]
    own_tempo = rng.lognormal(0.0, 0.25, len(kinds))[annotator]
    typical_s = own_tempo * (paces[:, 0] + paces[:, 1] * n_lines[item])
    duration_ms = _milliseconds(np.maximum(_MIN_DURATION_S, typical_s * rng.lognormal(0.0, 0.4, len(item))))
    break_ms = _milliseconds(rng.exponential(8.0, len(item)) + 1.0)
    begin_ms = _milliseconds(rng.uniform(0.0, 8 * 3600.0, len(kinds)))
    ends = np.cumsum(duration_ms + break_ms)
    first = np.searchsorted(annotator, annotator, side="left")
    before_first = (ends - duration_ms - break_ms)[first]
    started_ms = begin_ms[annotator] + ends - duration_ms - before_first
    by_time = np.lexsort((annotator, started_ms + duration_ms))
    return _Sessions(annotator[by_time], item[by_time], started_ms[by_time], duration_ms[by_time])


def _milliseconds(seconds: Floats) -> Ints:
    return np.rint(seconds * 1000).astype(np.int64)


def _annotations(
    items: pd.DataFrame,
    line_truths: pd.DataFrame,
    annotators: pd.DataFrame,
    sessions: _Sessions,
    n_lines: Ints,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """One row per session and judgeable line, with its verdict."""
    line_nos, is_wrong = _flat_lines(items, line_truths)
    lengths = n_lines[sessions.item]
    row = np.repeat(np.arange(len(sessions.item)), lengths)
    begins = np.cumsum(n_lines) - n_lines
    within = np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    line = np.repeat(begins[sessions.item], lengths) + within
    sensitivity = annotators["sensitivity"].to_numpy()[sessions.annotator][row]
    specificity = annotators["specificity"].to_numpy()[sessions.annotator][row]
    is_marked = rng.random(len(row)) < np.where(is_wrong[line], sensitivity, 1 - specificity)
    started, submitted = sessions.started_ms, sessions.started_ms + sessions.duration_ms

    def per_item(name: str) -> NDArray[np.object_]:
        return items[name].to_numpy(dtype=object)[sessions.item][row]

    columns = {
        "batch_id": np.full(len(row), "simulated-1", dtype=object),
        "problem_id": per_item("problem_id"),
        "completion_id": per_item("completion_id"),
        "code_sha256": per_item("code_sha256"),
        "annotator_id": annotators["annotator_id"].to_numpy(dtype=object)[sessions.annotator][row],
        "line_no": line_nos[line],
        "verdict": np.where(is_marked, "wrong", "ok").astype(object),
        "error_type": np.full(len(row), "", dtype=object),
        "is_honeypot": items["is_honeypot"].to_numpy(dtype=bool)[sessions.item][row],
        "status": np.full(len(row), "submitted", dtype=object),
        "started_at": _time_texts(started)[row],
        "submitted_at": _time_texts(submitted)[row],
        "duration_s": (sessions.duration_ms / 1000)[row],
        "source": np.full(len(row), "simulated", dtype=object),
        "source_file": np.full(len(row), "simulated", dtype=object),
        "source_row": np.arange(1, len(row) + 1),
    }
    return pd.DataFrame(columns, columns=list(ANNOTATIONS.column_names))


def _flat_lines(items: pd.DataFrame, line_truths: pd.DataFrame) -> tuple[Ints, NDArray[np.bool_]]:
    """Line numbers and truth of all items' judgeable lines, one item after another."""
    keys = items[["completion_id", "line_nos"]].explode("line_nos").dropna().rename(columns={"line_nos": "line_no"})
    keys["line_no"] = keys["line_no"].astype("int64")
    known = keys.merge(line_truths[["completion_id", "line_no", "is_wrong"]], how="left", validate="one_to_one")
    if known["is_wrong"].isna().any():
        first = known[known["is_wrong"].isna()].iloc[0]
        raise ValueError(f"line {first['line_no']} of completion {first['completion_id']} has no truth")
    return known["line_no"].to_numpy(dtype=np.int64), known["is_wrong"].to_numpy(dtype=bool)


def _time_texts(milliseconds: Ints) -> NDArray[np.object_]:
    """Times after EPOCH as ISO 8601 in UTC, to the millisecond."""
    texts = np.datetime_as_string(EPOCH + milliseconds.astype("timedelta64[ms]"), unit="ms")
    return np.array([f"{text}Z" for text in texts], dtype=object)
