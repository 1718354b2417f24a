"""Sampling from a policy for the stages: a progress bar, and a journal that carries finished batches over a kill."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from crlhf.progress import progress_bar
from crlhf.store import Journal

if TYPE_CHECKING:
    from crlhf.policy.decoding import Sample
    from crlhf.policy.engines import Engine


_MOST, _LEAST_BATCHES = 16, 8


class Sampling(NamedTuple):
    """How many completions of an input are drawn, and how."""

    n: int
    max_new_tokens: int
    temperature: float
    stops: tuple[str, ...]
    seed: int
    batch_size: int
    top_p: float = 1.0


def usual_batch_size(n_samples: int) -> int:
    """Samples written together where nobody says how many: at most 16, and few enough for eight batches.

    A batch that is interrupted is written anew, so that few batches make for much to be lost.
    """
    return max(1, min(_MOST, n_samples // _LEAST_BATCHES))


def sample(engine: Engine, inputs: Sequence[str], sampling: Sampling, journal: Journal, label: str) -> list[Sample]:
    """Samples by input and sample number; batches that `journal` holds are not drawn again."""
    from crlhf.policy.decoding import Sample

    kept = [Sample(**entry) for batch in journal.entries.values() for entry in batch]
    with progress_bar(label, len(inputs) * sampling.n, "program", len(kept)) as bar:

        def keep(batch: list[Sample]) -> None:
            journal.append(str(len(journal.entries)), [one._asdict() for one in batch])

        return engine.generate(
            inputs,
            **sampling._asdict(),
            done={(one.input_no, one.sample_no): one for one in kept},
            on_batch=keep,
            progress=bar,
        )
