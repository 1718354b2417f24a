"""Wording a benchmark's problems for one policy under a protocol, and opening the engine that answers them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from crlhf.errors import MissingInputError
from crlhf.stages.judging import Answer

if TYPE_CHECKING:
    from crlhf.evaluation.protocols import Protocol
    from crlhf.policy.decoding import Sample
    from crlhf.policy.engines import Engine


class Task(NamedTuple):
    """Problems as one protocol words them for one policy, and the engine that runs it."""

    protocol: Protocol
    is_chat: bool
    problems: list[dict[str, Any]]
    inputs: list[str]
    engine: Engine

    @property
    def stops(self) -> tuple[str, ...]:
        """Where a completion ends."""
        return self.protocol.chat_stops if self.is_chat else self.protocol.stops


def open_task(
    protocol: Protocol,
    problems: Sequence[dict[str, Any]],
    by_id: Mapping[str, dict[str, Any]],
    engine_name: str,
    folder: Path,
    adapter: Path | None,
) -> Task:
    """Load the policy in `folder` and word `problems` for it; `by_id` holds the problems that the protocol shows.

    Raises:
        MissingInputError: a problem that the protocol shows is not in `by_id`.
        ParamsError: there is no such engine, or the problems are of another kind than the protocol's.
    """
    from crlhf.policy.engines import open_engine

    missing = [problem_id for problem_id in protocol.shots if problem_id not in by_id]
    if missing:
        raise MissingInputError(f"protocol {protocol.id} shows {', '.join(missing)}, which the problems lack")
    engine = open_engine(engine_name, folder, adapter)
    tokenizer = engine.tokenizer
    is_chat = bool(protocol.chat_user and tokenizer.chat_template)

    def chat_template(messages: list[dict[str, str]]) -> str:
        return str(tokenizer.apply_chat_template(messages, tokenize=False))

    shots = [by_id[problem_id] for problem_id in protocol.shots]
    inputs = [protocol.model_input(row, shots, chat_template=chat_template if is_chat else None) for row in problems]
    return Task(protocol, is_chat, list(problems), inputs, engine)


def answers_of(task: Task, samples: Sequence[Sample]) -> list[Answer]:
    """The samples as `judge` runs them."""
    return [
        Answer(task.problems[drawn.input_no], drawn.text, task.is_chat, drawn.finish_reason == "length")
        for drawn in samples
    ]
