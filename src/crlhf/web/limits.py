"""Rate limits: token buckets in memory, by session for those who are signed in, by address for everybody else."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import NamedTuple


class Limit(NamedTuple):
    """`burst` requests at once, then `per_s` a second."""

    burst: float
    per_s: float


LIMITS: dict[str, Limit] = {
    "public": Limit(1000, 5.0),
    "join": Limit(600, 2.0),
    "sign-in": Limit(10, 1 / 6),
    "refused": Limit(60, 1.0),
    "annotator": Limit(120, 20.0),
    "operator": Limit(120, 10.0),
}
"""By what is asked for. Nobody reads and judges twenty programs a second. A lecture hall joins at once from one address:
200 people, two requests each for the link and up to four for style, icon and script, with room for reloads. Links need
no tighter limit: nobody guesses 256 bits."""

_MOST_BUCKETS = 20_000


class RateLimits:
    """Token buckets; `limits` as in `LIMITS`. The least used buckets are forgotten beyond 20,000."""

    def __init__(self, limits: dict[str, Limit] | None = None) -> None:
        self.limits = LIMITS | (limits or {})
        self._buckets: OrderedDict[tuple[str, str], tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, kind: str, who: str, now: float) -> float:
        """Take one token; 0 when there was one, else the seconds until there is."""
        limit = self.limits[kind]
        with self._lock:
            tokens, since = self._buckets.pop((kind, who), (limit.burst, now))
            tokens = min(limit.burst, tokens + max(0.0, now - since) * limit.per_s)
            wait = 0.0 if tokens >= 1 else (1 - tokens) / limit.per_s
            self._buckets[kind, who] = (tokens if wait else tokens - 1, now)
            if len(self._buckets) > _MOST_BUCKETS:
                self._buckets.popitem(last=False)
        return wait
