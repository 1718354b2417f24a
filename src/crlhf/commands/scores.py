"""Verbs on scores: of samples, of any policy, of two policies, of many."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crlhf.commands.policy_options import with_policy

if TYPE_CHECKING:
    from crlhf.params import SandboxParams

_BENCHMARKS = click.Choice(("humaneval", "mbpp", "humaneval+", "mbpp+", "sql"))
_PATH = click.Path(path_type=Path)


class _Numbers(click.ParamType[tuple[int, ...]]):
    """Whole numbers from 1 on, joined by commas."""

    name = "K,K,..."

    def convert(self, value: object, param: click.Parameter | None, context: click.Context | None) -> tuple[int, ...]:
        """The numbers in ascending order, each once."""
        try:
            numbers = {int(part) for part in str(value).split(",")}
        except ValueError:
            numbers = {0}
        if min(numbers) < 1:
            self.fail(f"{value!r}: expected numbers from 1 on, joined by commas, such as 1,10,100", param, context)
        return tuple(sorted(numbers))


def _say(text: str) -> None:
    click.echo(text, err=True)


@click.command()
@click.option("--benchmark", required=True, type=_BENCHMARKS, help="Whose problems the samples answer.")
@click.option("--samples", required=True, type=_PATH, help="JSON lines with task_id and completion, or .gz of it.")
@click.option("--out", required=True, type=_PATH, help="The result file, in the samples' order.")
@click.option("--k", type=_Numbers(), help="Of pass@k [default: 1,10,100 as far as there are samples].")
@click.option("--protocol", help="Cut the samples as this protocol does [default: run them as they are given].")
@click.option("--problems", type=_PATH, help="Another file of problems, in the benchmark's own format.")
@click.option("--workers", type=click.IntRange(1), help="Programs run at a time [default: one a core].")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(0, min_open=True),
    help="Seconds a program [default: the protocol's].",
)
@click.option("--memory-mib", type=click.IntRange(64), default=1024, show_default=True, help="Address space a program.")
@click.option("--isolation", default="auto", show_default=True, help="auto, or require:<layers>.")
@click.pass_obj
def score(
    root: Path,
    benchmark: str,
    samples: Path,
    out: Path,
    k: tuple[int, ...] | None,
    protocol: str | None,
    problems: Path | None,
    workers: int | None,
    timeout_s: float | None,
    memory_mib: int,
    isolation: str,
) -> None:
    """Run samples against a benchmark's tests: verdicts, and pass@k with intervals. Needs no project.

    An interrupted run goes on when it is started again. Exit code 3 if a row is bad or a k was refused; all else is
    scored all the same.
    """
    from crlhf.stages.sample_scores import ScoreRequest, score_samples

    limits = _limits(workers, memory_mib, isolation)
    request = ScoreRequest(benchmark, samples, out, protocol, k or (), timeout_s, problems, root, limits)
    scored = score_samples(request, _say)
    for line in scored.lines:
        click.echo(line)
    for complaint in scored.complaints:
        _say(f"crlhf: {complaint}")
    sys.exit(3 if scored.complaints else 0)


@click.command()
@with_policy
@click.option("--protocol", required=True, help="Id of a protocol; an unknown one lists them all.")
@click.option("--out", required=True, type=_PATH, help="The result file; its meta data go beside it.")
@click.option("--limit", type=click.IntRange(1), help="Only the first problems of the benchmark.")
@click.option("--n", type=click.IntRange(1), help="Samples a problem [default: the protocol's; 1 if greedy].")
@click.option("--temperature", type=click.FloatRange(0), help="0 is greedy [default: the protocol's].")
@click.option("--top-p", type=click.FloatRange(0, 1, min_open=True), help="[default: the protocol's]")
@click.option("--max-new-tokens", type=click.IntRange(1), help="[default: the protocol's]")
@click.option("--k", type=_Numbers(), help="Of pass@k [default: the protocol's, as far as there are samples].")
@click.option("--engine", default="policy", show_default=True, help="policy, bfloat16, int8 or vllm.")
@click.option(
    "--batch-size", type=click.IntRange(1), help="Samples written together [default: 16; few problems, fewer]."
)
@click.option("--problems", type=_PATH, help="Another file of problems, in the benchmark's own format.")
@click.option("--workers", type=click.IntRange(1), help="Programs run at a time [default: one a core].")
@click.option("--memory-mib", type=click.IntRange(64), default=1024, show_default=True, help="Address space a program.")
@click.option("--isolation", default="auto", show_default=True, help="auto, or require:<layers>.")
@click.pass_obj
def evaluate(
    root: Path,
    /,
    policy: str,
    protocol: str,
    out: Path,
    base: str | None,
    revision: str,
    dtype: str,
    problems: Path | None,
    workers: int | None,
    memory_mib: int,
    isolation: str,
    **settings: Any,
) -> None:
    """Have any policy write programs under a named protocol, run them, and say pass@k. Needs no project.

    An interrupted run goes on when it is started again.
    """
    from crlhf.stages.any_policy import PolicyRequest
    from crlhf.stages.evaluation import EvaluationRequest, evaluate_policy

    request = EvaluationRequest(
        policy=PolicyRequest(policy, base, revision, dtype, root),
        protocol=protocol,
        out=out,
        problems=problems,
        root=root,
        limits=_limits(workers, memory_mib, isolation),
        **settings,
    )
    for line in evaluate_policy(request, _say):
        click.echo(line)


@click.command()
@click.argument("first", type=_PATH)
@click.argument("second", type=_PATH)
@click.option("--k", type=_Numbers(), help="Of pass@k [default: 1,10,100 as far as there are samples].")
def compare(first: Path, second: Path, k: tuple[int, ...] | None) -> None:
    """Compare two result files of one protocol: paired intervals, McNemar, power, and the problems that flipped."""
    from crlhf.stages.result_comparison import compare_files

    for line in compare_files(first, second, k or ()):
        click.echo(line)


@click.command("paper-table")
@click.argument("results", nargs=-1, required=True)
@click.option(
    "--out", required=True, type=_PATH, help="Folder for the table (Markdown, HTML) and the chart (PNG, SVG)."
)
def paper_table(results: tuple[str, ...], out: Path) -> None:
    """Draw the paper's table and slope chart from RESULTS: base and tuned of each model, pass@1, 10 and 100.

    RESULTS are files of `crlhf evaluate`; or MODEL:base=FILE and MODEL:tuned=FILE for files that name no model.
    """
    from crlhf.stages.paper import make_paper_table

    for line in make_paper_table(results, out, _say):
        click.echo(line)


def _limits(workers: int | None, memory_mib: int, isolation: str) -> SandboxParams:
    from crlhf.params import SandboxParams

    n_workers = workers or len(os.sched_getaffinity(0))
    return SandboxParams(timeout_s=1.0, memory_mib=memory_mib, workers=n_workers, isolation=isolation)
