"""Asset checks that a stage declares in dvc.yaml: `meta: {checks: "package.module:NAME"}`.

Dagster wants to know the checks of an asset before it runs. A stage that makes checks keeps their names where its code
is, and dvc.yaml points there; nothing is listed twice.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from dagster_project.graph import GraphError, Stage


class DeclaredCheck(NamedTuple):
    """A check that a stage will report: its name and one line on what it demands."""

    name: str
    description: str


def declared_checks(stage: Stage) -> tuple[DeclaredCheck, ...]:
    """The checks that `meta.checks` of the stage points to; none where it does not say.

    The attribute may map names to descriptions, or list names, pairs, or records with `name` and `description`.

    Raises:
        GraphError: the path leads nowhere, or to something else.
    """
    path = stage.meta.get("checks")
    if path is None:
        return ()
    where = f"dvc.yaml, stage {stage.name}, meta.checks"
    module, colon, attribute = str(path).partition(":")
    if not colon:
        raise GraphError(f'{where}: "{path}" is not of the form package.module:NAME')
    try:
        declared = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise GraphError(f"{where}: {path} cannot be imported: {error}") from error
    if not isinstance(declared, Iterable):
        raise GraphError(f"{where}: {path} is neither a mapping nor a list of checks")
    items: Iterable[Any] = declared.items() if isinstance(declared, Mapping) else declared
    return tuple(_read(item) for item in items)


def _read(item: Any) -> DeclaredCheck:
    if isinstance(item, str):
        return DeclaredCheck(item, "")
    if hasattr(item, "name"):
        return DeclaredCheck(item.name, getattr(item, "description", ""))
    name, description = item
    return DeclaredCheck(name, getattr(description, "description", None) or str(description))
