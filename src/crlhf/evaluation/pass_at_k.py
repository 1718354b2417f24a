"""The unbiased estimator of pass@k, per problem and over problems.

Legend: `n` samples of one problem, `c` of them correct, `k` samples that a user would look at.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np


class PassCount(NamedTuple):
    """What the samples of one problem showed: `n` of them, `c` correct. This is what result files keep."""

    n: int
    c: int


def pass_at_k(n: int, c: int, k: int) -> float:
    """P(at least one of k samples is correct), estimated without bias from n samples of which c are correct.

        pass@k = 1 - C(n - c, k) / C(n, k) = 1 - prod_{i = n-c+1}^{n} (1 - k / i),   1 when n - c < k

    (Chen et al., arXiv:2107.03374, equation 1, in the product form of their listing, which does not overflow).

    Raises:
        ValueError: k > n (the published listing answers 1.0 or a value that is no estimate), k < 1, or c not in 0..n.

    Departs from the paper: k > n is refused.
    """
    if not 0 <= c <= n:
        raise ValueError(f"{c} correct samples of {n}: the count of correct samples must lie in 0..{n}")
    if k < 1:
        raise ValueError(f"pass@{k} is not defined: k must be at least 1")
    if k > n:
        raise ValueError(f"pass@{k} cannot be estimated from {n} samples: every problem needs at least k samples")
    if n - c < k:
        return 1.0
    return float(1.0 - np.prod(1.0 - k / np.arange(n - c + 1, n + 1)))


def pass_at_k_per_problem(counts: Iterable[tuple[int, int]], k: int) -> list[float]:
    """`pass_at_k` of each `(n, c)`, in order; raises ValueError when any problem has fewer than k samples."""
    return [pass_at_k(n, c, k) for n, c in counts]


def count_passes(problem_ids: Sequence[str], passed: Sequence[bool]) -> dict[str, PassCount]:
    """n and c of each problem, in the order in which problems first appear.

    Args:
        problem_ids: the problem of each sample.
        passed: True where that sample passed, same length.
    """
    counts: dict[str, PassCount] = {}
    for problem_id, is_correct in zip(problem_ids, passed, strict=True):
        n, c = counts.get(problem_id, PassCount(0, 0))
        counts[problem_id] = PassCount(n + 1, c + bool(is_correct))
    return counts
