"""Annotators to look at because of how they worked: too fast to have read, or with the same mistakes as another.

- too fast: most answers (at least 5 given) took less than `SECONDS_A_LINE` a judged line, or less than the plausible
  minimum.
- copying: two annotators answered at least 5 common completions, every line alike, and made the same mistakes: lines
  that both marked and that are right by the honeypots' key or by most of the others. If `m` of the `N` right lines
  fell to each of two independent people at random, they would be the same with probability

      1 / C(N, m),

  and a pair is listed when that, times the number of pairs with as much in common, is below 0.001. Independent people
  share right answers, seldom all their mistakes. This finds small cliques early; `suspects.find_suspects` finds
  copying among many answers.

Departs from the paper (arXiv:2503.15129): the paper detects nobody.
"""

from __future__ import annotations

from math import comb
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

SECONDS_A_LINE = 0.4
"""Nobody reads a line of code faster; silent reading of prose takes about 0.25 s a word."""

_MIN_ANSWERS, _MAX_CHANCE = 5, 0.001
COLUMNS = ("annotator_id", "kind", "evidence")


def find_by_behaviour(annotations: pd.DataFrame, items: pd.DataFrame, min_duration_s: float) -> pd.DataFrame:
    """List the suspects.

    Args:
        annotations: schema ANNOTATIONS; every row counts.
        items: schema ITEMS; the honeypots' key.
        min_duration_s: a faster answer is implausible, however short the program.

    Returns:
        Columns annotator_id, kind (too fast | copying) and evidence, by annotator_id and kind.
    """
    import pandas as pd

    rows = [*_too_fast(annotations, min_duration_s), *_same_mistakes(annotations, items)]
    return pd.DataFrame(rows, columns=list(COLUMNS)).sort_values(["annotator_id", "kind"], ignore_index=True)


def _too_fast(annotations: pd.DataFrame, min_duration_s: float) -> list[tuple[str, str, str]]:
    answers = annotations.groupby(["annotator_id", "completion_id"], sort=True)
    table = answers.agg(n_lines=("line_no", "size"), seconds=("duration_s", "first")).reset_index()
    table["fast"] = table["seconds"] < np.maximum(min_duration_s, SECONDS_A_LINE * table["n_lines"])
    found = []
    for name, mine in table.groupby("annotator_id", sort=True):
        n, fast = len(mine), int(mine["fast"].sum())
        if n >= _MIN_ANSWERS and fast > n / 2:
            pace = float(mine["seconds"].sum() / mine["n_lines"].sum())
            found.append((str(name), "too fast", f"{fast} of {n} answers too fast to have read; {pace:.2f} s a line"))
    return found


def _same_mistakes(annotations: pd.DataFrame, items: pd.DataFrame) -> list[tuple[str, str, str]]:
    from scipy.sparse import csr_array, triu

    if annotations.empty:
        return []
    line, _ = _codes(annotations, ["completion_id", "line_no"])
    who, names = _codes(annotations, ["annotator_id"])
    what, _ = _codes(annotations, ["completion_id"])
    is_marked = (annotations["verdict"] == "wrong").to_numpy(bool)
    shape = (len(names), int(line.max()) + 1)
    seen = csr_array((np.ones(len(line)), (who, line)), shape=shape)
    marks = csr_array((np.ones(int(is_marked.sum())), (who[is_marked], line[is_marked])), shape=shape)
    oks = seen - marks
    answered = csr_array((np.ones(len(line)), (who, what)), shape=(len(names), int(what.max()) + 1)).sign()
    common = (answered @ answered.T).tocsr()
    n_lines, n_alike = triu(seen @ seen.T, k=1).tocoo(), (marks @ marks.T + oks @ oks.T).tocsr()
    known_ok = _known_right(annotations, items, line, shape[1])
    pairs = [
        (int(a), int(b), int(n))
        for a, b, n in zip(*n_lines.coords, n_lines.data, strict=True)
        if common[a, b] >= _MIN_ANSWERS
    ]
    best: dict[int, tuple[float, int, int, int]] = {}
    for a, b, n in pairs:
        if n_alike[a, b] < n:
            continue
        both = marks[[a]].multiply(marks[[b]]).indices
        others_mark = marks[:, both].sum(axis=0) - 2
        others_ok = oks[:, both].sum(axis=0)
        shared = int(np.sum((others_ok > others_mark) | (known_ok[both] & (others_ok == others_mark))))
        chance = len(pairs) / comb(n - len(both) + shared, shared)
        for one, other in ((a, b), (b, a)):
            if chance < min(_MAX_CHANCE, best.get(one, (1.0, 0, 0, 0))[0]):
                best[one] = (chance, other, shared, int(common[a, b]))
    return [
        (names[one], "copying", f"all {n} programs judged like {names[other]} did, {shared} mistakes included")
        for one, (_, other, shared, n) in sorted(best.items())
    ]


def _codes(frame: pd.DataFrame, columns: list[str]) -> tuple[np.ndarray, list[str]]:
    grouped = frame.groupby(columns, sort=True)
    return grouped.ngroup().to_numpy(), [str(name[0] if isinstance(name, tuple) else name) for name in grouped.groups]


def _known_right(annotations: pd.DataFrame, items: pd.DataFrame, line: np.ndarray, n_lines: int) -> np.ndarray:
    """(N,) True: the honeypots' key says that the line is right."""
    honeypots = items[items["is_honeypot"].astype(bool)]
    wrong = dict(zip(honeypots["completion_id"], honeypots["wrong_line_nos"], strict=True))
    is_right = np.zeros(n_lines, bool)
    is_right[line] = [
        wrong.get(completion) is not None and number not in wrong[completion]
        for completion, number in zip(annotations["completion_id"], annotations["line_no"], strict=True)
    ]
    return is_right
