"""`crlhf generate`: try a policy on one prompt, or on one problem of the table `problems`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from crlhf.errors import InputError, ParamsError
from crlhf.fetch import Say
from crlhf.params import Params, load_params
from crlhf.progress import progress_bar
from crlhf.stages.any_policy import FoundPolicy, PolicyRequest, find_any_policy
from crlhf.stages.judging import Judged, judge
from crlhf.stages.wording import answers_of, open_task
from crlhf.store import Store, records

if TYPE_CHECKING:
    from crlhf.evaluation.protocols import Protocol
    from crlhf.policy.decoding import Key, Sample
    from crlhf.policy.engines import PolicyEngine

_BATCH_SIZE = 16


class Settings(NamedTuple):
    """How answers are drawn.

    Attributes:
        n: answers to a prompt.
        temperature: 0 is greedy; None: 0 for one answer, 0.8 for several.
        top_p: share of probability that is sampled from.
        max_new_tokens: the most tokens of an answer.
        seed: of every draw.
        stops: an answer ends where one of these begins; a problem's protocol adds its own.
    """

    n: int = 1
    temperature: float | None = None
    top_p: float = 1.0
    max_new_tokens: int = 256
    seed: int = 0
    stops: tuple[str, ...] = ()

    def settled(self) -> Settings:
        """These settings with a temperature; raises ParamsError where several greedy answers are asked for."""
        temperature = (0.0 if self.n == 1 else 0.8) if self.temperature is None else self.temperature
        if temperature == 0 and self.n > 1:
            raise ParamsError("greedy answers are all the same: ask for one, or for a temperature above 0")
        return self._replace(temperature=temperature)


class Answered(NamedTuple):
    """One answer, cut where it stops, and the verdict of the problem's tests where they were run."""

    text: str
    n_tokens: int
    finish_reason: str
    judged: Judged | None = None


class AskedProblem(NamedTuple):
    """What a policy answered to a problem, and the protocol that worded it."""

    policy: FoundPolicy
    protocol: Protocol
    answers: list[Answered]


class Opened(NamedTuple):
    """A policy that is ready to be asked any prompt."""

    found: FoundPolicy
    engine: PolicyEngine

    @property
    def is_chat(self) -> bool:
        """Whether the policy's tokenizer has a chat template."""
        return bool(self.engine.tokenizer.chat_template)


def open_policy(request: PolicyRequest, say: Say) -> Opened:
    """Find and load a policy; raises what `find_any_policy` and `load_policy` raise."""
    from crlhf.policy.base import load_policy
    from crlhf.policy.engines import PolicyEngine

    found = find_any_policy(request, say)
    return Opened(found, PolicyEngine(*load_policy(found.folder, found.adapter)))


def ask(
    policy: Opened,
    prompt: str,
    settings: Settings,
    *,
    is_plain: bool = False,
    tell: Callable[[str], object] | None = None,
) -> list[Answered]:
    """Answers to `prompt`, each from a random stream of its own: the same prompt and settings give the same answers.

    A policy with a chat template gets the prompt as a user's turn; any other goes on from its text, and so does every
    policy with `is_plain`. `tell` gets the text of a single answer piece by piece, as soon as it is sure.

    Raises:
        InputError: the prompt is empty or not Unicode, or does not fit into the policy's context.
        ParamsError: several greedy answers are asked for.
    """
    require_text(prompt)
    if policy.is_chat and not is_plain:
        turn = [{"role": "user", "content": prompt}]
        prompt = policy.engine.tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    stream = _Stream(tell, settings.stops) if tell is not None and settings.n == 1 else None
    samples = _draw(policy.engine.generate, prompt, settings, stream)
    answers = [Answered(_cut(one.text, settings.stops), len(one.token_ids), one.finish_reason) for one in samples]
    if stream is not None:
        stream.finish(answers[0].text)
    return answers


def ask_problem(
    root: Path,
    request: PolicyRequest,
    problem_id: str,
    settings: Settings,
    say: Say,
    *,
    protocol_id: str | None = None,
    is_checked: bool = False,
) -> AskedProblem:
    """Ask a problem of the project's table in its protocol's words; `is_checked` runs the answers against its tests.

    Args:
        root: the project's folder.
        request: the policy.
        problem_id: a key of the table `problems`.
        settings: how answers are drawn.
        say: tells a person what is done.
        protocol_id: None: that of params.yaml, for training problems or for the problem's benchmark.
        is_checked: also judge the answers in the sandbox, under the protocol's own time limit.

    Raises:
        InputError: there is no such problem; the message names some that there are.
        MissingInputError: the table or the policy is not there.
        ParamsError: there is no such protocol, or it is not for this kind of problem.
        IsolationError: a layer that params.yaml requires is missing.
    """
    from crlhf.evaluation.protocols import get_protocol

    params = load_params(root / "params.yaml")
    by_id = {str(row["problem_id"]): row for row in records(Store(root).read("problems"))}
    problem = _problem(by_id, problem_id)
    protocol = get_protocol(protocol_id or _usual_protocol(params, problem))
    found = find_any_policy(request, say)
    task = open_task(protocol, [problem], by_id, "policy", found.folder, found.adapter)
    settings = settings._replace(stops=(*task.stops, *settings.stops))
    samples = _draw(task.engine.generate, task.inputs[0], settings)
    answers = [one._replace(text=_cut(one.text, settings.stops)) for one in answers_of(task, samples)]
    judged: list[Judged] | list[None] = [None] * len(samples)
    if is_checked:
        judged = judge(protocol, answers, params.sandbox, f"{problem_id}: running")
    texts = [protocol.cut(one.text, is_chat=one.is_whole) for one in answers]
    told = zip(texts, samples, judged, strict=True)
    return AskedProblem(
        found, protocol, [Answered(text, len(one.token_ids), one.finish_reason, verdict) for text, one, verdict in told]
    )


class _Stream:
    """Tells a growing text piece by piece, and nothing that a later token may take back.

    That is a character whose bytes are not all there yet (decoded as U+FFFD), and what may be the beginning of a stop
    string.
    """

    def __init__(self, tell: Callable[[str], object], stops: tuple[str, ...]) -> None:
        self.tell = tell
        self.stops = stops
        self.n_held = max(map(len, stops), default=1) - 1
        self.n_told = 0

    def __call__(self, key: Key, text: str) -> None:
        """Take in the whole text so far."""
        cut = _cut(text, self.stops)
        self.finish(cut if cut != text else text[: len(text) - self.n_held].rstrip("\ufffd"))

    def finish(self, text: str) -> None:
        """Tell the rest of `text`."""
        if len(text) > self.n_told:
            self.tell(text[self.n_told :])
            self.n_told = len(text)


def _draw(
    generate: Callable[..., list[Sample]], model_input: str, settings: Settings, stream: _Stream | None = None
) -> list[Sample]:
    options: dict[str, Any] = settings.settled()._asdict() | {"batch_size": _BATCH_SIZE}
    if stream is not None:
        return generate([model_input], on_text=stream, **options)
    with progress_bar("writing", settings.n, "answer") as bar:
        return generate([model_input], progress=bar, **options)


def _cut(text: str, stops: tuple[str, ...]) -> str:
    found = [at for at in (text.find(stop) for stop in stops) if at >= 0]
    return text[: min(found)] if found else text


def require_text(prompt: str) -> None:
    """Raise InputError where no policy can go on from `prompt`: it is empty, or not Unicode."""
    try:
        prompt.encode()
    except UnicodeEncodeError:
        raise InputError("the prompt is not UTF-8 text") from None
    if not prompt.strip():
        raise InputError("the prompt is empty; a policy needs something to go on from")


def _problem(by_id: Mapping[str, dict[str, Any]], problem_id: str) -> dict[str, Any]:
    if problem_id not in by_id:
        near = get_close_matches(problem_id, by_id, n=3, cutoff=0.3) or list(by_id)[:3]
        raise InputError(
            f"data/tables/problems.parquet: none of its {len(by_id)} problems is {problem_id!r}; "
            f"some are {', '.join(near)}"
        )
    return by_id[problem_id]


def _usual_protocol(params: Params, problem: Mapping[str, Any]) -> str:
    """The protocol under which the pipeline asks the problem."""
    from crlhf.evaluation.protocols import get_protocol

    if problem["split"] == "test":
        for benchmark in (params.benchmarks.humaneval, params.benchmarks.mbpp, params.benchmarks.sql):
            if benchmark is not None and get_protocol(benchmark.protocol).benchmark == problem["source"]:
                return benchmark.protocol
    return params.completions.protocol
