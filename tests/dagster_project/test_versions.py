"""An input counts as current exactly when what was read of it is unchanged."""

from __future__ import annotations

from dagster_project.graph import Graph, LockEntry, Out, Stage
from dagster_project.versions import code_version, data_version, input_versions, locked_code_version, up_to_date

MAKER = Stage("maker", "make", "", {}, (), {}, (Out("a", True, False), Out("b", True, False)), ())
READER = Stage("reader", "read", "", {}, ("a", "data/raw"), {}, (Out("c", True, False),), ("maker",))


def _graph(read_a: str, made_a: str, made_b: str = "2", raw_now: str = "r") -> Graph:
    lock = {
        "maker": LockEntry("make", {}, {}, {"a": made_a, "b": made_b}),
        "reader": LockEntry("read", {"a": read_a, "data/raw": "r"}, {}, {"c": "3"}),
    }
    return Graph({"maker": MAKER, "reader": READER}, {"data/raw": raw_now}, lock)


def test_another_output_of_the_same_stage_does_not_make_a_reader_stale():
    before, after = _graph("1", "1", made_b="2"), _graph("1", "1", made_b="other")
    for graph in (before, after):
        version = input_versions(graph, READER)["maker"]
        assert version.read == version.current
    assert input_versions(before, READER)["maker"] != input_versions(after, READER)["maker"]


def test_the_output_that_was_read_makes_its_reader_stale():
    version = input_versions(_graph("1", "changed"), READER)["maker"]
    assert version.current == data_version({"a": "changed", "b": "2"})
    assert version.read != version.current


def test_a_raw_file_has_the_version_that_was_read_and_the_one_on_disk():
    assert input_versions(_graph("1", "1", raw_now="edited"), READER)["data/raw"] == ("r", "edited")


def test_an_upstream_stage_that_never_ran_has_no_current_version():
    graph = _graph("1", "1")
    graph = graph._replace(lock={"reader": graph.lock["reader"]})
    version = input_versions(graph, READER)["maker"]
    assert version.current is None
    assert version.read


def test_a_file_inside_an_output_folder_is_compared_with_the_disk():
    maker = MAKER._replace(outs=(Out("folder", True, False),))
    reader = READER._replace(deps=("folder/file",))
    lock = {
        "maker": LockEntry("make", {}, {}, {"folder": "f.dir"}),
        "reader": LockEntry("read", {"folder/file": "1"}, {}, {}),
    }
    for on_disk, is_current in (("1", True), ("2", False)):
        graph = Graph({"maker": maker, "reader": reader}, {"folder/file": on_disk}, lock)
        version = input_versions(graph, reader)["maker"]
        assert (version.read == version.current) is is_current


def test_a_code_dependency_that_dvc_yaml_dropped_changes_the_locked_code_version():
    graph = _graph("1", "1")
    entry = graph.lock["reader"]
    dropped = graph._replace(lock={**graph.lock, "reader": entry._replace(deps={**entry.deps, "src/old.py": "9"})})
    assert locked_code_version(graph, READER) != locked_code_version(dropped, READER)


def test_what_rests_on_a_stale_stage_is_not_up_to_date():
    maker = MAKER._replace(cmd="make")
    last = Stage("last", "last", "", {}, ("c",), {}, (Out("d", True, False),), ("reader",))
    graph = _graph("1", "1")
    lock = {
        "maker": LockEntry(maker.cmd, {}, {}, {"a": "1", "b": "2"}),
        "reader": graph.lock["reader"],
        "last": LockEntry("last", {"c": "3"}, {}, {"d": "4"}),
    }
    graph = Graph({"maker": maker, "reader": READER, "last": last}, {"data/raw": "r"}, lock)
    assert up_to_date(graph) == ["maker", "reader", "last"]
    assert up_to_date(graph._replace(hashes={"data/raw": "edited"})) == ["maker"]
    edited = {**graph.stages, "reader": READER._replace(cmd="read --more")}
    assert up_to_date(graph._replace(stages=edited)) == ["maker"]
    assert up_to_date(graph._replace(lock={name: lock[name] for name in ("reader", "last")})) == []


def test_code_versions_follow_the_command_the_params_and_the_code_but_not_the_data():
    stage = Stage("s", "run", "", {}, ("src", "data/raw"), {"params.yaml": {"lr": 1e-5}}, (), ())
    graph = Graph({"s": stage}, {"src": "1", "data/raw": "2"}, {})
    version = code_version(graph, stage)
    assert code_version(graph._replace(hashes={"src": "1", "data/raw": "other"}), stage) == version
    assert code_version(graph._replace(hashes={"src": "other", "data/raw": "2"}), stage) != version
    assert code_version(graph, stage._replace(params={"params.yaml": {"lr": 2e-5}})) != version
    assert code_version(graph, stage._replace(cmd="run --fast")) != version
