"""Which of the faults that can be made in a program are tried: kinds take turns."""

from __future__ import annotations

import numpy as np

from crlhf.languages import Fault, Language


def inject_faults(program: str, seed: int | np.random.Generator, n: int, language: Language) -> list[Fault]:
    """Up to `n` distinct single faults in `program`, drawn so that kinds vary as much as the program allows.

    Kinds take turns in a random order; within a kind each fault is as likely as the next. Fewer than `n` come back
    when no more can be made, none when the program does not parse. The same seed gives the same faults.
    """
    rng = np.random.default_rng(seed)
    by_kind: dict[str, list[Fault]] = {}
    for fault in language.possible_faults(program):
        by_kind.setdefault(fault.kind, []).append(fault)
    queues: list[list[Fault]] = []
    for kind in sorted(by_kind):
        queues.append([by_kind[kind][i] for i in rng.permutation(len(by_kind[kind]))])
    queues = [queues[i] for i in rng.permutation(len(queues))]
    drawn: list[Fault] = []
    while queues and len(drawn) < n:
        drawn += [queue.pop() for queue in queues]
        queues = [queue for queue in queues if queue]
    return drawn[:n]
