"""Small annotation tables, written as strings of marks."""

import pandas as pd
import pytest

from crlhf.params import ReliabilityParams


def tables(programs: dict[str, str | None], n_lines: int, marks: dict[tuple[str, str], str]):
    """Annotations and items.

    `programs` maps a completion to its truth ("-x-": line 2 is wrong) or to None when it is not a honeypot; `marks`
    maps (annotator, completion) to the annotator's verdicts in the same letters.
    """
    items = pd.DataFrame(
        [
            {
                "completion_id": name,
                "line_nos": list(range(1, n_lines + 1)),
                "is_honeypot": truth is not None,
                "wrong_line_nos": None if truth is None else [no for no, mark in enumerate(truth, 1) if mark == "x"],
            }
            for name, truth in programs.items()
        ],
        columns=["completion_id", "line_nos", "is_honeypot", "wrong_line_nos"],
    )
    annotations = pd.DataFrame(
        [
            {
                "annotator_id": annotator,
                "completion_id": completion,
                "line_no": no,
                "verdict": "wrong" if mark == "x" else "ok",
            }
            for (annotator, completion), text in marks.items()
            for no, mark in enumerate(text, 1)
        ],
        columns=["annotator_id", "completion_id", "line_no", "verdict"],
    ).astype({"line_no": "int64"})
    return annotations, items


@pytest.fixture
def make_tables():
    return tables


@pytest.fixture
def params():
    return ReliabilityParams(
        estimator="honeypot_beta",
        coins=2,
        prior_accuracy=(4, 2),
        prior_sensitivity=(2, 2),
        prior_specificity=(4, 1),
        line_correlation=0.2,
        min_honeypots=1,
    )
