"""A small raw table that breaks no rule: three annotators, one plain completion and two honeypots."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from crlhf.params import ValidationParams
from crlhf.schema import ANNOTATIONS, ITEMS

CODES = {
    # completion: (problem, code, judgeable lines, is it a honeypot, its wrong lines)
    "c1": ("p/1", "def f(x):\n    # twice\n    y = 2 * x\n\n    return y", [1, 3, 5], False, None),
    "h1": ("p/1", "def f(x):\n    return x + x", [1, 2], True, []),
    "h2": ("p/2", "def g(x):\n    return x - 1", [1, 2], True, [2]),
}


@pytest.fixture
def items() -> pd.DataFrame:
    rows = [
        (name, problem, code, hashlib.sha256(code.encode()).hexdigest(), lines, is_honeypot, wrong, "policy", "")
        for name, (problem, code, lines, is_honeypot, wrong) in CODES.items()
    ]
    return pd.DataFrame(rows, columns=list(ITEMS.column_names))


@pytest.fixture
def params() -> ValidationParams:
    return ValidationParams(min_honeypots_per_annotator=2, min_duration_s=1.0, max_duration_s=3600.0)


def row_of(annotator: str, completion: str, line_no: int, source_row: int, **changes: Any) -> dict[str, Any]:
    problem, code, _, is_honeypot, _ = CODES[completion]
    row = {
        "batch_id": "b1",
        "problem_id": problem,
        "completion_id": completion,
        "code_sha256": hashlib.sha256(code.encode()).hexdigest(),
        "annotator_id": annotator,
        "line_no": line_no,
        "verdict": "ok",
        "error_type": "",
        "is_honeypot": is_honeypot,
        "status": "submitted",
        "started_at": "2025-01-01T10:00:00+00:00",
        "submitted_at": "2025-01-01T10:01:00+00:00",
        "duration_s": 60.0,
        "source": "page",
        "source_file": "a.jsonl",
        "source_row": source_row,
    }
    return row | changes


@pytest.fixture
def make_row() -> Callable[..., dict[str, Any]]:
    return row_of


@pytest.fixture
def raw() -> pd.DataFrame:
    """Every annotator's whole answer on every item: 3 annotators x (3 + 2 + 2) lines = 21 rows."""
    places = [(who, name, line) for who in ("ann", "bob", "cyd") for name in CODES for line in CODES[name][2]]
    rows = [row_of(*place, number) for number, place in enumerate(places, 1)]
    return pd.DataFrame(rows, columns=list(ANNOTATIONS.column_names))
