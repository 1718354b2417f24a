from __future__ import annotations

import datetime as dt
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crlhf.annotations.quarantine import describe_quarantine, n_rows
from crlhf.annotations.raw_files import DEFAULTS, REQUIRED, ReadBatches, read_batches
from crlhf.errors import InputError, MissingInputError
from crlhf.schema import ANNOTATIONS, QUARANTINE
from crlhf.store import to_arrow

Row = Callable[..., dict[str, Any]]
POSITION = ["source_file", "source_row"]


def jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def write(folder: Path, raw: pd.DataFrame, name: str) -> Path:
    """The raw table as another tool would write it, without the columns that the reader sets."""
    path, table = folder / name, raw.drop(columns=POSITION)
    if path.suffix == ".jsonl":
        table.to_json(path, orient="records", lines=True)
    elif path.suffix == ".csv":
        table.to_csv(path, index=False)
    else:
        table.to_parquet(path, index=False)
    return path


def rules(read: ReadBatches) -> dict[int, list[str]]:
    return {int(row): sorted(names) for row, names in read.quarantine.groupby("source_row")["rule"]}


def is_whole(read: ReadBatches) -> bool:
    places = read.annotations[POSITION].drop_duplicates()
    assert to_arrow(ANNOTATIONS, read.annotations).num_rows == len(places)
    assert to_arrow(QUARANTINE, read.quarantine).num_rows == len(read.quarantine)
    for text in read.quarantine["row"]:
        json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    return read.n_rows == len(places) + n_rows(read.quarantine)


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet", "A.CSV"])
def test_every_form_gives_the_same_table(raw: pd.DataFrame, tmp_path: Path, name: str) -> None:
    path = write(tmp_path, raw, name) if name != "A.CSV" else write(tmp_path, raw, "b.csv").rename(tmp_path / name)
    read = read_batches([path])
    pd.testing.assert_frame_equal(read.annotations, raw.assign(source_file=name))
    assert read.n_rows == 21
    assert is_whole(read)


def test_files_are_read_in_order_of_their_names_whatever_order_they_are_given_in(
    raw: pd.DataFrame, tmp_path: Path
) -> None:
    paths = [write(tmp_path, raw, "b.csv"), write(tmp_path, raw, "a.jsonl")]
    first, second = read_batches(paths), read_batches(paths[::-1])
    pd.testing.assert_frame_equal(first.annotations, second.annotations)
    assert list(first.annotations["source_file"]) == ["a.jsonl"] * 21 + ["b.csv"] * 21


def test_files_of_one_name_are_told_apart_by_their_folders(raw: pd.DataFrame, tmp_path: Path) -> None:
    for folder in ("x/one", "y/one"):
        (tmp_path / folder).mkdir(parents=True)
    paths = [write(tmp_path / "x/one", raw, "a.csv"), write(tmp_path / "y/one", raw, "a.csv")]
    read = read_batches([*paths, write(tmp_path, raw, "b.csv")])
    assert sorted(set(read.annotations["source_file"])) == ["b.csv", "x/one/a.csv", "y/one/a.csv"]
    with pytest.raises(InputError, match=r"a\.csv: the file is given twice"):
        read_batches([paths[0], paths[0].parent / ".." / "one" / "a.csv"])


def test_no_file_gives_empty_tables() -> None:
    read = read_batches([])
    assert read.n_rows == 0
    assert is_whole(read)


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet"])
def test_absent_columns_have_the_documented_defaults(raw: pd.DataFrame, tmp_path: Path, name: str) -> None:
    table = raw[[*REQUIRED, *POSITION]]
    read = read_batches([write(tmp_path, table, name)])
    expected = raw.assign(batch_id=name, source_file=name, **DEFAULTS)
    pd.testing.assert_frame_equal(read.annotations, expected)


def test_an_empty_csv_cell_and_a_null_are_the_default_too(make_row: Row, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    row = make_row("ann", "c1", 1, 1, status="", batch_id="")
    path.write_text(",".join(row) + "\n" + ",".join(str(value) for value in row.values()) + "\n")
    assert read_batches([path]).annotations.loc[0, ["status", "batch_id"]].tolist() == ["unknown", "a.csv"]
    path = tmp_path / "a.jsonl"
    path.write_bytes(jsonl([make_row("ann", "c1", 1, 1, status=None)]))
    assert read_batches([path]).annotations.loc[0, "status"] == "unknown"


def test_the_position_is_the_readers_own(make_row: Row, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(jsonl([make_row("ann", "c1", line, 70 + line, source_file="mturk.csv") for line in (1, 3)]))
    assert read_batches([path]).annotations[POSITION].to_numpy().tolist() == [["a.jsonl", 1], ["a.jsonl", 2]]


# ---------------------------------------------------------------- values


@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [
        ("line_no", True, "value_type"),
        ("line_no", 1.5, "value_type"),
        ("line_no", "1", "value_type"),
        ("line_no", 2**63, "value_type"),
        ("line_no", 1e300, "value_type"),
        ("line_no", float("nan"), "value_type"),
        ("line_no", None, "values_present"),
        ("duration_s", float("nan"), "value_type"),
        ("duration_s", float("inf"), "value_type"),
        ("duration_s", 10**400, "value_type"),
        ("duration_s", True, "value_type"),
        ("duration_s", "60", "value_type"),
        ("is_honeypot", 1, "value_type"),
        ("is_honeypot", "true", "value_type"),
        ("annotator_id", 17, "value_type"),
        ("annotator_id", None, "values_present"),
        ("error_type", float("nan"), "value_type"),
        ("verdict", ["ok"], "json_object"),
        ("verdict", {"is": "ok"}, "json_object"),
        ("verdict", "o\0k", "clean_text"),
        ("verdict", "\ud800", "clean_text"),
    ],
)
def test_a_json_value_of_another_type_is_quarantined_and_not_coerced(
    make_row: Row, tmp_path: Path, *, column: str, value: Any, rule: str
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(jsonl([make_row("ann", "c1", 1, 1), make_row("ann", "c1", 3, 2) | {column: value}]))
    read = read_batches([path])
    assert rules(read) == {2: [rule]}
    assert column in read.quarantine["reason"][0]
    assert read.annotations["source_row"].tolist() == [1]
    assert is_whole(read)


def test_a_whole_number_written_with_a_zero_fraction_is_a_line_number(make_row: Row, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(jsonl([make_row("ann", "c1", 1, 1) | {"line_no": 3.0, "duration_s": 5}]))
    (tmp_path / "a.csv").write_text(
        ",".join(REQUIRED) + "\np,c,h,ann,3.0,ok,FALSE,t,5\np,c,h,ann,+4,ok,true,t,.5e1\np,c,h,ann,5.,ok,True,t,5.\n"
    )
    read = read_batches([tmp_path / "a.jsonl", tmp_path / "a.csv"])
    assert read.annotations["line_no"].tolist() == [3, 4, 5, 3]
    assert read.annotations["duration_s"].tolist() == [5.0, 5.0, 5.0, 5.0]
    assert read.annotations["is_honeypot"].tolist() == [False, True, True, False]


@pytest.mark.parametrize(
    ("column", "cell"),
    [("line_no", cell) for cell in ("3.5", "3,0", "0x3", "three", "1e2", " 3", "9" * 19, "9" * 400, "٣", "nan")]
    + [("duration_s", cell) for cell in ("nan", "inf", "1_0", "1e999", "5s", "0x5", "1e99999")]
    + [("is_honeypot", cell) for cell in ("1", "yes", "t", "wahr")],
)
def test_a_csv_cell_that_is_not_of_its_type_is_quarantined(tmp_path: Path, column: str, cell: str) -> None:
    values = dict(zip(REQUIRED, ["p", "c", "h", "ann", "3", "ok", "false", "t", "5"], strict=True))
    good = ",".join(values.values())
    bad = ",".join(f'"{value}"' for value in (values | {column: cell}).values())
    (tmp_path / "a.csv").write_text(f"{','.join(REQUIRED)}\n{good}\n{bad}\n{good}\n")
    read = read_batches([tmp_path / "a.csv"])
    assert rules(read) == {2: ["value_type"]}
    assert json.loads(read.quarantine["row"][0])[column] == cell
    assert is_whole(read)


def test_parquet_times_become_utc_text_and_other_types_are_quarantined(make_row: Row, tmp_path: Path) -> None:
    rows = [make_row("ann", "c1", line, line) for line in (1, 3)]
    zone = dt.timezone(dt.timedelta(hours=2))
    frame = pd.DataFrame(rows).drop(columns=POSITION)
    frame["submitted_at"] = pd.Series([dt.datetime(2025, 1, 1, 12, tzinfo=zone)] * 2)
    frame["started_at"] = pd.Series([dt.datetime(2025, 1, 1, 9), pd.NaT])
    frame.to_parquet(tmp_path / "a.parquet")
    read = read_batches([tmp_path / "a.parquet"])
    assert read.annotations["submitted_at"].tolist() == ["2025-01-01T10:00:00+00:00"] * 2
    assert read.annotations["started_at"].tolist() == ["2025-01-01T09:00:00+00:00", ""]
    frame.assign(line_no=["1", "3"], verdict=b"ok").to_parquet(tmp_path / "b.parquet")
    read = read_batches([tmp_path / "b.parquet"])
    assert rules(read) == {1: ["value_type"], 2: ["value_type"]}
    assert "line_no: the text '1'" in read.quarantine["reason"][0]
    assert "verdict: bytes" in read.quarantine["reason"][0]
    assert is_whole(read)


def test_two_faults_of_one_row_are_two_rules_and_one_row(make_row: Row, tmp_path: Path) -> None:
    row = make_row("ann", "c1", 1, 1) | {"line_no": "x", "duration_s": "y", "verdict": None}
    (tmp_path / "a.jsonl").write_bytes(jsonl([row, make_row("ann", "c1", 1, 1)]))
    read = read_batches([tmp_path / "a.jsonl"])
    assert rules(read) == {1: ["value_type", "values_present"]}
    assert "line_no" in read.quarantine["reason"][0]
    assert "duration_s" in read.quarantine["reason"][0]
    assert read.n_rows == 2
    assert is_whole(read)


# ---------------------------------------------------------------- lines


def test_a_jsonl_file_cut_in_the_middle_loses_only_its_last_line(raw: pd.DataFrame, tmp_path: Path) -> None:
    path = write(tmp_path, raw, "a.jsonl")
    data = path.read_bytes()
    end_of_fifth = [at for at, byte in enumerate(data) if byte == ord("\n")][4]
    path.write_bytes(data[: end_of_fifth + 40])
    read = read_batches([path])
    assert rules(read) == {6: ["json_object"]}
    assert "cut in the middle of this line" in read.quarantine["reason"][0]
    assert json.loads(read.quarantine["row"][0]) == data[end_of_fifth + 1 : end_of_fifth + 40].decode()
    assert read.annotations["source_row"].tolist() == [1, 2, 3, 4, 5]


def test_byte_order_mark_crlf_and_blank_lines_change_nothing_but_the_numbers(raw: pd.DataFrame, tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.csv"):
        path = write(tmp_path, raw, name)
        lines = path.read_bytes().splitlines()
        path.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join([*lines[:3], b"  ", b"", *lines[3:]]))
        read = read_batches([path])
        rows = [*range(1, 4), *range(6, 24)] if name == "a.jsonl" else [1, 2, *range(5, 24)]
        pd.testing.assert_frame_equal(read.annotations, raw.assign(source_file=name, source_row=rows))
        assert read.n_rows == 21


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        (b"[1, 2]", "json_object"),
        (b"null", "json_object"),
        (b"\0\0\0\0", "json_object"),
        (b"[" * 100_000, "json_object"),
        (b'{"line_no": ' + b"9" * 5000 + b"}", "json_object"),
        (b'{"verdict": "\xff"}', "utf8_text"),
        (b'{"verdict": "ok", "verdict": "wrong"}', "keys_not_repeated"),
        (b"{}", "values_present"),
    ],
)
def test_a_line_that_is_no_row_is_quarantined_with_its_text(
    make_row: Row, tmp_path: Path, line: bytes, rule: str
) -> None:
    good = jsonl([make_row("ann", "c1", 1, 1)])
    (tmp_path / "a.jsonl").write_bytes(good + line + b"\n" + good)
    read = read_batches([tmp_path / "a.jsonl"])
    assert rules(read) == {2: [rule]}
    assert read.annotations["source_row"].tolist() == [1, 3]
    assert is_whole(read)


def test_an_unknown_key_in_one_row_is_quarantined(make_row: Row, tmp_path: Path) -> None:
    rows = [make_row("ann", "c1", 1, 1), make_row("ann", "c1", 3, 2, lineno=3)]
    (tmp_path / "a.jsonl").write_bytes(jsonl(rows))
    read = read_batches([tmp_path / "a.jsonl"])
    assert rules(read) == {2: ["columns_known"]}
    assert "'lineno'" in read.quarantine["reason"][0]


CSV_GOOD = "p,c,h,ann,3,ok,false,2025-01-01T00:00:00Z,5"


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("p,c,h,ann,3,ok,false", "cell_count"),
        (CSV_GOOD + ",more", "cell_count"),
        ('p,c,h,"ann,3,ok,false,t,5', "quotes_closed"),
        ('p,c,h,"ann"x,3,ok,false,t,5', "quotes_closed"),
        (",".join(REQUIRED), "header_once"),
        ("p,c,h,a\0n,3,ok,false,t,5", "clean_text"),
        ("p,c,h,ann,,ok,false,t,5", "values_present"),
    ],
)
def test_a_csv_line_that_is_no_row_costs_itself_only(tmp_path: Path, line: str, rule: str) -> None:
    (tmp_path / "a.csv").write_text("\n".join([",".join(REQUIRED), CSV_GOOD, line, CSV_GOOD, CSV_GOOD]))
    read = read_batches([tmp_path / "a.csv"])
    assert rules(read) == {2: [rule]}
    assert read.annotations["source_row"].tolist() == [1, 3, 4]
    kept = json.loads(read.quarantine["row"][0])
    assert kept == line or dict(zip(REQUIRED, line.split(","), strict=True)) == kept
    assert is_whole(read)


def test_a_cell_of_ten_megabytes_is_kept_whole(make_row: Row, tmp_path: Path) -> None:
    long = "x" * 10_000_000
    (tmp_path / "a.jsonl").write_bytes(jsonl([make_row("ann", "c1", 1, 1, error_type=long)]))
    (tmp_path / "a.csv").write_text(f"{','.join(REQUIRED)},error_type\n{CSV_GOOD},{long}\np,{long},{long}\n")
    read = read_batches([tmp_path / "a.jsonl", tmp_path / "a.csv"])
    assert [len(text) for text in read.annotations["error_type"]] == [10_000_000] * 2
    assert rules(read) == {2: ["cell_count"]}
    assert len(read.quarantine["row"][0]) > 20_000_000
    assert max(map(len, describe_quarantine(read.quarantine))) < 200


# ---------------------------------------------------------------- whole files


def test_missing_and_unknown_columns_make_a_file_unusable_and_are_named(raw: pd.DataFrame, tmp_path: Path) -> None:
    wrong = raw.rename(columns={"line_no": "lineno"}).drop(columns="verdict")
    for name in ("a.jsonl", "a.csv", "a.parquet"):
        message = rf"^{name}: these columns are missing: line_no, verdict; these columns are not known: 'lineno' "
        with pytest.raises(InputError, match=message):
            read_batches([write(tmp_path, wrong, name)])


def test_a_column_that_only_some_rows_lack_is_left_to_the_quarantine(make_row: Row, tmp_path: Path) -> None:
    rows = [make_row("ann", "c1", 1, 1), make_row("ann", "c1", 3, 2)]
    del rows[1]["verdict"]
    (tmp_path / "a.jsonl").write_bytes(jsonl(rows))
    assert rules(read_batches([tmp_path / "a.jsonl"])) == {2: ["values_present"]}


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.jsonl", b"", "a.jsonl: the file is empty"),
        ("a.csv", b"\xef\xbb\xbf\r\n", "a.csv: the file is empty"),
        ("a.parquet", b"", "a.parquet: the file is empty"),
        ("a.parquet", b"PAR1 and then nothing", "a.parquet: not a whole Parquet file"),
        ("a.csv", "problem_id".encode("utf-16"), "a.csv: the file is UTF-16"),
        ("a.csv", b"line_no,verdict,line_no\n", "a.csv: the header names these columns twice: 'line_no'"),
        ("a.csv", b'"line_no\n1\n', "a.csv: the header is not a line of CSV"),
        ("a.csv", b"\xff\n1\n", "a.csv: the header is not UTF-8"),
        ("a.csv", b"\nline_no\n", "a.csv: the first line is blank"),
        ("a.xlsx", b"PK", "a.xlsx: no known form of batch file; its name must end in .jsonl, .csv, .parquet"),
    ],
)
def test_an_unusable_file_is_refused_by_name(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError) as caught:
        read_batches([tmp_path / name])
    assert str(caught.value).startswith(message)


def test_a_parquet_file_cut_anywhere_is_refused(raw: pd.DataFrame, tmp_path: Path) -> None:
    path = write(tmp_path, raw, "a.parquet")
    data = path.read_bytes()
    for length in range(1, len(data), len(data) // 40):
        path.write_bytes(data[:length])
        with pytest.raises(InputError, match=r"^a\.parquet: not a whole Parquet file"):
            read_batches([path])


def test_a_parquet_file_that_names_a_column_twice_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table([[1], [2]], names=["line_no", "line_no"]), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="names these columns twice: 'line_no'"):
        read_batches([tmp_path / "a.parquet"])


def test_a_missing_file_and_a_folder_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"^a\.csv: no such file"):
        read_batches([tmp_path / "a.csv"])
    (tmp_path / "b.csv").mkdir()
    with pytest.raises(InputError, match=r"^b\.csv: cannot be read: Is a directory"):
        read_batches([tmp_path / "b.csv"])


# ---------------------------------------------------------------- the quarantine in words


def test_the_quarantine_is_described_by_file_rule_and_first_reasons(make_row: Row, tmp_path: Path) -> None:
    bad = [make_row("ann", "c1", 1, 1) | {"line_no": "x"} for _ in range(5)]
    (tmp_path / "b.jsonl").write_bytes(jsonl([make_row("ann", "c1", 1, 1), *bad]) + b"{\n")
    (tmp_path / "a.csv").write_text(f"{','.join(REQUIRED)}\n{CSV_GOOD}\np,c\n")
    expected = "line_no: the text 'x', expected a whole number"
    assert describe_quarantine(read_batches([tmp_path / "b.jsonl", tmp_path / "a.csv"]).quarantine) == [
        "a.csv: 1 row in quarantine (cell_count 1)",
        "  row 2, cell_count: 2 cells, expected 9 as in the header",
        "b.jsonl: 6 rows in quarantine (json_object 1, value_type 5)",
        "  row 7, json_object: not JSON (Expecting property name enclosed in double quotes: line 1 column 2 (char 1))",
        *(f"  row {row}, value_type: {expected}" for row in (2, 3, 4)),
        "  ... and 2 more rows that break value_type",
    ]


# ---------------------------------------------------------------- any bytes at all

FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
LINE = st.one_of(
    st.binary(max_size=60),
    st.builds(lambda value: json.dumps(value).encode(), st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.dictionaries(st.sampled_from(ANNOTATIONS.column_names) | st.text(max_size=3), inner),
        max_leaves=20)),
    st.lists(st.text(max_size=6), min_size=7, max_size=11).map(lambda cells: ",".join(cells).encode()),
)  # fmt: skip


def rows_in(data: bytes, header_lines: int) -> int:
    """Lines that are not blank, after the header."""
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")[header_lines:]
    return sum(bool(line.removesuffix(b"\r").strip(b" \t")) for line in lines)


@FUZZ
@given(lines=st.lists(LINE, max_size=8), end=st.sampled_from([b"", b"\n", b"\r\n", b"\0"]))
def test_no_bytes_break_the_jsonl_reader_and_none_are_lost(tmp_path: Path, lines: list[bytes], end: bytes) -> None:
    data = b"\n".join(lines) + end
    (tmp_path / "a.jsonl").write_bytes(data)
    try:
        read = read_batches([tmp_path / "a.jsonl"])
    except InputError as error:
        assert str(error).startswith("a.jsonl: ")  # noqa: PT017 - either outcome is right, the message must be good
        return
    assert read.n_rows == rows_in(data, 0)
    assert is_whole(read)


@FUZZ
@given(lines=st.lists(LINE, max_size=8), end=st.sampled_from([b"", b"\n", b"\r\n", b"\0"]), header=st.booleans())
def test_no_bytes_break_the_csv_reader_and_none_are_lost(
    tmp_path: Path, lines: list[bytes], end: bytes, header: bool
) -> None:
    data = (",".join(REQUIRED).encode() + b"\n") * header + b"\n".join(lines) + end
    (tmp_path / "a.csv").write_bytes(data)
    try:
        read = read_batches([tmp_path / "a.csv"])
    except InputError as error:
        assert not header, "under a sound header no line may spoil the file"
        assert str(error).startswith("a.csv: ")  # noqa: PT017
        return
    assert read.n_rows == rows_in(data, 1)
    assert is_whole(read)


@pytest.fixture(scope="module")
def parquet_bytes() -> bytes:
    columns = {name: ["x"] * 4 for name in REQUIRED} | {"line_no": [1, 2, None, 4], "duration_s": [1.0, None, 2.0, 3.0]}
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns | {"is_honeypot": [True, False, None, True]}), buffer)
    return buffer.getvalue()


@FUZZ
@given(data=st.data())
def test_no_bytes_break_the_parquet_reader_and_none_are_lost(
    tmp_path: Path, parquet_bytes: bytes, data: st.DataObject
) -> None:
    content = bytearray(parquet_bytes)
    places = st.integers(0, len(content) - 1)
    for place, byte in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=4)):
        content[place] = byte
    (tmp_path / "a.parquet").write_bytes(bytes(content[: data.draw(st.just(len(content)) | places)]))
    try:
        read = read_batches([tmp_path / "a.parquet"])
    except InputError as error:
        assert str(error).startswith("a.parquet: ")  # noqa: PT017
        return
    assert read.n_rows == 4
    assert is_whole(read)
