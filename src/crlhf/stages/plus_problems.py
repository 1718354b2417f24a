"""HumanEval+ and MBPP+ as rows: EvalPlus' file is found, its references are run once, their answers are cached."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from crlhf.errors import MissingInputError
from crlhf.fetch import Say, sha256_file
from crlhf.progress import progress_bar
from crlhf.store import read_json, write_json

_STEMS = {"humaneval+": "HumanEvalPlus", "mbpp+": "MbppPlus"}
_ANSWERS = 1  # to be raised when answers of the same file change


def find_plus_file(benchmark: str, folders: Sequence[Path], cache: Path) -> Path:
    """EvalPlus' file for `benchmark` in benchmarks/ of the cache or in one of `folders`, the latest version by name.

    Its reduced editions (-Mini, -NoExtreme) are passed over: name one with --problems.

    Raises:
        MissingInputError: there is none; the message says where to get it.
    """
    stem = _STEMS[benchmark]
    for folder in (cache / "benchmarks", *folders):
        found = [
            path
            for path in sorted(folder.glob(f"{stem}*.jsonl*"))
            if path.name.endswith((".jsonl", ".jsonl.gz"))
            and "-Mini" not in path.name
            and "-NoExtreme" not in path.name
        ]
        if found:
            return found[-1]
    places = ", ".join(str(folder) for folder in (cache / "benchmarks", *folders))
    raise MissingInputError(
        f"{stem}.jsonl.gz is in none of {places}; get it from github.com/evalplus/{stem.lower()}_release and put it "
        "there, or name it with --problems"
    )


def plus_rows(benchmark: str, path: Path, cache: Path, say: Say) -> list[dict[str, Any]]:
    """The problems of EvalPlus' file at `path` as rows of the table PROBLEMS; see `crlhf.evaluation.plus_files`.

    Raises:
        MissingInputError: there is no such file.
        InputError: it is not EvalPlus' file, or a reference cannot be run.
    """
    from crlhf.evaluation.plus_files import plus_row, read_plus_file

    problems = read_plus_file(benchmark, path)
    kept = cache / "benchmarks" / f"answers-{sha256_file(path)[:16]}-{_ANSWERS}.json"
    if kept.exists():
        rows: list[dict[str, Any]] = read_json(kept)
        return rows
    from crlhf.evaluation.ground_truth import reference_answers

    say(f"{benchmark}: running the references of {path.name}, once")
    with progress_bar(f"{benchmark}: references", len(problems), "problem") as bar:
        rows = []
        for problem, answers in zip(problems, reference_answers(problems), strict=True):
            rows.append(plus_row(problem, answers))
            bar.update(1)
    write_json(kept, rows)
    return rows
