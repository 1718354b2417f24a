"""Files that are broken, and files that are anything at all: one clear error or a quarantine, never a traceback."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crlhf.annotations.importers import IMPORTERS, importer_of
from crlhf.annotations.importers.opened import Opened
from crlhf.annotations.importers.resolving import resolve
from crlhf.errors import CrlhfError, InputError, MissingInputError
from tests.annotations.importers.crowd import FOLDER, KEY, PLAIN, items, read, rules

FIXTURES = sorted(path for path in FOLDER.iterdir() if path.suffix in (".json", ".csv", ".jsonl", ".tsv"))
FIXTURES = [path for path in FIXTURES if path.name != "items.json"]
NAMES = [importer.name for importer in IMPORTERS]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "the file is empty"),
        (b"\xef\xbb\xbf \r\n", "the file is empty"),
        ("task,worker,label\n".encode("utf-16"), "UTF-16"),
        (b"\x00\x01\x02", "no known format; name it with --format, one of label-studio, label-studio-csv, argilla"),
        (b"a,b\n1,2\n", "no known format"),
        (b'{"a": 1}', "no known format"),
        (b"[]", "no known format"),
        (b"task,worker,label,task\n", "the header names these columns twice: 'task'"),
        (b"task,worker,label\n\xff,a,1\n", "no known format"),
    ],
)
def test_an_unusable_file_is_one_sentence_with_its_name(tmp_path, content, sentence):
    path = tmp_path / "given.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"given.csv: .*{sentence}"):
        read(path)


def test_a_folder_and_a_missing_file_are_named(tmp_path):
    with pytest.raises(InputError, match="is a folder"):
        read(tmp_path)
    with pytest.raises(MissingInputError, match=r"none\.json: no such file"):
        read(tmp_path / "none.json")


def test_text_that_is_not_utf8_is_named_with_its_line(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(f"task,worker,label\n{PLAIN}:1,w,1\n".encode() + b"\xff,a,1\n")
    with pytest.raises(InputError, match=r"a\.csv: line 3: not UTF-8"):
        read(path, "crowd-kit")


def test_a_file_that_two_formats_recognise_must_be_named(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("task,worker,label,HITId,AssignmentId,WorkerId\n")
    with pytest.raises(InputError, match=r"a\.csv: looks like mturk and crowd-kit; name one with --format"):
        read(path)


def test_an_unknown_format_lists_them_all(tmp_path):
    with pytest.raises(InputError, match=f"'xml' is no known format; choose auto or one of {', '.join(NAMES)}"):
        read(FOLDER / "crowd-kit.csv", "xml")


def test_jsonl_that_is_cut_keeps_its_whole_rows_and_quarantines_the_rest(tmp_path):
    lines = (FOLDER / "raw-table.jsonl").read_bytes().splitlines(keepends=True)
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"".join(lines[:3]) + lines[3][:40])
    found = read(path)
    assert len(found.rows) == 3
    assert rules(found) == {4: ["json_object"]}


def test_a_nul_is_quarantined_where_it_matters(tmp_path):
    lines = (FOLDER / "raw-table.jsonl").read_text().splitlines()
    row = json.loads(lines[0]) | {"error_type": "a\0b"}
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join([json.dumps(row), *lines[1:3]]))
    found = read(path)
    assert rules(found) == {1: ["clean_text"]}
    assert len(found.rows) == 2  # the damaged row stands for its line of the answer


def test_a_table_with_a_byte_order_mark_crlf_and_blank_lines_is_read(tmp_path):
    text = (FOLDER / "crowd-kit.csv").read_text().replace("\n", "\r\n\r\n")
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert len(read(path).rows) == 30


def test_a_quote_that_is_never_closed_does_not_lose_the_rows_before_it(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes((FOLDER / "crowd-kit.csv").read_bytes() + b'"x:1,w9,0\n')
    found = read(path)
    assert len(found.rows) == 30
    assert rules(found) == {31: ["quotes_closed"]}


def test_deeply_nested_json_is_no_crash(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("[" * 200_000)
    with pytest.raises(InputError, match="no known format"):
        read(path)
    found = read(path, "label-studio")
    assert list(rules(found).values()) == [["json_object"]]


def attempt(path, format_name):
    """Read a file; errors that a user can mend are fine, and what is read is whole."""
    try:
        found = read(path, format_name)
    except CrlhfError:
        return
    assert not found.rows.isna().any().any()
    for text in found.quarantine["row"]:
        text.encode()
        json.loads(text)


quiet = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)


@quiet
@given(data=st.binary(max_size=200), suffix=st.sampled_from([".json", ".jsonl", ".csv", ".tsv", ".parquet"]))
def test_any_bytes_are_an_error_or_a_quarantine(tmp_path, data, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(data)
    for name in ("auto", *NAMES):
        attempt(path, name)


@quiet
@given(data=st.data())
def test_a_damaged_fixture_is_an_error_or_a_quarantine(tmp_path, data):
    fixture = data.draw(st.sampled_from(FIXTURES))
    content = bytearray(fixture.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 30))] = data.draw(st.binary(max_size=4))
    path = tmp_path / fixture.name
    path.write_bytes(bytes(content))
    attempt(path, "auto")
    attempt(path, importer_of(Opened.of(fixture)).name)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def damaged(value, change, path):
    """`value` with what lies at `path` (indices, cyclic) replaced."""
    if not path or not isinstance(value, dict | list) or not value:
        return change
    keys = list(value) if isinstance(value, dict) else range(len(value))
    key = keys[path[0] % len(keys)]
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[key] = damaged(value[key], change, path[1:])
    return copy


@quiet
@given(
    name=st.sampled_from(["label-studio.json", "argilla.json", "argilla-nested.json"]),
    change=JSON,
    path=st.lists(st.integers(0, 50), min_size=1, max_size=8),
)
def test_any_value_in_any_place_is_an_error_or_a_quarantine(tmp_path, name, change, path):
    fixture = FOLDER / name
    file = Opened.of(fixture)
    where = tmp_path / name
    where.write_text(json.dumps(damaged(json.loads(file.text), change, path)))
    attempt(where, importer_of(file).name)


def test_the_same_records_give_the_same_rows_twice():
    file = Opened.of(FOLDER / "mturk.csv")
    importer = importer_of(file)
    tables = [resolve(importer.read(file), items(), "a", importer.source, KEY).rows for _ in range(2)]
    assert tables[0].equals(tables[1])
