"""dvc.yaml and Dagster hold the same graph: the fixture's, and the project's own."""

from __future__ import annotations

import re
from pathlib import Path

import dagster as dg
import pytest

from dagster_project.graph import GraphError, load_graph

REPO = Path(__file__).resolve().parents[2]


def _dvc_edges(dot: str) -> set[tuple[str, str]]:
    """The edges of `dvc dag --dot`."""
    return set(re.findall(r'"([^"]+)" -> "([^"]+)"', dot))


def _dagster_edges(definitions: dg.Definitions) -> set[tuple[str, str]]:
    """Edges between stages as Dagster has them, in the direction and by the names of `dvc dag`."""
    assets = definitions.resolve_asset_graph()
    stages = assets.materializable_asset_keys
    return {
        ("@".join(parent.path), "@".join(key.path))
        for key in stages
        for parent in assets.get(key).parent_keys
        if parent in stages
    }


def test_dagster_has_the_edges_that_dvc_dag_prints(new_project):
    definitions = new_project.definitions()
    assert _dagster_edges(definitions) == _dvc_edges(new_project.dvc("dag", "--dot"))
    assets = definitions.resolve_asset_graph()
    assert assets.get(dg.AssetKey("numbers")).parent_keys == {
        dg.AssetKey(["data", "raw"]),
        dg.AssetKey(["data", "extra.txt"]),
    }
    assert assets.observable_asset_keys == {dg.AssetKey(["data", "raw"]), dg.AssetKey(["data", "extra.txt"])}


def test_group_owner_kinds_description_and_checks_come_from_dvc_yaml(new_project):
    definitions = new_project.definitions()
    specs = {spec.key.to_user_string(): spec for spec in definitions.resolve_all_asset_specs()}
    numbers = specs["numbers"]
    assert (numbers.group_name, numbers.owners, numbers.kinds) == ("data", ["team:data"], {"python", "parquet"})
    assert numbers.description == "Numbers read from the raw files.\n\n`python code/stage.py numbers`"
    assert specs["scores/base"].group_name == "scores_base"
    checks = definitions.resolve_asset_graph().asset_check_keys
    assert {(key.asset_key.to_user_string(), key.name) for key in checks} == {
        ("evens", "evens_are_few"),
        ("evens", "evens_are_even"),
    }


def test_there_is_a_job_for_everything_and_one_for_each_group(new_project):
    names = {job.name for job in new_project.definitions().resolve_all_job_defs() if not job.name.startswith("__")}
    assert names == {"everything", "group_data", "group_model", "group_scores_base", "group_scores_tuned"}


def test_more_kinds_than_dagster_shows_is_an_error_that_names_the_stage(new_project):
    new_project.edit("dvc.yaml", "kinds: [python, parquet]", "kinds: [a, b, c, d]")
    with pytest.raises(GraphError, match=r"stage numbers, meta\.kinds: Dagster shows at most 3"):
        new_project.definitions()


def test_the_projects_own_graph_is_the_same_on_both_sides(run_dvc):
    from dagster_project.definitions import build_definitions

    definitions = build_definitions(REPO)
    assert _dagster_edges(definitions) == _dvc_edges(run_dvc(REPO, "dag", "--dot"))
    stages = {"@".join(key.path) for key in definitions.resolve_asset_graph().materializable_asset_keys}
    assert stages == set(load_graph(REPO).stages)
