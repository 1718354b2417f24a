"""`crlhf evaluate`: have any policy write programs under a named protocol, and score them. Needs no project."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from crlhf.errors import ParamsError
from crlhf.fetch import Say
from crlhf.params import SandboxParams
from crlhf.stages.any_policy import FoundPolicy, PolicyRequest, find_any_policy
from crlhf.stages.benchmark_problems import find_problems
from crlhf.stages.judging import Judged, judge, require_isolation
from crlhf.stages.result_files import check_out, counts_meta, protocol_meta, versions, write_results
from crlhf.stages.runner import digest
from crlhf.stages.sample_scores import score_meta, verdict_fields
from crlhf.stages.sampling import Sampling, sample, usual_batch_size
from crlhf.stages.score_table import score_lines
from crlhf.stages.wording import Task, answers_of, open_task
from crlhf.store import Journal

if TYPE_CHECKING:
    from crlhf.evaluation.protocols import Protocol
    from crlhf.policy.decoding import Sample

_TASK_NAMES = {"humaneval": "HumanEval", "mbpp": "Mbpp"}  # as the benchmarks' own files spell them


class EvaluationRequest(NamedTuple):
    """What is to be evaluated, and how. None takes the protocol's setting.

    Attributes:
        policy: the policy, as the user names it.
        protocol: id of a protocol.
        out: the result file.
        problems: another file of problems, or None.
        root: the project whose problem files are taken, or any folder.
        limits: workers, memory and isolation; its time limit is not used.
        limit: only the first problems.
        n: samples a problem; None and greedy: 1.
        temperature: 0 is greedy.
        top_p: share of probability that is sampled from.
        max_new_tokens: the most tokens of a sample.
        k: of pass@k.
        engine: see `crlhf.policy.engines`.
        batch_size: samples that are written together; a run that is interrupted loses at most so many.
        seed: of every draw.
    """

    policy: PolicyRequest
    protocol: str
    out: Path
    problems: Path | None
    root: Path
    limits: SandboxParams
    limit: int | None = None
    n: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_new_tokens: int | None = None
    k: Sequence[int] | None = None
    engine: str = "policy"
    batch_size: int | None = None
    seed: int = 0


def evaluate_policy(request: EvaluationRequest, say: Say) -> list[str]:
    """Write the result file and its meta data; lines with pass@k and what became of the samples.

    Samples and verdicts are kept on disk as they come: a run that was killed goes on where it was.

    Raises:
        ParamsError: no such protocol or engine, greedy samples are asked for more than once, or k is above n.
        InputError: the result file would replace the problems.
        MissingInputError: policy or problems are not there and cannot be fetched.
        IsolationError: a required layer is missing.
    """
    from crlhf.evaluation.protocols import get_protocol

    check_out(request.out, request.problems)
    protocol = get_protocol(request.protocol)
    settings = _settings(request, protocol)
    ks = _ks(request, protocol, settings)
    require_isolation(request.limits)
    every, origin = find_problems(protocol.benchmark, request.problems, request.root, say)
    tested = [row for row in every.values() if row["split"] == "test"]
    policy = find_any_policy(request.policy, say)
    task = open_task(protocol, tested[: request.limit], every, request.engine, policy.folder, policy.adapter)
    batch_size = request.batch_size or usual_batch_size(len(task.inputs) * settings.n)
    settings = settings._replace(stops=task.stops, batch_size=batch_size)
    key = digest(policy.policy_id, protocol.sha256, origin, task.inputs, settings, request.engine, request.policy.dtype)
    written = Journal(_beside(request.out, "samples"), key)
    samples = sample(task.engine, task.inputs, settings, written, f"{request.out.name}: writing")
    run = Journal(_beside(request.out, "verdicts"), digest(key, request.limits.memory_mib, request.limits.isolation))
    judged = judge(protocol, answers_of(task, samples), request.limits, f"{request.out.name}: running", run)
    rows = _rows(task, samples, judged)
    meta = protocol_meta(protocol) | counts_meta(rows, [_problem_id(task, one) for one in samples])
    meta |= score_meta(meta, ks) | _circumstances(request, policy, settings, task, origin) | {"k": list(ks)}
    write_results(request.out, rows, meta)
    for journal in (written, run):
        journal.finish()
    return [f"{policy.name}: {_told(settings)}", *score_lines(meta, len(tested))]


def _settings(request: EvaluationRequest, protocol: Protocol) -> Sampling:
    """The protocol's sampling settings with the request's in their place; stops and batch size come later."""
    own = protocol.sampling
    temperature = own.temperature if request.temperature is None else request.temperature
    n = request.n or (1 if temperature == 0 else own.n_samples)
    if temperature == 0 and n > 1:
        raise ParamsError("greedy samples are all the same: ask for one a problem, or for a temperature above 0")
    return Sampling(
        n=n,
        max_new_tokens=request.max_new_tokens or own.max_new_tokens,
        temperature=temperature,
        stops=(),
        seed=request.seed,
        batch_size=0,
        top_p=request.top_p or own.top_p,
    )


def _ks(request: EvaluationRequest, protocol: Protocol, settings: Sampling) -> tuple[int, ...]:
    if request.k:
        if max(request.k) > settings.n:
            raise ParamsError(
                f"pass@{max(request.k)} is refused: it needs as many samples a problem, asked are {settings.n}"
            )
        return tuple(request.k)
    return tuple(k for k in (protocol.sampling.k if settings.n > 1 else (1,)) if k <= settings.n)


def _beside(out: Path, what: str) -> Path:
    return out.with_name(f".{out.name}.{what}.partial")


def _problem_id(task: Task, drawn: Sample) -> str:
    return str(task.problems[drawn.input_no]["problem_id"])


def _rows(task: Task, samples: list[Sample], judged: list[Judged]) -> list[dict[str, Any]]:
    benchmark = task.protocol.benchmark.removesuffix("+")
    name = _TASK_NAMES.get(benchmark, benchmark)
    return [
        {
            "task_id": f"{name}/{_problem_id(task, drawn).rpartition('/')[2]}",
            "sample_no": drawn.sample_no,
            "completion": one.code,
            "is_whole": task.is_chat,
            "n_tokens": len(drawn.token_ids),
            "finish_reason": drawn.finish_reason,
            **verdict_fields(one),
            "protocol": task.protocol.id,
            "protocol_sha256": task.protocol.sha256,
        }
        for drawn, one in zip(samples, judged, strict=True)
    ]


def _circumstances(
    request: EvaluationRequest, policy: FoundPolicy, settings: Sampling, task: Task, origin: str
) -> dict[str, Any]:
    """What the meta data say beside protocol and counts."""
    sampling = {name: value for name, value in settings._asdict().items() if name != "stops"}
    own = task.protocol.sampling._asdict() | {"n": task.protocol.sampling.n_samples}
    return {
        "policy": policy.described(),
        "sampling": sampling | {"engine": request.engine, "dtype": request.policy.dtype, "is_chat": task.is_chat},
        "overrides": {name: value for name, value in sampling.items() if name in own and own[name] != value},
        "limit": request.limit,
        "problems_from": origin,
        "versions": versions("torch", "transformers", "tokenizers", "peft", "safetensors"),
    }


def _told(settings: Sampling) -> str:
    how = "greedy" if settings.temperature == 0 else f"T={settings.temperature:g}, top_p={settings.top_p:g}"
    return f"{how}, n={settings.n}, at most {settings.max_new_tokens} tokens"
