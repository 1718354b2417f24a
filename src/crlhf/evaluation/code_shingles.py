"""Shingles of a program's shape: the runs of 3, 4 and 5 neighbouring tokens, with their counts.

As in Broder (1997, doi:10.1109/SEQUEN.1997.666900), over tokens in which a program's own names are alike.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

_LENGTHS = (3, 4, 5)


def code_shingles(tokens: Sequence[str]) -> dict[str, float]:
    """The shingles of a program's tokens, each with the square root of its count; empty where there is no token."""
    if not tokens:
        return {}
    marked = ["^", *tokens, "$"]
    runs = Counter(" ".join(marked[at : at + n]) for n in _LENGTHS for at in range(len(marked) - n + 1))
    return {run: math.sqrt(count) for run, count in runs.items()}
