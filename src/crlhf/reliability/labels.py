"""Verdicts as one sparse matrix: the core that Dawid-Skene, the generic door and the diagnostics compute on.

Column `2 i + 1` of the matrix holds the verdicts `wrong` of annotator `i`, column `2 i` the verdicts `ok`; in the
generic door label 1 stands for `wrong` and label 0 for `ok`. One product with a vector is one E-step, one product of
the transpose is one M-step: 12 bytes and a few nanoseconds a verdict.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from crlhf.reliability.verdicts import UNKNOWN, WRONG, Bools, Floats, Ints, Truths, Verdicts

if TYPE_CHECKING:
    import pandas as pd

Matrix = Any  # scipy.sparse.csr_array, which has no type stubs


class Labels(NamedTuple):
    """Verdicts of A annotators on N lines.

    Attributes:
        matrix: (N, 2A) sparse, how often annotator `i` gave label `l` on a line, in column `2 i + l`.
        truth: (N,) `WRONG`, `OK` or `UNKNOWN`.
        weight: (N,) how much a line counts in an M-step: below 1 for lines judged together with others.
        completion: (N,) which completion a line belongs to.
    """

    matrix: Matrix
    truth: Truths
    weight: Floats
    completion: Ints

    @property
    def n_annotators(self) -> int:
        """A."""
        return int(self.matrix.shape[1]) // 2

    @property
    def is_known(self) -> Bools:
        """(N,) True: the truth of the line is known."""
        known: Bools = self.truth != UNKNOWN
        return known

    @property
    def is_wrong(self) -> Floats:
        """(N,) 1 for lines known to be wrong, 0 elsewhere."""
        is_wrong: Floats = np.asarray(self.truth == WRONG, np.float64)
        return is_wrong

    def with_truth(self, truth: Truths) -> Labels:
        """The same verdicts with another answer key, for held-out honeypots."""
        return self._replace(truth=truth)

    @property
    def n_judges(self) -> npt.NDArray[np.int64]:
        """(N,) how many annotators judged each line."""
        who = self.matrix.indices // 2  # ascending within a line
        is_again = np.r_[False, who[1:] == who[:-1]]  # the second label of one annotator, unless a line begins there
        ends = self.matrix.indptr
        is_again[ends[:-1][np.diff(ends) > 0]] = False
        again = np.concatenate([np.zeros(1, np.int64), np.cumsum(is_again, dtype=np.int64)])
        n_judges: npt.NDArray[np.int64] = np.diff(ends) - (again[ends[1:]] - again[ends[:-1]])
        return n_judges

    @property
    def judges(self) -> npt.NDArray[np.int64]:
        """(N,) codes that are equal where exactly the same annotators gave the same numbers of verdicts.

        A code is the sum, modulo 2**64, of a hash of each annotator (splitmix64), so two sets of annotators share one
        by an accident of one in 10**19.
        """
        if not len(self.truth):
            return np.empty(0, np.int64)
        hashed = (self.matrix.indices // 2).astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            hashed ^= hashed >> np.uint64(shift)
            hashed *= np.uint64(factor)
        hashed *= self.matrix.data.astype(np.uint64)
        total: npt.NDArray[np.int64] = np.add.reduceat(np.append(hashed, np.uint64(0)), self.matrix.indptr[:-1]).view(
            np.int64
        )
        return np.where(np.diff(self.matrix.indptr) > 0, total, 0)

    def counts(self, of_lines: Floats) -> Floats:
        """Sum a number that each line has over the verdicts of each annotator and label, (N,) to (A, 2)."""
        total = np.asarray(self.matrix.T @ of_lines, np.float64)
        return total.reshape(-1, 2)


class Answers(NamedTuple):
    """One row for each answer of one annotator to one honeypot, K of them, by annotator and then by honeypot.

    Attributes:
        annotator: (K,) index of the annotator.
        completion: (K,) index of the honeypot.
        n_wrong: (K,) wrong lines judged; `n_caught` of them were marked.
        n_ok: (K,) correct lines judged; `n_passed` of them were not marked.
    """

    annotator: Ints
    completion: Ints
    n_wrong: Floats
    n_caught: Floats
    n_ok: Floats
    n_passed: Floats

    def only(self, chosen: Bools) -> Answers:
        """The answers that are `chosen`, (K,) to (k,)."""
        return Answers(
            self.annotator[chosen],
            self.completion[chosen],
            self.n_wrong[chosen],
            self.n_caught[chosen],
            self.n_ok[chosen],
            self.n_passed[chosen],
        )


class CodedTable(NamedTuple):
    """A table of labels, coded: the labels, and the tasks and workers that rows and column pairs stand for."""

    labels: Labels
    tasks: pd.Index
    workers: pd.Index


def sparse_labels(
    line: npt.NDArray[Any],
    annotator: npt.NDArray[Any],
    is_wrong: npt.NDArray[Any],
    n_annotators: int,
    truth: Truths,
    *,
    weight: Floats | None = None,
    completion: Ints | None = None,
) -> Labels:
    """Build the matrix from (V,) codes; sorted columns, so that the order of rows changes no bit.

    Made in single precision first, in which counts are exact up to 16 million, to keep the peak of memory low.
    """
    from scipy.sparse import csr_array

    column = annotator.astype(np.int32)
    column *= np.int32(2)
    column += np.asarray(is_wrong).astype(np.int8)
    ones = np.ones(len(column), np.float32)
    matrix = csr_array((ones, (line.astype(np.int32, copy=False), column)), shape=(len(truth), 2 * n_annotators))
    del ones, column
    matrix.sum_duplicates()
    matrix.data = matrix.data.astype(np.float64)
    return Labels(
        matrix,
        truth,
        np.ones(len(truth)) if weight is None else weight,
        np.arange(len(truth), dtype=np.int32) if completion is None else completion,
    )


def labels_of(verdicts: Verdicts, line_correlation: float) -> Labels:
    """The labels of coded verdicts; a line of a completion of `m` judged lines weighs `1 / (1 + (m - 1) * rho)`."""
    n_lines = np.bincount(verdicts.completion, minlength=len(verdicts.completion_ids))
    effect = 1 + (n_lines - 1) * line_correlation
    return sparse_labels(
        verdicts.line,
        verdicts.annotator,
        verdicts.is_wrong,
        verdicts.n_annotators,
        verdicts.truth,
        weight=(1 / effect)[verdicts.completion],
        completion=verdicts.completion,
    )


def honeypot_answers(labels: Labels) -> Answers:
    """Count each annotator's hits on each honeypot; empty arrays when there is none."""
    lines = np.flatnonzero(labels.is_known)
    sub = labels.matrix[lines]
    line = np.repeat(lines, np.diff(sub.indptr))
    annotator, is_marked = sub.indices.astype(np.int64) // 2, sub.indices % 2 == 1
    n_completions = int(labels.completion.max(initial=0)) + 1
    pairs, group = np.unique(annotator * n_completions + labels.completion[line], return_inverse=True)
    is_wrong = labels.truth[line] == WRONG

    def count(chosen: Bools) -> Floats:
        return np.bincount(group[chosen], weights=sub.data[chosen], minlength=len(pairs)).astype(np.float64)

    return Answers(
        annotator=(pairs // n_completions).astype(np.int32),
        completion=(pairs % n_completions).astype(np.int32),
        n_wrong=count(is_wrong),
        n_caught=count(is_wrong & is_marked),
        n_ok=count(~is_wrong),
        n_passed=count(~is_wrong & ~is_marked),
    )


def code_table(labels: pd.DataFrame, gold: pd.Series | None) -> CodedTable:
    """Code a table with columns task, worker, label in {0, 1}; `gold` maps tasks to their true labels.

    Gold of tasks that nobody labelled is ignored.
    """
    import pandas as pd

    task, tasks = _small_codes(labels["task"])
    worker, workers = _small_codes(labels["worker"])
    truth = np.full(len(tasks), UNKNOWN, np.int8)
    if gold is not None and len(gold):
        place = pd.Index(tasks).get_indexer(gold.index)
        truth[place[place >= 0]] = gold.to_numpy()[place >= 0].astype(np.int8)
    coded = sparse_labels(task, worker, labels["label"].to_numpy(), len(workers), truth)
    return CodedTable(coded, pd.Index(tasks), pd.Index(workers))


def _small_codes(ids: pd.Series) -> tuple[Ints, Any]:
    """Codes of ids in ascending order, at half the width that pandas gives, and the ids."""
    import pandas as pd

    if isinstance(ids.dtype, pd.CategoricalDtype):  # as large files are read: only the categories are sorted
        codes = ids.cat.codes.to_numpy()
        is_used = np.zeros(len(ids.cat.categories), bool)
        is_used[codes] = True
        rank = np.full(len(is_used), -1, np.int32)
        rank[is_used], found = pd.factorize(ids.cat.categories[is_used], sort=True)
        return rank[codes], found
    codes, found = pd.factorize(ids, sort=True)
    return codes.astype(np.int32), found
