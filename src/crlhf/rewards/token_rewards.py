"""Where a completion's score is placed among its tokens: all at the last token, or line by line.

Line by line, the share of line `l` in the aligned score, `q_l / L`, is placed at the last token that holds a
character of the line, so that the sum over tokens is still `s`; the truncation penalty stays at the last token.

Departs from the paper (arXiv:2503.15129): the paper adds the whole score at the last token, which is the default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]


def score_at_last_token(n_tokens: int, reward: float) -> Floats:
    """The whole reward at the last token, (T,); no tokens give an empty array."""
    placed = np.zeros(n_tokens)
    if n_tokens:
        placed[-1] = reward
    return placed


def score_at_line_ends(
    code: str, token_ends: Sequence[int], posteriors: Mapping[int, float], penalty: float = 0.0
) -> Floats:
    """Each line's share of the aligned score at the line's last token.

    Args:
        code: the completion's program.
        token_ends: (T,) where each sampled token ends in the decoded text, in characters, ascending. The text begins
            with `code`; tokens after it (a stop string, the end of text) receive nothing but the penalty.
        posteriors: `q_l` by 1-based line_no of the judgeable lines.
        penalty: taken off at the last token.

    Returns:
        (T,) rewards; their sum is the mean posterior less the penalty. No tokens give an empty array.
    """
    ends = np.asarray(token_ends, np.int64)
    placed = score_at_last_token(len(ends), -penalty)
    if not len(ends):
        return placed
    line_ends = np.cumsum([len(line) + 1 for line in code.split("\n")]) - 1  # characters up to the end of each line
    for line_no, posterior in posteriors.items():
        token = int(np.searchsorted(ends, line_ends[line_no - 1]))
        placed[min(token, len(ends) - 1)] += posterior / len(posteriors)
    return placed
