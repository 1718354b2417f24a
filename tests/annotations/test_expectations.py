from __future__ import annotations

import json
import logging
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from crlhf.annotations.expectations import EXPECTATION_CHECKS, Validation, _derived_tables, validate
from crlhf.annotations.rule_names import RULES
from crlhf.annotations.rules import find_faults, split_rows
from crlhf.annotations.suite import run_suite
from crlhf.params import ValidationParams

Row = Callable[..., dict[str, Any]]


def failed(validation: Validation) -> dict[str, int]:
    return {check.name: check.n_unexpected for check in validation.checks if not check.passed}


@pytest.fixture
def faulty(raw: pd.DataFrame, make_row: Row) -> pd.DataFrame:
    """Sound answers and, below them, every rule broken at least once, alone and together."""
    late = {"submitted_at": "2025-01-02T00:00:00Z"}
    changes: list[dict[str, Any]] = [
        {"completion_id": "c9"},
        {"completion_id": "c9", "line_no": 0, "verdict": "?"},
        {"completion_id": None},
        {"problem_id": "p/9"},
        {"problem_id": None},
        {"code_sha256": "0" * 64},
        {"is_honeypot": True},
        {"is_honeypot": None},
        {"line_no": 0},
        {"line_no": 6},
        {"line_no": 2**53},
        {"line_no": 4},
        {"line_no": None},
        {"verdict": "Wrong"},
        {"verdict": None, "status": None},
        {"status": "done"},
        {"status": ""},
        {"annotator_id": ""},
        {"annotator_id": "\t"},
        {"annotator_id": None},
        {"duration_s": -1.0},
        {"duration_s": float("inf")},
        {"duration_s": float("-inf")},
        {"duration_s": float("nan")},
        {"submitted_at": "soon"},
        {"submitted_at": None},
        {"started_at": "2025-13-01T00:00:00Z"},
        {"status": "rejected", "verdict": "maybe"},
    ]
    rows = [make_row("ann", "c1", 1, 100 + number, **late) | change for number, change in enumerate(changes)]
    rows += [make_row("ann", "c1", 1, 1000), make_row("bob", "h1", 1, 1001, verdict="wrong")]  # a copy; a contradiction
    rows += [make_row("dan", "h2", 1, 1002), make_row("dan", "c1", 1, 1003, status="draft")]  # incomplete; set aside
    rows += [make_row("eve", "h2", line, 1004 + line, status="unknown", duration_s=0.2) for line in (1, 2)]
    return pd.concat([raw, pd.DataFrame(rows)], ignore_index=True)


def test_expectations_and_rules_find_the_same_rows(
    faulty: pd.DataFrame, items: pd.DataFrame, params: ValidationParams
) -> None:
    faults = find_faults(faulty, items).faults
    assert faults.any().all(), "every rule must be broken somewhere in this table"
    specs = [spec for spec in EXPECTATION_CHECKS if spec.name in RULES]
    outcomes = run_suite(_derived_tables(faulty, items, None), specs, params, "COMPLETE")
    for rule in RULES:
        rows = {
            place["source_row"]
            for outcome in outcomes
            if outcome.check == rule
            for place in outcome.result.result["unexpected_index_list"]
        }
        assert rows == set(faulty.loc[faults[rule], "source_row"]), rule
    checks = {check.name: check.n_unexpected for check in validate(faulty, items, params).checks}
    assert {rule: checks[rule] for rule in RULES} == faults.sum().to_dict()
    quarantined = split_rows(faulty, items).quarantine["rule"].value_counts()
    assert {rule: checks[rule] for rule in RULES} == quarantined.to_dict()


def test_a_sound_table_passes_every_check_in_the_declared_order(
    raw: pd.DataFrame, items: pd.DataFrame, params: ValidationParams
) -> None:
    validation = validate(raw, items, params)
    assert failed(validation) == {}
    assert validation.results["is_passed"]
    for check, spec in zip(validation.checks, EXPECTATION_CHECKS, strict=True):
        assert (check.name, check.severity, check.description) == (spec.name, spec.severity, spec.description)


def test_warnings_name_annotators_durations_and_unknown_statuses(
    raw: pd.DataFrame, items: pd.DataFrame, params: ValidationParams
) -> None:
    # bob's answer on h2 goes: one honeypot is left to him, two are asked; 3601 s and 0.9 s are out of bounds
    table = raw[~((raw["annotator_id"] == "bob") & (raw["completion_id"] == "h2"))].copy()
    table.loc[table.index[:2], "duration_s"] = [3601.0, 0.9]
    table.loc[table.index[3:6], "status"] = "unknown"
    validation = validate(table, items, params)
    assert failed(validation) == {"honeypot_coverage": 1, "duration_plausible": 2, "status_given": 3}
    assert {check.severity for check in validation.checks if not check.passed} == {"warning"}
    assert validation.results["is_passed"]
    coverage = next(check for check in validation.results["checks"] if check["name"] == "honeypot_coverage")
    assert coverage["expectations"][0]["examples"] == [{"annotator_id": "bob", "n_honeypots": 1}]
    assert coverage["description"].endswith("not so for 1 of 3 annotators: bob")


def test_an_empty_table_does_not_pass(raw: pd.DataFrame, items: pd.DataFrame, params: ValidationParams) -> None:
    validation = validate(raw.iloc[:0], items, params)
    assert failed(validation) == {"has_rows": 1, "verdicts_remain": 1}
    assert "the raw table has at least one row -- not so" in {check.description for check in validation.checks}
    assert not validation.results["is_passed"]


def test_a_table_of_skipped_rows_alone_does_not_pass(
    raw: pd.DataFrame, items: pd.DataFrame, params: ValidationParams
) -> None:
    assert failed(validate(raw.assign(status="skipped"), items, params)) == {"verdicts_remain": 1}


def test_a_missing_column_is_a_failed_check_that_can_be_read(
    raw: pd.DataFrame, items: pd.DataFrame, params: ValidationParams
) -> None:
    validation = validate(raw.drop(columns=["verdict", "status"]), items, params)
    checks = {check.name: check for check in validation.checks}
    assert checks["has_rows"].passed
    assert checks["columns_present"].n_unexpected == 2
    assert checks["columns_present"].description == (
        "the raw table has every declared column -- not so for 2 of 16 columns: verdict, status"
    )
    assert "could not be asked" in checks["verdict_known"].description
    assert [check.name for check in validation.checks if check.passed] == ["has_rows"]


def test_a_column_of_another_type_is_a_failed_check(
    raw: pd.DataFrame, items: pd.DataFrame, params: ValidationParams
) -> None:
    checks = {check.name: check for check in validate(raw.assign(line_no="one"), items, params).checks}
    assert checks["columns_present"].passed
    assert not checks["column_types"].passed
    assert checks["column_types"].description.endswith("not so for 1 of 16 columns: line_no")


def test_results_are_the_same_bytes_again_and_small(
    faulty: pd.DataFrame, items: pd.DataFrame, params: ValidationParams
) -> None:
    first, second = (json.dumps(validate(faulty, items, params).results, allow_nan=False) for _ in range(2))
    assert first == second
    many = pd.concat([faulty] * 50, ignore_index=True)
    assert len(json.dumps(validate(many, items, params).results)) < 2 * len(first)


def test_data_docs_read_offline_and_are_the_same_bytes_again(
    faulty: pd.DataFrame, items: pd.DataFrame, params: ValidationParams, tmp_path: Path
) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "old.html").write_text("a page of an earlier run")
    for name in ("one", "two"):
        validate(faulty, items, params, tmp_path / name)
    pages = {path.name: path.read_text() for path in sorted((tmp_path / "one").iterdir())}
    assert list(pages) == ["annotations.html", "annotators.html", "columns.html", "index.html"]
    assert pages == {path.name: path.read_text() for path in (tmp_path / "two").iterdir()}
    for text in pages.values():
        assert not re.findall(r"""(?:src|href)\s*=\s*["']?\s*(?:https?:)?//|url\(|<script|@import""", text)
    for spec in EXPECTATION_CHECKS:
        assert spec.name in pages["index.html"]
        assert f"{spec.name}: " in pages[f"{spec.table}.html"]
    for link in re.findall(r'href="(?!#)([^"]+)"', pages["index.html"]):
        assert link in pages
    assert "c9" not in pages["index.html"]
    assert "Wrong" in pages["annotations.html"]


def test_values_are_escaped_in_data_docs(
    raw: pd.DataFrame, items: pd.DataFrame, params: ValidationParams, tmp_path: Path
) -> None:
    raw.loc[0, "verdict"] = "<img src=x onerror=alert(1)>"
    validate(raw, items, params, tmp_path)
    text = (tmp_path / "annotations.html").read_text()
    assert "<img" not in text
    assert "&lt;img" in text


def test_nothing_is_sent_and_nothing_is_printed(
    raw: pd.DataFrame,
    items: pd.DataFrame,
    params: ValidationParams,
    *,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    validate(raw, items, params, tmp_path)
    assert capfd.readouterr() == ("", "")


def test_checks_are_declared_without_heavy_imports() -> None:
    code = (
        "import sys; from crlhf.annotations.expectations import EXPECTATION_CHECKS; assert EXPECTATION_CHECKS;"
        "print(sorted({'great_expectations', 'pandas', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert len({spec.name for spec in EXPECTATION_CHECKS}) == len(EXPECTATION_CHECKS)
