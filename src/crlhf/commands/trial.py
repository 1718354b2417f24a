"""The verb that tries a policy on a prompt or a problem."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from crlhf.commands.policy_options import with_policy
from crlhf.errors import InputError

if TYPE_CHECKING:
    from crlhf.stages.any_policy import PolicyRequest
    from crlhf.stages.trial import Answered, Settings


def _say(text: str) -> None:
    click.echo(text, err=True)


@click.command()
@with_policy
@click.option("--prompt", help="The prompt, or - for standard input [default: asked for, line by line].")
@click.option("--problem", help="Ask this problem of the project instead, in its protocol's words.")
@click.option("--check", is_flag=True, help="Run the answers against the problem's tests, in the sandbox.")
@click.option("--protocol", help="How the problem is worded [default: as the pipeline does].")
@click.option("--plain", is_flag=True, help="Go on from the prompt's text, even if the policy knows how to chat.")
@click.option("--n", type=click.IntRange(1), default=1, show_default=True, help="Answers.")
@click.option("--temperature", type=click.FloatRange(0), help="0 is greedy [default: 0; 0.8 for several answers].")
@click.option(
    "--top-p",
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    help="Share of probability that is sampled from, the likeliest tokens first.",
    show_default=True,
)
@click.option(
    "--max-new-tokens", type=click.IntRange(1), default=256, help="The most tokens of an answer.", show_default=True
)
@click.option("--stop", "stops", multiple=True, help="An answer ends where this text begins; can be repeated.")
@click.pass_obj
def generate(
    root: Path,
    policy: str,
    prompt: str | None,
    problem: str | None,
    check: bool,
    protocol: str | None,
    plain: bool,
    n: int,
    temperature: float | None,
    top_p: float,
    max_new_tokens: int,
    seed: int,
    stops: tuple[str, ...],
    base: str | None,
    revision: str,
    dtype: str,
) -> None:
    """Try a policy: what does it answer to a prompt, or to a problem of the project?

    The same policy, prompt and options give the same answers. Without --prompt and --problem, prompts are asked for on
    the terminal until Ctrl-D; each stands alone. Answers go to standard output, all else to standard error.
    """
    from crlhf.stages.any_policy import PolicyRequest
    from crlhf.stages.trial import Settings

    _require_sense(prompt, problem, check=check, protocol=protocol, plain=plain)
    if "" in stops:
        raise click.UsageError("--stop must not be empty")
    request = PolicyRequest(policy, base, revision, dtype, root)
    settings = Settings(n, temperature, top_p, max_new_tokens, seed, stops).settled()
    if problem is not None:
        _ask_problem(root, request, problem, settings, check=check, protocol=protocol)
    else:
        _ask_prompts(request, prompt, settings, is_plain=plain)


def _require_sense(prompt: str | None, problem: str | None, *, check: bool, protocol: str | None, plain: bool) -> None:
    """Raise click.UsageError where options contradict each other."""
    if problem is not None and (prompt is not None or plain):
        raise click.UsageError(f"--problem is worded by its protocol; leave {'--plain' if plain else '--prompt'} out")
    if problem is None and (check or protocol is not None):
        raise click.UsageError(f"{'--check' if check else '--protocol'} needs --problem")
    if problem is None and prompt is None and not sys.stdin.isatty():
        raise click.UsageError("no terminal to ask on: give --prompt TEXT, --prompt - to read it, or --problem ID")


def _ask_problem(
    root: Path, request: PolicyRequest, problem_id: str, settings: Settings, *, check: bool, protocol: str | None
) -> None:
    from crlhf.stages.trial import ask_problem

    asked = ask_problem(root, request, problem_id, settings, _say, protocol_id=protocol, is_checked=check)
    _say(f"{asked.policy.name}, {problem_id}, {asked.protocol.id}")
    _print(asked.answers)
    if check:
        n_passed = sum(one.judged is not None and one.judged.verdict == "pass" for one in asked.answers)
        _say(f"{n_passed} of {len(asked.answers)} pass all tests")


def _ask_prompts(request: PolicyRequest, prompt: str | None, settings: Settings, *, is_plain: bool) -> None:
    from crlhf.stages.trial import ask, open_policy, require_text

    given = None if prompt is None else _read_stdin() if prompt == "-" else prompt
    if given is not None:
        require_text(given)
    opened = open_policy(request, _say)
    how = "chat" if opened.is_chat and not is_plain else "plain text"
    _say(f"{opened.found.name}, {how}{'; taught by a simulated crowd' if opened.found.is_simulated else ''}")

    def answer(text: str) -> None:
        answers = ask(opened, text, settings, is_plain=is_plain, tell=lambda piece: click.echo(piece, nl=False))
        _print(answers, is_told=len(answers) == 1)

    if given is not None:
        answer(given)
        return
    for typed in _typed():
        try:
            answer(typed)
        except InputError as error:
            _say(f"crlhf: {error}")


def _read_stdin() -> str:
    try:
        return sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"standard input: not UTF-8 text: {error}") from None


def _typed() -> Iterator[str]:
    """Lines that are typed on the terminal, blank ones left out."""
    _say("One prompt a line; Ctrl-D ends.")
    while True:
        click.echo("> ", err=True, nl=False)
        line = sys.stdin.readline()
        if not line:
            _say("")
            return
        if line.strip():
            yield line.rstrip("\n")


def _print(answers: list[Answered], *, is_told: bool = False) -> None:
    """One answer as it is, unless it `is_told` already; several, or such with a verdict, each under a line about it."""
    is_bare = len(answers) == 1 and answers[0].judged is None
    for no, one in enumerate(answers, 1):
        about = f"# {no} of {len(answers)}: {one.n_tokens} tokens, {one.finish_reason}"
        if one.judged is not None:
            about += f"; {one.judged.verdict}, {one.judged.reason} [{one.judged.isolation}]"
        if not is_bare:
            click.echo(about)
        click.echo("" if is_told else one.text, nl=not one.text.endswith("\n"))
        if is_bare:
            _say(about)
