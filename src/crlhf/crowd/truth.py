"""Simulated truth: for each judgeable line of each completion, whether a careful reviewer would call it wrong.

`line_truths` makes the table that simulated annotators judge by; `label_noise` measures how far to trust it.

Departs from the paper: its truth lies with people. Tests and comparison stand in for them where the crowd is simulated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from crlhf.crowd.label_noise import LabelNoise, label_noise
from crlhf.crowd.wrong_lines import WrongLines, find_wrong_lines
from crlhf.languages import get_language
from crlhf.schema import LINE_TRUTHS, Verdict

__all__ = ["LabelNoise", "WrongLines", "find_wrong_lines", "label_noise", "line_truths", "passing_programs"]


def passing_programs(completions: pd.DataFrame, verdicts: Sequence[Verdict]) -> dict[str, list[str]]:
    """problem_id -> the codes of its completions that passed, each once, sorted. Problems without any are left out."""
    passed = {verdict.program_id for verdict in verdicts if verdict.verdict == "pass"}
    found: dict[str, set[str]] = {}
    for row in completions.itertuples():
        if row.completion_id in passed:
            found.setdefault(str(row.problem_id), set()).add(str(row.code))
    return {problem_id: sorted(codes) for problem_id, codes in found.items()}


def line_truths(completions: pd.DataFrame, problems: pd.DataFrame, verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """LINE_TRUTHS of the completions, in their order; a completion that failed has at least one wrong line.

    A completion is compared with the reference solution of its problem and the completions of it that passed; where
    the prompt is a header, with the completions only, since they go on from that header and the reference is a whole
    program. A completion without a judgeable line gives no row.

    Args:
        completions: under COMPLETIONS.
        problems: under PROBLEMS, at least those of the completions.
        verdicts: one for each completion, matched by `program_id` == `completion_id`; `line_no` counts lines of `code`.

    Raises:
        ValueError: a completion has no verdict or no problem.
    """
    passing = passing_programs(completions, verdicts)
    by_id = {verdict.program_id: verdict for verdict in verdicts}
    by_problem: Mapping[str, dict[str, Any]] = {str(row["problem_id"]): dict(row) for _, row in problems.iterrows()}
    rows: list[tuple[str, int, bool, str]] = []
    for row in completions.itertuples():
        completion_id, problem_id, code = str(row.completion_id), str(row.problem_id), str(row.code)
        if completion_id not in by_id or problem_id not in by_problem:
            raise ValueError(f"completion {completion_id} of problem {problem_id} has no verdict or no problem")
        problem = by_problem[problem_id]
        language = get_language(problem["language"])
        others = passing.get(problem_id, []) + [problem["reference"]] * (problem["kind"] == "description")
        verdict, finish_reason = by_id[completion_id], str(row.finish_reason)
        wrong = find_wrong_lines(code, verdict, finish_reason, others, problem["entry_point"], language)
        rows += [(completion_id, no, no in wrong.line_nos, wrong.method) for no in language.judgeable_lines(code)]
    return pd.DataFrame(rows, columns=list(LINE_TRUTHS.column_names)).astype({"line_no": "int64", "is_wrong": "bool"})
