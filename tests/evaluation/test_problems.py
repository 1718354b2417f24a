import hashlib
import http.server
import json
import shutil
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crlhf.errors import InputError, IntegrityError, MissingInputError
from crlhf.evaluation import mbpp_file
from crlhf.evaluation.problems import find_mbpp, load_humaneval, load_mbpp, load_starter
from crlhf.languages.python import find_entry_point
from crlhf.schema import PROBLEMS
from crlhf.store import to_arrow

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "mbpp"
SAMPLE = FIXTURES / "mbpp-sample.jsonl"
STARTER_ROW = {
    "number": 1,
    "entry_point": "twice",
    "description": "Write a function to double a number.",
    "reference": "def twice(x):\n    return 2 * x\n",
    "tests": [f"assert twice({n}) == {2 * n}" for n in range(5)],
    "setup_code": "",
    "topics": ["numbers"],
}


def quiet(text):
    pass


@pytest.fixture
def published(monkeypatch):
    """Take the sample for the published file."""
    content = SAMPLE.read_bytes()
    monkeypatch.setattr(mbpp_file, "MBPP_SHA256", hashlib.sha256(content).hexdigest())
    return content


@pytest.fixture
def server(tmp_path):
    """A web server on this machine; `pages` maps paths to bytes, everything else is not found."""
    pages = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = pages.get(self.path)
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body or b"")

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}", pages
        running.shutdown()


@pytest.fixture
def closed_port(monkeypatch):
    """Addresses at which nobody listens, for the official file and for the Hub."""
    monkeypatch.setattr(mbpp_file, "MBPP_URL", "http://127.0.0.1:9/mbpp.jsonl")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


# Tables


def test_humaneval_references_extend_their_headers():
    table = load_humaneval()
    assert table["problem_id"].tolist() == [f"humaneval/{n}" for n in range(164)]
    assert set(table["kind"]) == {"header"}
    assert set(table["split"]) == {"test"}
    for row in table.itertuples():
        assert row.reference.startswith(row.prompt)
        assert len(row.tests) == 1
        assert row.tests[0].endswith(f"\ncheck({row.entry_point})\n")
    to_arrow(PROBLEMS, table)


def test_humaneval_reference_passes_its_test():
    row = load_humaneval().set_index("problem_id").loc["humaneval/0"]
    space = {}
    exec(row["reference"], space)
    exec(row["tests"][0], space)
    with pytest.raises(AssertionError):
        exec("def has_close_elements(*a): return False\n" + row["tests"][0], {})


def test_mbpp_rows_keep_text_and_tests_and_split_by_task_id():
    table = load_mbpp(SAMPLE).set_index("problem_id")
    to_arrow(PROBLEMS, table.reset_index())
    row = table.loc["mbpp/2"]
    assert row["prompt"] == "Write a function to find the similar elements from the given two tuple lists."
    assert row["tests"][0] == "assert similar_elements((3, 4, 5, 6),(5, 7, 4, 10)) == (4, 5)"
    assert (row["entry_point"], row["split"], row["kind"]) == ("similar_elements", "prompt", "description")
    assert row["reference"] == (
        "def similar_elements(test_tup1, test_tup2):\n  res = tuple(set(test_tup1) & set(test_tup2))\n  return (res) "
    )
    assert table.loc["mbpp/367", "setup_code"].startswith("root = Node(1) \nroot.left = Node(2) \n")
    assert table.loc["mbpp/367", "entry_point"] == "is_tree_balanced"


@pytest.mark.parametrize(
    ("task_id", "split"),
    [(1, "prompt"), (10, "prompt"), (11, "test"), (510, "test"), (511, "validation"), (600, "validation"),
     (601, "train"), (974, "train")],
)  # fmt: skip
def test_mbpp_splits_end_where_the_authors_end_them(tmp_path, task_id, split):
    row = {**json.loads(SAMPLE.read_text(encoding="utf-8").splitlines()[0]), "task_id": task_id}
    assert load_mbpp(write_rows(tmp_path / "mbpp.jsonl", [row]))["split"].tolist() == [split]


def test_mbpp_has_no_task_975(tmp_path):
    row = {**json.loads(SAMPLE.read_text(encoding="utf-8").splitlines()[0]), "task_id": 975}
    with pytest.raises(InputError, match=r"mbpp\.jsonl, row 1: task_id 975"):
        load_mbpp(write_rows(tmp_path / "mbpp.jsonl", [row]))


def test_entry_point_is_what_the_tests_call_and_the_program_defines():
    code = "def helper(x):\n    return x\n\n\ndef main_one(x):\n    return helper(x)\n"
    assert find_entry_point(code, ["assert main_one(1) == 1"]) == "main_one"
    assert find_entry_point(code, ["assert set(main_one(1)) == {1}"]) == "main_one"
    assert find_entry_point(code, ["assert not main_one(helper(1))", "assert main_one(2)"]) == "main_one"
    # MBPP's task 601 builds its arguments with a class of the program: called as often, defined earlier
    assert load_mbpp(SAMPLE).set_index("problem_id").loc["mbpp/601", "entry_point"] == "max_chain_length"


def test_tests_that_call_nothing_of_the_program_have_no_entry_point(tmp_path):
    row = {**json.loads(SAMPLE.read_text(encoding="utf-8").splitlines()[0]), "test_list": ["assert other(1) == 1"]}
    with pytest.raises(InputError, match=r"row 1: no entry point: the tests call nothing"):
        load_mbpp(write_rows(tmp_path / "mbpp.jsonl", [row]))


def test_starter_row_becomes_a_problem(tmp_path):
    table = load_starter(write_rows(tmp_path / "problems.jsonl", [STARTER_ROW]))
    assert table.to_dict("records") == [
        {
            "problem_id": "starter/1",
            "source": "starter",
            "split": "train",
            "language": "python",
            "kind": "description",
            "prompt": "Write a function to double a number.",
            "entry_point": "twice",
            "setup_code": "",
            "reference": "def twice(x):\n    return 2 * x\n",
            "tests": STARTER_ROW["tests"],
        }
    ]
    to_arrow(PROBLEMS, table)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"number": "1"}, "field number must be a int"),
        ({"number": True}, "field number must be a int"),
        ({"description": None}, "field description must be a str"),
        ({"description": "  "}, "the description is empty"),
        ({"tests": ["assert twice(1) == 2"] * 4}, "4 tests, at least 5 are needed"),
        ({"tests": [1, 2, 3, 4, 5]}, "field tests must hold texts only"),
        ({"tests": ["assert 1 == 1"] * 5}, "a test does not name twice"),
        ({"tests": ["assert twice("] * 5}, "a test is not Python"),
        ({"reference": "def twice(x)"}, "the reference is not Python"),
        ({"reference": "def thrice(x):\n    return 3 * x"}, "the reference does not define twice"),
        ({"reference": "x = '\0'"}, "the reference is not Python"),
    ],
)
def test_bad_starter_row_names_file_row_and_rule(tmp_path, change, rule):
    path = write_rows(tmp_path / "problems.jsonl", [STARTER_ROW, {**STARTER_ROW, "number": 2, **change}])
    with pytest.raises(InputError) as caught:
        load_starter(path)
    assert str(caught.value).startswith(f"{path}, row 2: {rule}")


def test_number_used_twice_is_refused(tmp_path):
    with pytest.raises(InputError, match="row 2: the number 1 is used by an earlier row"):
        load_starter(write_rows(tmp_path / "problems.jsonl", [STARTER_ROW, STARTER_ROW]))


def test_starter_file_cut_in_the_middle_names_the_row(tmp_path):
    path = write_rows(tmp_path / "problems.jsonl", [STARTER_ROW, STARTER_ROW])
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputError, match="row 2: not JSON"):
        load_starter(path)


def test_missing_binary_and_empty_starter_files_are_refused(tmp_path):
    with pytest.raises(MissingInputError, match="no such file"):
        load_starter(tmp_path / "none.jsonl")
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="not UTF-8"):
        load_starter(tmp_path / "binary.jsonl")
    (tmp_path / "empty.jsonl").write_bytes(b"\n")
    with pytest.raises(InputError, match="holds no problem"):
        load_starter(tmp_path / "empty.jsonl")


@settings(max_examples=30, deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.integers(), lambda part: st.lists(part, max_size=3)))
def test_whatever_stands_in_a_field_is_refused_with_its_row(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "problems.jsonl"
    with pytest.raises(InputError, match="row 1: field entry_point must be a str"):
        load_starter(write_rows(path, [{**STARTER_ROW, "entry_point": value}]))


# Where MBPP comes from


def test_cache_comes_before_folders_and_folders_before_the_network(tmp_path, published, server, monkeypatch):
    address, pages = server
    pages["/mbpp.jsonl"] = published
    monkeypatch.setattr(mbpp_file, "MBPP_URL", f"{address}/mbpp.jsonl")
    cache, first, second = tmp_path / "cache", tmp_path / "first", tmp_path / "second"
    second.mkdir()
    shutil.copy(SAMPLE, second / "mbpp.jsonl")
    assert find_mbpp([first, second], cache, say=quiet) == (second / "mbpp.jsonl", str(second))
    assert not cache.exists()
    (cache / "benchmarks").mkdir(parents=True)
    shutil.copy(SAMPLE, cache / "benchmarks" / "mbpp.jsonl")
    assert find_mbpp([first, second], cache, say=quiet) == (cache / "benchmarks" / "mbpp.jsonl", "the cache")


def test_official_file_is_fetched_once_and_kept(tmp_path, published, server, monkeypatch):
    address, pages = server
    pages["/mbpp.jsonl"] = published
    monkeypatch.setattr(mbpp_file, "MBPP_URL", f"{address}/mbpp.jsonl")
    path, origin = find_mbpp([], tmp_path, say=quiet)
    assert (path.read_bytes(), origin) == (published, f"{address}/mbpp.jsonl")
    pages.clear()
    assert find_mbpp([], tmp_path, say=quiet) == (path, "the cache")


@pytest.mark.parametrize("place", ["folder", "cache"])
def test_file_with_a_wrong_hash_is_one_clear_sentence(tmp_path, place):
    folder = tmp_path / ("benchmarks" if place == "cache" else "mine")
    folder.mkdir()
    (folder / "mbpp.jsonl").write_bytes(b"{}\n")
    with pytest.raises(IntegrityError) as caught:
        find_mbpp([tmp_path / "mine"], tmp_path, allow_network=False, say=quiet)
    # sha256 of b"{}\n" begins with ca3d163bab05
    path = folder / "mbpp.jsonl"
    assert str(caught.value) == (
        f"{path}: its sha256 is ca3d163bab05..., expected ccf64ceae9c5...; remove the file and run again"
    )


def test_other_bytes_from_the_network_are_said_and_not_kept(tmp_path, published, server, monkeypatch, closed_port):
    address, pages = server
    pages["/mbpp.jsonl"] = b"<html>Please log in</html>"
    monkeypatch.setattr(mbpp_file, "MBPP_URL", f"{address}/mbpp.jsonl")
    said = []
    assert find_mbpp([], tmp_path, say=said.append) is None
    assert any("its sha256 is" in text for text in said)
    assert not (tmp_path / "benchmarks" / "mbpp.jsonl").exists()


def test_address_that_is_not_found_is_said(tmp_path, published, server, monkeypatch, closed_port):
    address, _ = server
    monkeypatch.setattr(mbpp_file, "MBPP_URL", f"{address}/gone.jsonl")
    said = []
    assert find_mbpp([], tmp_path, say=said.append) is None
    assert any("Not Found" in text for text in said)


def test_unreachable_sources_give_up_quickly_with_none(tmp_path, closed_port):
    said = []
    started = time.monotonic()
    assert find_mbpp([], tmp_path, say=said.append) is None
    assert time.monotonic() - started < 25  # far below the 30 s and more that waiting would take
    assert sum("cannot be reached" in text for text in said) == 2


def test_silent_name_server_does_not_hold_the_run_up(tmp_path, closed_port, monkeypatch):
    # a look-up that blocks: urllib's own time-out does not cover it
    monkeypatch.setattr(mbpp_file, "_PATIENCE_S", 0.2)
    release = threading.Event()

    def look_up(*args, **kwargs):
        release.wait(30)
        raise urllib.error.URLError("no such name")

    monkeypatch.setattr(urllib.request, "urlopen", look_up)
    started = time.monotonic()
    assert find_mbpp([], tmp_path, say=quiet) is None
    assert time.monotonic() - started < 25  # far below the 30 s and more that waiting would take
    release.set()


def test_without_leave_the_network_is_not_touched(tmp_path, monkeypatch):
    monkeypatch.setattr(urllib.request, "urlopen", lambda *args, **kwargs: pytest.fail("asked the network"))
    assert find_mbpp([tmp_path], tmp_path, allow_network=False, say=quiet) is None


def hub_tables(folder, rows):
    """The sample laid out as the Hub's dataset: one Parquet file a split, its columns in the Hub's order."""
    ends = {"prompt": (1, 10), "test": (11, 510), "validation": (511, 600), "train": (601, 974)}
    columns = ["task_id", "text", "code", "test_list", "test_setup_code", "challenge_test_list"]
    (folder / "full").mkdir(parents=True)
    for split, (first, last) in ends.items():
        part = [row for row in rows if first <= row["task_id"] <= last]
        pd.DataFrame(part, columns=columns).to_parquet(folder / "full" / f"{split}-00000-of-00001.parquet")


@pytest.fixture
def hub(tmp_path, server, monkeypatch):
    """A Hub of one dataset that answers at a local address, and no official file."""
    monkeypatch.setattr(mbpp_file, "MBPP_URL", "http://127.0.0.1:9/mbpp.jsonl")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server[0])
    folder = tmp_path / "dataset"

    def hf_hub_download(repo_id, filename, *, repo_type, cache_dir, etag_timeout):
        assert (repo_id, repo_type) == ("google-research-datasets/mbpp", "dataset")
        return str(folder / filename)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", hf_hub_download)
    return folder


def test_hub_tables_turn_into_the_published_bytes(tmp_path, published, hub):
    hub_tables(hub, [json.loads(line) for line in published.splitlines()])
    path, origin = find_mbpp([], tmp_path / "cache", say=quiet)
    assert path.read_bytes() == published
    assert origin == "the Hub dataset google-research-datasets/mbpp"
    assert find_mbpp([], tmp_path / "cache", say=quiet) == (path, "the cache")


def test_hub_tables_with_one_changed_test_are_not_used(tmp_path, published, hub):
    rows = [json.loads(line) for line in published.splitlines()]
    rows[5]["test_list"][0] += " "
    hub_tables(hub, rows)
    said = []
    assert find_mbpp([], tmp_path / "cache", say=said.append) is None
    assert said[-1].endswith("does not hold the published problems; it is not used")


def test_hub_that_fails_is_said(tmp_path, published, hub):
    said = []
    assert find_mbpp([], tmp_path / "cache", say=said.append) is None
    assert "cannot be read (FileNotFoundError" in said[-1]


def test_published_bytes_of_the_sample_are_its_own_whatever_the_order():
    rows = [json.loads(line) for line in SAMPLE.read_bytes().splitlines()]
    assert mbpp_file.published_bytes(rows[::-1]) == SAMPLE.read_bytes()
