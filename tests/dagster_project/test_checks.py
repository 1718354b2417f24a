"""Checks are declared where the stage's code is; dvc.yaml only points there."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from dagster_project.checks import DeclaredCheck, declared_checks
from dagster_project.graph import GraphError, Stage


class Record(NamedTuple):
    name: str
    description: str


WANTED = (DeclaredCheck("a", "first"), DeclaredCheck("b", "second"))
FORMS = {
    "mapping": {"a": "first", "b": "second"},
    "pairs": [("a", "first"), ("b", "second")],
    "records": (Record("a", "first"), Record("b", "second")),
    "mapping_to_records": {"a": Record("x", "first"), "b": Record("y", "second")},
}


def _stage(path: object) -> Stage:
    return Stage("validated", "c", "", {} if path is None else {"checks": path}, (), {}, (), ())


@pytest.mark.parametrize("form", sorted(FORMS))
def test_every_form_of_declaration_reads_the_same(form, tmp_path, monkeypatch):
    module = tmp_path / "declared_forms.py"
    module.write_text("VALUE = None\n")
    monkeypatch.syspath_prepend(tmp_path)
    import importlib

    monkeypatch.setattr(importlib.import_module("declared_forms"), "VALUE", FORMS[form])
    assert declared_checks(_stage("declared_forms:VALUE")) == WANTED


def test_a_stage_without_a_declaration_has_no_checks():
    assert declared_checks(_stage(None)) == ()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("json.dumps", "is not of the form"),
        ("no_such_module_anywhere:X", "cannot be imported"),
        ("json:NO_SUCH_NAME", "cannot be imported"),
        ("math:pi", "neither a mapping nor a list"),
    ],
)
def test_a_wrong_declaration_names_the_stage_and_the_key(path, message):
    with pytest.raises(GraphError, match=rf"^dvc.yaml, stage validated, meta.checks: .*{message}"):
        declared_checks(_stage(path))
