"""Problems of HumanEval+ and MBPP+ from EvalPlus' own files (Liu et al. 2023, arXiv:2305.01210).

A problem's tests are two calls of `plus_check.check_inputs`: the base inputs, then the plus inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from crlhf.errors import InputError
from crlhf.evaluation.plus_check import NOT_NONE, Call, tolerances, write_calls
from crlhf.evaluation.problems import read_json_rows
from crlhf.evaluation.sandbox.wire import WireError

MIN_INPUT_S = 4.0
TIME_FACTOR = 4.0
_FIELDS: dict[str, type] = {"task_id": str, "prompt": str, "entry_point": str, "canonical_solution": str}
_KINDS = ("base", "plus")


class PlusProblem(NamedTuple):
    """A problem as EvalPlus' file has it, with MBPP+'s tuples, sets and complex numbers restored.

    `inputs` are lists of argument lists, base and plus. `atol` is 0 where answers have to be equal.
    """

    problem_id: str
    prompt: str
    entry_point: str
    reference: str
    atol: float
    inputs: dict[str, list[list[Any]]]

    @property
    def is_not_none(self) -> bool:
        """Whether only None or not None is compared."""
        return self.problem_id.startswith("mbpp+/") and self.entry_point in NOT_NONE


class Answers(NamedTuple):
    """What the reference returned for each input of one problem, base and plus, and the seconds it took."""

    values: dict[str, list[Any]]
    seconds: dict[str, list[float]]


def read_plus_file(benchmark: str, path: Path) -> list[PlusProblem]:
    """The problems of EvalPlus' file at `path`, plain or gzip; `benchmark` is humaneval+ or mbpp+.

    Raises:
        MissingInputError: there is no such file.
        InputError: a row is not one of EvalPlus'; the message names the file, the row and the rule.
    """
    problems = []
    for where, row in read_json_rows(path, _FIELDS):
        name, _, number = row["task_id"].partition("/")
        if f"{name.lower()}+" != benchmark or not number.isdigit():
            raise InputError(f"{where}: task_id {row['task_id']!r:.60} is not one of {benchmark}")
        inputs = {}
        for kind in _KINDS:
            given = row.get(f"{kind}_input")
            if not isinstance(given, list) or not all(isinstance(arguments, list) for arguments in given):
                raise InputError(f"{where}: field {kind}_input must be a list of argument lists")
            restore = _restorer(int(number)) if benchmark == "mbpp+" else list
            inputs[kind] = [list(restore(arguments)) for arguments in given]
        if isinstance(row.get("atol"), bool) or not isinstance(row.get("atol"), int | float):
            raise InputError(f"{where}: field atol must be a number")
        reference = row["prompt"] + row["canonical_solution"]
        problem_id = f"{benchmark}/{int(number)}"
        problems.append(
            PlusProblem(problem_id, row["prompt"], row["entry_point"], reference, float(row["atol"]), inputs)
        )
    if not problems:
        raise InputError(f"{path}: holds no problem")
    return problems


def plus_row(problem: PlusProblem, answers: Answers) -> dict[str, Any]:
    """One row of the table PROBLEMS; an input's limit is max(4 s, 4 x the reference's time).

    Raises:
        InputError: the reference returned something that cannot be compared.
    """
    benchmark = problem.problem_id.partition("/")[0]
    try:
        tests = [_test(benchmark, problem, kind, answers) for kind in _KINDS]
    except WireError as error:
        raise InputError(f"{problem.problem_id}: the reference's answer: {error}") from None
    return {
        "problem_id": problem.problem_id,
        "source": benchmark,
        "split": "test",
        "language": "python",
        "kind": "header",
        "prompt": problem.prompt,
        "entry_point": problem.entry_point,
        "setup_code": "",
        "reference": problem.reference,
        "tests": tests,
    }


def _test(benchmark: str, problem: PlusProblem, kind: str, answers: Answers) -> str:
    expected, seconds = answers.values[kind], answers.seconds[kind]
    calls = [
        Call(arguments, value, atol, round(max(MIN_INPUT_S, TIME_FACTOR * took), 3))
        for arguments, value, atol, took in zip(
            problem.inputs[kind], expected, tolerances(problem.atol, expected), seconds, strict=True
        )
    ]
    name = problem.entry_point
    return (
        "from crlhf.evaluation.plus_check import check_inputs\n"
        f"check_inputs({name}, {benchmark!r}, {name!r}, {write_calls(calls)!r})\n"
    )


def _restorer(number: int) -> Callable[[Sequence[Any]], Sequence[Any]]:
    """What turns the JSON arguments of mbpp/`number` back into those of its tests: JSON has lists only."""
    return next((restore for restore, numbers in _RESTORED.items() if number in numbers), list)


def _tuples(values: Sequence[Any]) -> list[Any]:
    return [tuple(value) for value in values]


def _deep_tuple(value: Any) -> Any:
    return tuple(map(_deep_tuple, value)) if isinstance(value, list) else value


def _sets_or_empty_dicts(values: Sequence[Any]) -> list[Any]:
    return [set(value) if isinstance(value, list) and value else {} for value in values]


def _tuple_values(table: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) for key, value in table.items()}


_RESTORED: dict[Callable[[Sequence[Any]], Sequence[Any]], frozenset[int]] = {
    _tuples: frozenset(
        {2, 116, 132, 143, 222, 261, 273, 394, 399, 421, 424, 429, 470, 560, 579, 596, 616, 630, 726, 740, 744, 809}
    ),
    lambda given: [_tuples(value) for value in given]: frozenset(
        {63, 64, 70, 94, 120, 237, 272, 299, 400, 409, 417, 438, 473, 614, 780}
    ),
    lambda given: [tuple(_tuples(value)) for value in given]: frozenset({259, 401, 445}),
    lambda given: [_tuples(given[0]), given[1]]: frozenset({75, 413, 444, 753}),
    lambda given: [given[0], tuple(given[1])]: frozenset({106, 750}),
    lambda given: [tuple(given[0]), *given[1:]]: frozenset({250, 307, 405, 446, 617, 720, 763, 808}),
    lambda given: [_sets_or_empty_dicts(given[0])]: frozenset({115}),
    lambda given: [float(given[0]), complex(given[1])]: frozenset({124}),
    lambda given: [complex(given[0])]: frozenset({252}),
    lambda given: [tuple(tuple(item) if isinstance(item, list) else item for item in given[0])]: frozenset({278}),
    lambda given: [_tuple_values(given[0]), *given[1:]]: frozenset({722}),
    lambda given: list(map(_deep_tuple, given)): frozenset({580, 615, 791}),
}
