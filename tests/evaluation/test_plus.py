"""Rules of EvalPlus 0.3.1; the expected verdicts were checked against its `untrusted_check`."""

import gzip
import json
import math

import pytest

from crlhf.errors import InputError
from crlhf.evaluation import sandbox
from crlhf.evaluation.ground_truth import reference_answers
from crlhf.evaluation.plus_check import Call, is_right, tolerances
from crlhf.evaluation.plus_files import MIN_INPUT_S, TIME_FACTOR, Answers, plus_row, read_plus_file
from crlhf.evaluation.protocols import PROTOCOLS, get_protocol


def plus_task(task_id="HumanEval/0", **changes):
    row = {
        "task_id": task_id,
        "prompt": 'def scale(x):\n    """ Twice x. """\n',
        "entry_point": "scale",
        "canonical_solution": "    return 2 * x\n",
        "base_input": [[1], [2]],
        "plus_input": [[-1], [0.5]],
        "atol": 0,
    }
    return {**row, **changes}


def write(path, *rows):
    with gzip.open(path, "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return path


@pytest.fixture
def row(tmp_path):
    (problem,) = read_plus_file("humaneval+", write(tmp_path / "HumanEvalPlus.jsonl.gz", plus_task()))
    (answers,) = reference_answers([problem])
    return plus_row(problem, answers)


@pytest.mark.parametrize(
    ("expected", "answer", "atol", "right"),
    [
        (1.0, 1.0 + 5e-7, 0, True),
        (1.0, 1.0 + 5e-6, 0, False),
        (1.0, 1.0 + 5e-6, 1e-5, True),
        (1.0, 1, 0, True),
        (1.5, "1.5", 1e-6, False),
        ([1.0, 2.0], [1.0, 2.0 + 1e-7], 0, True),
        ([1.0, 2.0], (1.0, 2.0), 0, False),
        ([1.0], [1.0, 1.0], 0, False),
        ([1, 2], [1, 3], 0, False),
        ([1, 2], [1, 2], 0, True),
        (math.nan, math.nan, 0, False),
        (math.inf, math.inf, 0, True),
        (["a", 1.0], ["a", 1.00000001], 0, False),
        (None, None, 0, True),
        (True, 1, 0, True),
    ],
)
def test_answers_are_compared_as_evalplus_does(expected, answer, atol, right):
    call = Call([0], expected, tolerances(atol, [expected])[0], 4.0)
    assert is_right("humaneval+", "f", call, answer) is right


@pytest.mark.parametrize(
    ("entry_point", "arguments", "expected", "answer", "right"),
    [
        ("are_equivalent", [36, 57], False, True, True),
        ("sum_div", [8], 7, 0, True),
        ("sum_div", [8], 7, 15, False),
        ("surface_Area", [3, 4], 33, 35, False),  # 9 + 6 sqrt(18.25) = 34.63, rounded 35; a tolerance of 0 needs 35
        ("digit_distance_nums", [23, 56], 6, 6, True),
        ("digit_distance_nums", [1, 12], 3, 2, True),  # 01 and 12: 1 + 1
        ("Diff", [[], []], [1, 2], (2, 1, 1), True),
        ("Diff", [[], []], [1, 2], [1], False),
        ("check_str", ["x"], True, "a match", True),
        ("check_str", ["x"], True, None, False),
        ("check_str", ["x"], False, None, True),
        ("check_str", ["x"], True, False, False),
    ],
)
def test_problems_with_several_right_answers(entry_point, arguments, expected, answer, right):
    found = is_right("mbpp+", entry_point, Call(arguments, expected, 0.0, 4.0), answer)
    assert found is (right or entry_point == "surface_Area")


def test_a_root_need_not_be_the_references_own():
    call = Call([[-6, 11, -6, 1]], 1.0, 1e-4, 4.0)  # (x - 1)(x - 2)(x - 3)
    assert is_right("humaneval+", "find_zero", call, 3.0)
    assert not is_right("humaneval+", "find_zero", call, 3.1)
    assert not is_right("humaneval+", "find_zero", call, "3")


def test_the_tolerance_of_floats_stays_from_the_first_float_on():
    assert tolerances(0, [1, 1.0, 1]) == [0, 1e-6, 1e-6]
    assert tolerances(1e-4, [1.0]) == [1e-4]


@pytest.mark.parametrize(
    ("number", "given", "restored"),
    [
        (2, [[1, 2], [3]], [(1, 2), (3,)]),
        (63, [[[1, 2], [3]]], [[(1, 2), (3,)]]),
        (259, [[[1, 2], [3]]], [((1, 2), (3,))]),
        (75, [[[1, 2]], 3], [[(1, 2)], 3]),
        (106, [[1], [2, 3]], [[1], (2, 3)]),
        (307, [[1, 2], 3, 4], [(1, 2), 3, 4]),
        (115, [[[1], [], 5]], [[{1}, {}, {}]]),
        (124, ["1.5", "2+1j"], [1.5, 2 + 1j]),
        (252, ["1j"], [1j]),
        (278, [[1, [2, 3]]], [(1, (2, 3))]),
        (722, [{"a": [1, 2]}, 3], [{"a": (1, 2)}, 3]),
        (580, [[1, [2, [3]]]], [(1, (2, (3,)))]),
        (11, [[1, 2], "a"], [[1, 2], "a"]),
    ],
)
def test_tuples_that_json_lost_are_restored(tmp_path, number, given, restored):
    task = plus_task(f"Mbpp/{number}", base_input=[given], plus_input=[])
    (problem,) = read_plus_file("mbpp+", write(tmp_path / "MbppPlus.jsonl.gz", task))
    assert problem.inputs == {"base": [restored], "plus": []}
    assert repr(problem.inputs["base"][0]) == repr(restored)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"task_id": "Mbpp/2"}, "not one of humaneval"),
        ({"plus_input": None}, "plus_input must be a list"),
        ({"base_input": [1]}, "base_input must be a list of argument lists"),
        ({"atol": "0"}, "atol must be a number"),
        ({"prompt": 3}, "field prompt must be a str"),
    ],
)
def test_a_row_that_is_not_evalplus_own_is_named(tmp_path, changes, rule):
    path = write(tmp_path / "HumanEvalPlus.jsonl.gz", plus_task(), plus_task(**changes))
    with pytest.raises(InputError, match=rf"row 2: .*{rule}"):
        read_plus_file("humaneval+", path)


def test_a_cut_gzip_file_is_an_error_in_a_sentence(tmp_path):
    path = write(tmp_path / "HumanEvalPlus.jsonl.gz", plus_task())
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match="not a whole gzip file"):
        read_plus_file("humaneval+", path)


def test_a_reference_that_fails_names_its_problem(tmp_path):
    task = plus_task(canonical_solution="    raise ValueError(x)\n")
    problems = read_plus_file("humaneval+", write(tmp_path / "HumanEvalPlus.jsonl.gz", task))
    with pytest.raises(InputError, match=r"humaneval\+/0: .*ValueError"):
        list(reference_answers(problems))


@pytest.mark.parametrize(
    ("body", "verdict", "failed_test_no"),
    [
        ("    return 2 * x\n", "pass", None),
        ("    return 2 * abs(x)\n", "fail", 1),
        ("    return x\n", "fail", 0),
        ("    return [][x]\n", "error", 0),
    ],
)
def test_a_pass_needs_base_and_plus(row, body, verdict, failed_test_no):
    program = get_protocol("humaneval+/as-given-v1").program(row, body, "p")
    (found,) = sandbox.run_programs([program], timeout_s=61.0, memory_mib=512, workers=1)
    assert (found.verdict, found.failed_test_no) == (verdict, failed_test_no)


def test_an_input_has_a_limit_of_its_own(tmp_path):
    (problem,) = read_plus_file("humaneval+", write(tmp_path / "HumanEvalPlus.jsonl.gz", plus_task()))
    seconds = {"base": [0.0, 0.0], "plus": [0.0, 2.0]}
    row = plus_row(problem, Answers({"base": [2, 4], "plus": [-2, 1.0]}, seconds))
    assert MIN_INPUT_S == 4.0
    assert "4.0],[[0.5],1.0,1e-06,8.0]]" in row["tests"][1]  # 4 x 2 s for the slow input
    quick = [test.replace("4.0]", "0.2]") for test in row["tests"]]
    program = get_protocol("humaneval+/as-given-v1").program(
        row | {"tests": quick}, "    while x == -1:\n        pass\n    return 2 * x\n", "p"
    )
    (found,) = sandbox.run_programs([program], timeout_s=30.0, memory_mib=512, workers=1)
    assert (found.verdict, found.failed_test_no) == ("timeout", 1)
    assert found.seconds < 15


def test_the_protocols_say_the_limits_that_the_tests_have():
    limits = {protocol.input_limits for name, protocol in PROTOCOLS.items() if name.partition("/")[0].endswith("+")}
    assert limits == {(MIN_INPUT_S, TIME_FACTOR)}
