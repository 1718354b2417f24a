"""The graph is DVC's own, and its cache never outlives what it was made from."""

from __future__ import annotations

import pytest

from dagster_project import graph as graph_module
from dagster_project.graph import GraphError, load_graph, overlap, read_graph
from dagster_project.versions import code_version, locked_code_version


def test_foreach_stages_and_their_edges_are_those_of_the_fixture(new_project):
    graph = read_graph(new_project.root)
    edges = {(name, other) for name, stage in graph.stages.items() for other in stage.upstream}
    # scores reads models/scaled/factor.txt, a file inside the folder that `scaled` makes
    expected = {("evens", "numbers"), ("scaled", "numbers")}
    for item in ("base", "tuned"):
        expected |= {(f"scores@{item}", "scaled"), (f"scores@{item}", "evens")}
    assert edges == expected
    assert graph.stages["scores@base"].key_path == ("scores", "base")
    assert graph.stages["scores@tuned"].params == {"params.yaml": {"offset.tuned": 1}}
    assert graph.stages["scores@tuned"].description == "Scores of tuned."


def test_every_stage_comes_after_all_it_reads_from(new_project):
    order = list(read_graph(new_project.root).stages)
    assert order.index("numbers") < order.index("evens") < order.index("scores@base")
    assert order.index("scaled") < order.index("scores@tuned")


def test_files_no_stage_makes_are_raw_below_data_and_code_elsewhere(new_project):
    graph = read_graph(new_project.root)
    assert graph.raw_paths == ("data/extra.txt", "data/raw")
    assert graph.code_deps(graph.stages["numbers"]) == ("code",)
    assert graph.raw_deps(graph.stages["scaled"]) == ()


def test_the_code_version_of_finished_stages_is_the_one_in_the_lock_file(project):
    graph = read_graph(project.root)
    for stage in graph.stages.values():
        assert code_version(graph, stage) == locked_code_version(graph, stage), stage.name


def test_an_unchanged_project_is_not_read_twice_and_a_changed_one_is(new_project, monkeypatch):
    first = load_graph(new_project.root)
    with monkeypatch.context() as patch:
        patch.setattr(graph_module, "_snapshot", lambda root: pytest.fail("DVC was started for an unchanged project"))
        assert load_graph(new_project.root) == first
    for file, old, new in (
        ("params.yaml", "seed: 1", "seed: 2"),
        ("dvc.yaml", "Numbers read", "Numbers taken"),
        ("data/raw/a.txt", "1\n", "1\n1\n"),
        ("code/stage.py", "import time", "import time  # edited"),
    ):
        new_project.edit(file, old, new)
        again = load_graph(new_project.root)
        assert again != first, file
        first = again
    assert first[:2] == read_graph(new_project.root)[:2]


def test_compiled_python_does_not_count_as_changed_code(new_project, monkeypatch):
    load_graph(new_project.root)
    (new_project.root / "code" / "__pycache__").mkdir()
    (new_project.root / "code" / "__pycache__" / "stage.pyc").write_bytes(b"compiled")
    monkeypatch.setattr(graph_module, "_snapshot", lambda root: pytest.fail("DVC was started"))
    load_graph(new_project.root)


def test_a_damaged_cache_is_made_again(new_project):
    first = load_graph(new_project.root)
    (new_project.root / ".crlhf/dagster/graph.json").write_text('{"fingerprint": "x", "snapshot": {"sta')
    assert load_graph(new_project.root) == first


def test_a_broken_pipeline_file_is_one_clear_error(new_project):
    (new_project.root / "dvc.yaml").write_text("stages:\n  a:\n    cmd: [unclosed\n")
    with pytest.raises(GraphError, match=r"^DVC cannot read the pipeline in .*dvc.yaml") as caught:
        read_graph(new_project.root)
    assert "Traceback" not in str(caught.value)


def test_paths_overlap_by_whole_names_only():
    assert overlap("models/scaled", "models/scaled/factor.txt")
    assert overlap("models/scaled/factor.txt", "models/scaled/")
    assert not overlap("models/scaled", "models/scaled2")
