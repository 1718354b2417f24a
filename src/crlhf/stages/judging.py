"""Running what a policy wrote under a protocol: verdicts with their outcomes, streamed to a journal as they come."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from crlhf.params import SandboxParams
from crlhf.progress import Bar, progress_bar
from crlhf.schema import Verdict
from crlhf.store import Journal

if TYPE_CHECKING:
    from crlhf.evaluation.protocols import Protocol


class Answer(NamedTuple):
    """One text to be run: its problem, the text, whether it is a chat's (or another whole program), whether cut."""

    problem: dict[str, Any]
    text: str
    is_whole: bool = False
    is_truncated: bool = False


class Judged(NamedTuple):
    """A verdict on one answer.

    Attributes:
        code: the answer, cut at the protocol's stop strings.
        outcome: a key of `crlhf.evaluation.outcomes.OUTCOMES`.
        passed_base: HumanEval+ and MBPP+: whether every base input held, whatever the plus inputs did; else None.
    """

    code: str
    verdict: str
    reason: str
    outcome: str
    seconds: float
    isolation: str
    passed_base: bool | None = None


def judge(
    protocol: Protocol,
    answers: Sequence[Answer],
    limits: SandboxParams,
    label: str,
    journal: Journal | None = None,
) -> list[Judged]:
    """Verdicts of `answers`, in their order, under the protocol's own time limit.

    Args:
        protocol: how answers become programs.
        answers: what to run.
        limits: memory, workers and isolation; its time limit is not used.
        label: what the progress bar is called.
        journal: keeps every verdict as it comes; those that it holds already are not asked for again.

    Raises:
        IsolationError: a layer that `limits` require is missing.
    """
    from crlhf.evaluation import sandbox
    from crlhf.evaluation.outcomes import outcome_of

    codes = [protocol.cut(one.text, is_chat=one.is_whole) for one in answers]
    known = _known(journal)
    programs = [
        protocol.program(one.problem, code, str(number), is_chat=one.is_whole)
        for number, (one, code) in enumerate(zip(answers, codes, strict=True))
        if str(number) not in known
    ]
    with progress_bar(label, len(answers), "program", len(known)) as bar:
        verdicts = known | {
            verdict.program_id: verdict
            for verdict in sandbox.run_programs(
                programs,
                timeout_s=protocol.timeout_s,
                memory_mib=limits.memory_mib,
                workers=limits.workers,
                isolation=limits.isolation,
                on_verdict=_keeper(journal, bar),
            )
        }
    judged = []
    for number, (one, code) in enumerate(zip(answers, codes, strict=True)):
        verdict = verdicts[str(number)]
        outcome = outcome_of(verdict.verdict, verdict.reason, code, is_truncated=one.is_truncated)
        base = verdict.verdict == "pass" or verdict.failed_test_no == 1 if protocol.input_limits else None
        judged.append(Judged(code, verdict.verdict, verdict.reason, outcome, verdict.seconds, verdict.isolation, base))
    return judged


def require_isolation(limits: SandboxParams) -> None:
    """Raise IsolationError, before long work is done, where `judge` would: a layer that `limits` require is missing."""
    from crlhf.evaluation import sandbox

    if limits.isolation != "auto":
        sandbox.describe_isolation(limits.isolation)


def _known(journal: Journal | None) -> dict[str, Verdict]:
    return {name: Verdict(*entry) for name, entry in journal.entries.items()} if journal else {}


def _keeper(journal: Journal | None, bar: Bar) -> Callable[[Verdict], None]:
    def keep(verdict: Verdict) -> None:
        if journal is not None:
            journal.append(verdict.program_id, verdict, is_cheap=True)
        bar.update(1)

    return keep
