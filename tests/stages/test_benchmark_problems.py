"""Which problem a sample's task_id means."""

import pytest

from crlhf.stages.benchmark_problems import problem_id_of


@pytest.mark.parametrize(
    ("benchmark", "task_id", "problem_id"),
    [
        ("humaneval", "HumanEval/7", "humaneval/7"),
        ("humaneval", "7", None),
        ("humaneval", 7, None),
        ("humaneval+", "humaneval/7", "humaneval+/7"),
        ("mbpp", 11, "mbpp/11"),
        ("mbpp", "Mbpp/011", "mbpp/11"),
        ("mbpp+", "11", "mbpp+/11"),
        ("mbpp", True, None),
        ("mbpp", "HumanEval/11", None),
        ("conala", 3844801, "conala/3844801"),
        ("conala", "CoNaLa/3844801", "conala/3844801"),
    ],
)
def test_a_task_id_names_a_problem_of_its_benchmark(benchmark, task_id, problem_id):
    assert problem_id_of(benchmark, task_id) == problem_id
