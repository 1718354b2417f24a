"""What the page asks the rest of the project: which items to show, and what the answers say so far.

Two functions, given by the stages. The page calls them and knows nothing of what is behind them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple


class ShownItem(NamedTuple):
    """One program that annotators are shown, with what stands beside it.

    Attributes:
        round_name: the round it belongs to.
        line_nos: its judgeable lines, 1-based.
        is_honeypot: the page only mixes by it; the wrong lines themselves are not given to the page.
        language: of the program, for highlighting.
        description: what the program should do.
        examples: calls and what they give, one a text.
    """

    completion_id: str
    round_name: str
    problem_id: str
    code: str
    code_sha256: str
    line_nos: tuple[int, ...]
    is_honeypot: bool
    language: str
    description: str
    examples: tuple[str, ...]


class Rate(NamedTuple):
    """An estimate with its 95 % interval."""

    value: float
    low: float
    high: float


class Step(NamedTuple):
    """Reliability after `n_honeypots` answered honeypots."""

    n_honeypots: int
    sensitivity: Rate
    specificity: Rate


class AnnotatorEstimate(NamedTuple):
    """How reliable an annotator is held to be; `steps` show how the honeypots moved the intervals."""

    annotator_id: str
    sensitivity: Rate
    specificity: Rate
    n_honeypots: int
    standing: str
    steps: tuple[Step, ...] = ()


class Suspect(NamedTuple):
    """An annotator to look at: kind (lazy, random, adversarial, copying, too fast), and the evidence in a sentence."""

    annotator_id: str
    kind: str
    evidence: str


class Estimates(NamedTuple):
    """What the answers say so far.

    Attributes:
        agreement: Krippendorff's alpha, or None while nothing can be compared.
        annotators: by annotator_id.
        suspects: by annotator_id and kind.
        n_more: completion_id to how many more verdicts its score needs; completions not listed need none.
    """

    agreement: float | None
    annotators: tuple[AnnotatorEstimate, ...]
    suspects: tuple[Suspect, ...]
    n_more: Mapping[str, int]


NO_ESTIMATES = Estimates(None, (), (), {})


class Sources(NamedTuple):
    """The three functions.

    Attributes:
        items: every item that may be shown now.
        estimates: from rows under `schema.ANNOTATIONS` to what they say.
        deletion: entered before someone is deleted, held until they are: remembers whom, so that no older backup brings
            them back, and keeps answers from being collected meanwhile.
    """

    items: Callable[[], Sequence[ShownItem]]
    estimates: Callable[[Sequence[Mapping[str, Any]]], Estimates]
    deletion: Callable[[str], AbstractContextManager[None]]
