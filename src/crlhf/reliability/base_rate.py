"""The share of wrong lines among those of unknown truth, from the crowd's mark rate.

Marks fall on wrong lines with the crowd's sensitivity `S` and on correct ones with `1 - C`, so the share `m` of
verdicts that are marks gives the share of wrong lines (Rogan & Gladen 1978, doi:10.1093/oxfordjournals.aje.a112510):

    pi = (m - (1 - C)) / (S + C - 1),

`S` and `C` pooled over the verdicts on honeypots, `m` over all others. The share of wrong lines among honeypots has no
part in it, because it is a design.

Departs from the paper (arXiv:2503.15129), whose prior is fixed at 0.5.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from crlhf.reliability.labels import Labels

_BOUNDS = (0.005, 0.995)
_LEAST = 0.1  # of S + C - 1: below it marks say next to nothing


def base_rate(labels: Labels) -> float:
    """P(line wrong) before any verdict, of the lines that are not honeypots.

    Returns:
        The rate, between 0.005 and 0.995. 0.5 where it cannot be told: no honeypot lines of both kinds, no other line,
        or a crowd that is hardly better than chance.
    """
    ok, wrong = (labels.matrix @ np.tile(column, labels.n_annotators) for column in ([1.0, 0.0], [0.0, 1.0]))
    known, is_wrong = labels.is_known, labels.is_wrong == 1

    def share(lines: npt.NDArray[np.bool_]) -> float:
        total = ok[lines].sum() + wrong[lines].sum()
        return float(wrong[lines].sum() / total) if total else np.nan

    caught, accused, marked = share(known & is_wrong), share(known & ~is_wrong), share(~known)
    if not caught - accused >= _LEAST or np.isnan(marked):
        return 0.5
    return float(np.clip((marked - accused) / (caught - accused), *_BOUNDS))
