from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crlhf.annotations.checks import EXPECTATION_CHECKS
from crlhf.annotations.quarantine import quarantine_frame
from crlhf.annotations.raw_files import REQUIRED
from crlhf.annotations.rule_names import RULES, STATUSES
from crlhf.annotations.rules import Split, split_rows
from crlhf.errors import IntegrityError
from crlhf.schema import ANNOTATIONS, QUARANTINE, VALIDATED
from crlhf.store import to_arrow

Row = Callable[..., dict[str, Any]]


def add(raw: pd.DataFrame, *rows: dict[str, Any]) -> pd.DataFrame:
    return pd.concat([raw, pd.DataFrame(list(rows))], ignore_index=True)


def broken(split: Split) -> dict[int, list[str]]:
    return {int(row): sorted(rules) for row, rules in split.quarantine.groupby("source_row")["rule"]}


def nothing_is_lost(raw: pd.DataFrame, split: Split) -> bool:
    rows = [*split.good["source_row"], *split.set_aside["source_row"], *broken(split)]
    return sorted(rows) == sorted(raw["source_row"])


def test_a_sound_table_goes_through_whole_and_in_order(raw: pd.DataFrame, items: pd.DataFrame) -> None:
    split = split_rows(raw, items)
    pd.testing.assert_frame_equal(split.good, raw)
    assert not len(split.quarantine)
    assert not len(split.set_aside)


# row 1 is annotator ann's verdict on line 1 of c1 (lines 1, 3, 5 of 5 are judged)
@pytest.mark.parametrize(
    ("column", "value", "rule", "words"),
    [
        ("completion_id", "c9", "completion_known", "'c9'"),
        ("problem_id", "p/2", "problem_matches", "p/1"),
        ("code_sha256", "0" * 64, "code_matches", "000"),
        ("is_honeypot", True, "honeypot_flag_matches", "True"),
        ("line_no", 6, "line_exists", "it has 5"),
        ("line_no", 0, "line_exists", "line_no is 0"),
        ("line_no", -1, "line_exists", "line_no is -1"),
        ("line_no", 2**62, "line_exists", "it has 5"),
        ("line_no", 2, "line_judgeable", "line_no is 2"),
        ("line_no", 4, "line_judgeable", "line_no is 4"),
        ("verdict", "Wrong", "verdict_known", "'Wrong'"),
        ("verdict", "", "verdict_known", "''"),
        ("status", "done", "status_known", "'done'"),
        ("annotator_id", " ", "annotator_named", "annotator_id"),
        ("duration_s", -0.5, "duration_valid", "-0.5"),
        ("duration_s", float("inf"), "duration_valid", "inf"),
        ("duration_s", float("nan"), "values_present", "duration_s"),
        ("verdict", None, "values_present", "verdict"),
        ("submitted_at", "", "times_valid", "submitted_at ''"),
        ("submitted_at", "yesterday", "times_valid", "yesterday"),
        ("submitted_at", "2025-02-30T10:00:00", "times_valid", "02-30"),
        ("started_at", "2025", "times_valid", "'2025'"),
    ],
)
def test_a_broken_rule_is_named_with_its_file_row_and_reason(
    raw: pd.DataFrame, items: pd.DataFrame, make_row: Row, *, column: str, value: Any, rule: str, words: str
) -> None:
    # an extra row beside whole answers: nothing else may be touched
    bad = make_row("ann", "c1", 1, 99, submitted_at="2025-01-02T00:00:00Z") | {column: value}
    table = add(raw, bad)
    split = split_rows(table, items)
    pd.testing.assert_frame_equal(split.good, raw)
    assert broken(split) == {99: [rule]}
    only = split.quarantine.iloc[0]
    assert only["source_file"] == "a.jsonl"
    assert words in only["reason"]
    kept = json.loads(only["row"])
    assert kept["source_row"] == 99
    assert str(kept[column]) == str(value)
    assert nothing_is_lost(table, split)


def test_all_broken_rules_of_a_row_are_listed(raw: pd.DataFrame, items: pd.DataFrame, make_row: Row) -> None:
    table = add(raw, make_row("ann", "h1", 9, 99, verdict="?", duration_s=-1.0, problem_id="p/9"))
    assert broken(split_rows(table, items)) == {
        99: ["duration_valid", "line_exists", "problem_matches", "verdict_known"]
    }


def test_a_time_with_an_offset_a_zulu_mark_or_no_zone_is_accepted(raw: pd.DataFrame, items: pd.DataFrame) -> None:
    raw.loc[:2, "submitted_at"] = ["2025-01-01T10:00:00.123456Z", "2025-01-01 12:00:00+02:00", "2025-01-01T10:00"]
    raw.loc[0, "started_at"] = ""
    assert len(split_rows(raw, items).good) == 21


def test_the_same_row_delivered_twice_is_quarantined_once(raw: pd.DataFrame, items: pd.DataFrame) -> None:
    again = raw.iloc[[4]].assign(batch_id="b2", source_file="b.jsonl", source_row=99)
    split = split_rows(pd.concat([raw, again]), items)
    pd.testing.assert_frame_equal(split.good, raw)
    assert broken(split) == {99: ["row_not_repeated"]}


def test_the_later_submission_counts_and_the_earlier_is_superseded(raw: pd.DataFrame, items: pd.DataFrame) -> None:
    # 11:30 at +02:00 is 09:30 UTC, before the 10:01 UTC of the rows that are there, though its text sorts after them
    earlier = raw.iloc[[0]].assign(submitted_at="2025-01-01T11:30:00+02:00", verdict="wrong", source_row=98)
    later = raw.iloc[[1]].assign(submitted_at="2025-01-01T10:02:00Z", verdict="wrong", source_row=99)
    split = split_rows(pd.concat([raw, earlier, later]), items)
    assert not len(split.quarantine)
    assert dict(zip(split.set_aside["source_row"], split.set_aside["status"], strict=True)) == {
        98: "superseded",
        2: "superseded",
    }
    assert sorted(split.good["source_row"]) == [1, *range(3, 22), 99]


def test_a_later_row_that_breaks_a_rule_takes_nobodys_place(raw: pd.DataFrame, items: pd.DataFrame) -> None:
    later = raw.iloc[[0]].assign(submitted_at="2025-01-02T00:00:00Z", code_sha256="0" * 64, source_row=99)
    split = split_rows(pd.concat([raw, later]), items)
    pd.testing.assert_frame_equal(split.good, raw)
    assert broken(split) == {99: ["code_matches"]}


def test_two_verdicts_at_one_time_are_both_quarantined(raw: pd.DataFrame, items: pd.DataFrame) -> None:
    other = raw.iloc[[0]].assign(verdict="wrong", source_row=99)
    split = split_rows(pd.concat([raw, other]), items)
    assert broken(split) == {1: ["one_verdict_per_line"], 99: ["one_verdict_per_line"]}
    # line 1 is now without a verdict, but the two rows stand for it: lines 3 and 5 go on
    assert list(split.good["source_row"]) == list(range(2, 22))


@pytest.mark.parametrize("status", ["skipped", "rejected", "draft", "superseded"])
def test_rows_that_were_not_submitted_are_set_aside(raw: pd.DataFrame, items: pd.DataFrame, status: str) -> None:
    raw.loc[:2, "status"] = status
    raw.loc[:2, "submitted_at"] = ""
    split = split_rows(raw, items)
    assert list(split.set_aside["source_row"]) == [1, 2, 3]
    assert set(split.set_aside["status"]) == {status}
    assert len(split.good) == 18
    assert not len(split.quarantine)


def test_rows_of_unknown_status_count(raw: pd.DataFrame, items: pd.DataFrame) -> None:
    raw["status"] = "unknown"
    assert len(split_rows(raw, items).good) == 21


def test_an_answer_with_a_line_missing_is_quarantined_whole(raw: pd.DataFrame, items: pd.DataFrame) -> None:
    # without its row 3, ann's answer on c1 lacks line 5; the other eight answers are whole
    table = raw.drop(index=2)
    split = split_rows(table, items)
    assert broken(split) == {1: ["answer_complete"], 2: ["answer_complete"]}
    assert "no verdict on line 5 of the 3 judged lines" in split.quarantine["reason"][0]
    assert list(split.good["source_row"]) == list(range(4, 22))


def test_an_export_of_marked_lines_only_is_refused(raw: pd.DataFrame, items: pd.DataFrame) -> None:
    marked = raw[raw["line_no"] == 1].assign(verdict="wrong")
    split = split_rows(marked, items)
    assert not len(split.good)
    assert set(split.quarantine["rule"]) == {"answer_complete"}


@pytest.mark.parametrize("change", [{"verdict": "?"}, {"line_no": 77}, {"completion_id": "c9"}, {"annotator_id": ""}])
def test_a_damaged_row_costs_its_verdict_and_not_the_answer(
    raw: pd.DataFrame, items: pd.DataFrame, change: dict[str, Any]
) -> None:
    for column, value in change.items():
        raw.loc[1, column] = value  # the middle line of ann's answer on c1
    split = split_rows(raw, items)
    assert list(broken(split)) == [2]
    assert list(split.good["source_row"]) == [1, *range(3, 22)]


def test_a_damaged_row_excuses_no_more_lines_than_one(raw: pd.DataFrame, items: pd.DataFrame) -> None:
    raw.loc[1, "completion_id"] = "c9"
    table = raw.drop(index=2)  # line 5 of the same answer is not there at all
    split = split_rows(table, items)
    assert broken(split) == {1: ["answer_complete"], 2: ["completion_known"]}


@pytest.mark.parametrize(
    ("row", "n_good"),
    [
        ('{"annotator_id": "ann", "completion_id": "c1", "line_no": "three"}', 20),  # stands for the missing line
        ('{"annotator_id": "bob", "completion_id": "c1", "line_no": "three"}', 18),  # of another answer
        ('"{\\"annotator_id\\": \\"an"', 20),  # cut: stands where row 2 should, between rows 1 and 3
    ],
)
def test_a_row_that_could_not_be_read_stands_for_its_line(
    raw: pd.DataFrame, items: pd.DataFrame, row: str, n_good: int
) -> None:
    unread = quarantine_frame([("a.jsonl", 2, "value_type", "line_no", row)])  # type: ignore[list-item]
    split = split_rows(raw.drop(index=1), items, unread=unread)
    assert len(split.good) == n_good
    assert len(split_rows(raw.drop(index=1), items).good) == 18


def test_a_file_cut_in_the_middle_of_an_answer_loses_that_answer_only(raw: pd.DataFrame, items: pd.DataFrame) -> None:
    # row 15 begins cyd's answer on c1 (rows 15 to 17); the file is cut within row 16
    unread = quarantine_frame([("a.jsonl", 16, "json_object", "cut", '"{"')])  # type: ignore[list-item]
    split = split_rows(raw.iloc[:15], items, unread=unread)
    assert broken(split) == {15: ["answer_complete"]}
    assert list(split.good["source_row"]) == list(range(1, 15))


def test_order_of_rows_does_not_change_what_is_good(raw: pd.DataFrame, items: pd.DataFrame) -> None:
    raw.loc[4, "verdict"] = "?"
    shuffled = raw.sample(frac=1, random_state=1)
    first, second = split_rows(raw, items), split_rows(shuffled, items)
    pd.testing.assert_frame_equal(
        first.good, second.good.sort_values("source_row", ignore_index=True), check_dtype=True
    )
    pd.testing.assert_frame_equal(first.quarantine, second.quarantine)


def test_the_parts_can_be_written_under_their_schemas(raw: pd.DataFrame, items: pd.DataFrame, make_row: Row) -> None:
    again = raw.iloc[[0]].assign(submitted_at="2025-01-02T00:00:00Z", source_row=98)
    bad = pd.DataFrame([make_row("ann", "c1", 1, 99) | {"line_no": None, "is_honeypot": None}])
    table = pd.concat([raw, again, bad], ignore_index=True)
    split = split_rows(table, items)
    assert to_arrow(VALIDATED, split.good).num_rows == 21
    assert to_arrow(ANNOTATIONS, split.set_aside).num_rows == 1
    assert to_arrow(QUARANTINE, split.quarantine).num_rows == 1
    assert nothing_is_lost(table, split)


def test_an_empty_table_gives_empty_parts_under_the_schemas(raw: pd.DataFrame, items: pd.DataFrame) -> None:
    split = split_rows(raw.iloc[:0], items)
    assert [to_arrow(table, part).num_rows for table, part in zip(
        (VALIDATED, ANNOTATIONS, QUARANTINE), split, strict=True)] == [0, 0, 0]  # fmt: skip


def test_without_items_every_row_is_quarantined(raw: pd.DataFrame, items: pd.DataFrame) -> None:
    split = split_rows(raw, items.iloc[:0])
    assert not len(split.good)
    assert split.quarantine["rule"].tolist() == ["completion_known"] * 21


def test_a_table_that_breaks_its_schema_is_refused_with_the_columns(raw: pd.DataFrame, items: pd.DataFrame) -> None:
    with pytest.raises(IntegrityError, match="verdict is missing, expected string"):
        split_rows(raw.drop(columns="verdict"), items)
    with pytest.raises(IntegrityError, match="line_no is floating, expected int64"):
        split_rows(raw.assign(line_no=1.5), items)
    with pytest.raises(IntegrityError, match="line_no is string, expected int64"):
        split_rows(raw.assign(line_no="1"), items)


CELLS: dict[str, st.SearchStrategy[Any]] = {
    "completion_id": st.sampled_from(["c1", "h1", "h2", "c9", "", None]),
    "annotator_id": st.sampled_from(["ann", "bob", "", None]),
    "line_no": st.sampled_from([-1, 0, 1, 2, 3, 5, 6, 2**62]),
    "verdict": st.sampled_from(["ok", "wrong", "?", None]),
    "status": st.sampled_from(["submitted", "unknown", "draft", "?", None]),
    "submitted_at": st.sampled_from(["2025-01-01T10:01:00+00:00", "2025-01-01T10:02:00Z", "", "?", None]),
    "duration_s": st.sampled_from([1.0, -1.0, float("nan"), float("inf")]),
}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_row_lands_in_exactly_one_part_whatever_is_damaged(
    raw: pd.DataFrame, items: pd.DataFrame, data: st.DataObject
) -> None:
    table = raw.astype(object)
    for _ in range(data.draw(st.integers(0, 12))):
        column = data.draw(st.sampled_from(sorted(CELLS)))
        table.loc[data.draw(st.integers(0, 20)), column] = data.draw(CELLS[column])
    table = table.iloc[data.draw(st.lists(st.integers(0, 20), unique=True))].astype(
        {"line_no": "int64", "duration_s": "float64", "source_row": "int64"}
    )
    split = split_rows(table, items)
    assert nothing_is_lost(table, split)
    assert to_arrow(VALIDATED, split.good).num_rows == len(split.good)
    assert to_arrow(ANNOTATIONS, split.set_aside).num_rows == len(split.set_aside)
    assert to_arrow(QUARANTINE, split.quarantine).num_rows == len(split.quarantine)
    again = split_rows(split.good, items, unread=split.quarantine)
    assert not again.quarantine["rule"].ne("answer_complete").any(), "a good row breaks no rule when it is asked again"


def test_the_page_on_the_raw_table_tells_every_rule_status_and_column() -> None:
    page = (Path(__file__).parents[2] / "docs" / "raw-table.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(\w+)`", page))
    assert {*RULES, *STATUSES, *ANNOTATIONS.column_names} <= named
    assert {spec.name for spec in EXPECTATION_CHECKS if spec.severity == "warning"} <= named
    required = set(
        re.findall(r"^\| `(\w+)` \| (?:text|whole number|true or false|number) \| yes \|", page, re.MULTILINE)
    )
    assert required == set(REQUIRED)
    example = json.loads(re.search(r"```json\n(.*?)```", page, re.DOTALL)[1])  # type: ignore[index]
    assert set(REQUIRED) <= set(example) <= set(ANNOTATIONS.column_names)
