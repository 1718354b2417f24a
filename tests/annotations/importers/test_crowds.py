"""Traps of Argilla, Mechanical Turk and crowd-kit, one test each."""

import csv
import io
import json

import pytest

from crlhf.annotations.importers.contract import NO_TIME
from crlhf.errors import InputError
from tests.annotations.importers.crowd import CRLF, EMOJI, FOLDER, KEY, PLAIN, items, named, read, rules

CODES = items().set_index("completion_id")["code"]


def wrong_lines(found):
    assert rules(found) == {}
    return found.rows.loc[found.rows["verdict"] == "wrong", "line_no"].tolist()


# ---------------------------------------------------------------- Argilla


@pytest.fixture
def argilla(tmp_path):
    def run(program=PLAIN, **fields):
        record = {"id": program, "_server_id": "s", "code": CODES[program]} | fields
        path = tmp_path / "records.json"
        path.write_text(json.dumps([record]))
        return read(path)

    return run


def responses(*values, users=("u1",), statuses=("submitted",)):
    return {
        "wrong.responses": list(values),
        "wrong.responses.users": list(users),
        "wrong.responses.status": list(statuses),
    }


def test_argilla_counts_as_the_browser_does(argilla):
    # two emoji before it: UTF-16 units 47 to 58; in code points this would leave the text
    found = argilla(EMOJI, **responses([{"label": "WRONG", "start": 47, "end": 59}]))
    assert wrong_lines(found) == [3]


def test_argilla_offsets_that_may_mean_two_lines_are_not_guessed(argilla):
    # in code points three blanks of line 3; in UTF-16 units the last quote of line 2, its break, and a blank of line 3
    found = argilla(EMOJI, **responses([{"label": "WRONG", "start": 34, "end": 37}]))
    assert rules(found) == {1: ["offset_mismatch"]}
    assert "depend on how the tool counts" in found.quarantine["reason"][0]


def test_argilla_statuses_are_kept(argilla):
    for status, expected in (("submitted", "submitted"), ("draft", "draft"), (None, "unknown")):
        assert set(argilla(**responses([], statuses=[status])).rows["status"]) == {expected}
    assert argilla(**responses([], statuses=["discarded"])).counts["skipped"] == 1
    assert rules(argilla(**responses([], statuses=["odd"]))) == {1: ["status_known"]}


def test_argilla_lists_of_different_lengths_are_quarantined(argilla):
    assert rules(argilla(**responses([], users=["u1", "u2"]))) == {1: ["value_type"]}


def test_argilla_gold_is_a_convention_of_the_metadata(argilla):
    found = argilla(**responses([{"label": "WRONG", "start": 41, "end": 46}]), is_gold=True)
    assert found.rows.empty
    assert found.gold[0].wrong_line_nos == (3,)


def test_argilla_answers_have_no_time_and_never_take_the_place_of_a_dated_one(argilla):
    assert set(argilla(**responses([])).rows["submitted_at"]) == {NO_TIME}


def test_argilla_without_a_user_is_quarantined(argilla):
    assert rules(argilla(**responses([], users=[None]))) == {1: ["annotator_named"]}


def test_argilla_ids_of_records_name_a_program_only_where_they_are_a_completions(argilla):
    assert set(argilla(**responses([]), id="of the tool").rows["completion_id"]) == {PLAIN}  # by its code
    assert rules(argilla(EMOJI, **responses([]), code=CODES[PLAIN])) == {1: ["code_matches"]}
    assert rules(argilla(**responses([]), completion_id="beef")) == {1: ["completion_known"]}


def test_argilla_columns_of_different_lengths_are_refused(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"id": ["1", "2"], "_server_id": ["1"], "code": ["x", "y"]}))
    with pytest.raises(InputError, match=r"a\.json: the columns have different lengths"):
        list(read(path, "argilla").rows)


# ---------------------------------------------------------------- Mechanical Turk


@pytest.fixture
def mturk(tmp_path):
    with (FOLDER / "mturk.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))

    def run(*answers, drop=(), column="Answer.taskAnswers", **cells):
        """The first row of the fixture, once for each answer."""
        made = []
        for number, answer in enumerate(answers):
            row = rows[0] | {"WorkerId": f"W{number}"} | {key.replace("_", ".", 1): v for key, v in cells.items()}
            row = {key: value for key, value in row.items() if key != "Answer.taskAnswers" and key not in drop}
            made.append(row | {column: answer if isinstance(answer, str) else json.dumps(answer)})
        out = io.StringIO(newline="")
        writer = csv.DictWriter(out, list(made[0]), quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(made)
        path = tmp_path / "batch.csv"
        path.write_bytes(out.getvalue().encode())
        return read(path)

    return run


NOTHING = [{"wrong": {"entities": []}}]


@pytest.mark.parametrize(
    ("answer", "lines"),
    [
        ([{"wrong": {"entities": [{"startOffset": 41, "endOffset": 46, "label": "WRONG"}]}}], [3]),
        ([{"wrong": {"entities": [{"startOffset": 41, "endOffset": 46, "label": "ok"}]}}], []),
        ([{"wrong_lines": [3, 5]}], [3, 5]),
        ([{"wrong_lines": "3|5"}], [3, 5]),
        ([{"wrong": {"3": True, "5": False}}], [3]),
        ([{"line-3": {"on": True}, "line-5": {"on": False}}], [3]),
        ([{"line_3": "wrong", "line_5": "ok"}], [3]),
        ([{"line_3": {"wrong": True, "ok": False}, "line_5": {"wrong": False, "ok": True}}], [3]),
        ([{"none": {"on": True}}], []),
        (NOTHING, []),
    ],
)
def test_mturk_answers_of_every_known_form(mturk, answer, lines):
    assert wrong_lines(mturk(answer)) == lines


def test_mturk_escapes_are_undone_once(mturk):
    text = json.dumps([{"wrong": {"entities": [{"startOffset": 41, "endOffset": 46, "label": "a&amp;b"}]}}])
    escaped = text.replace('"', "&#34;").replace(",", "&#44;").replace("a&amp;b", "a&amp;amp;b")
    assert mturk(escaped).rows["error_type"].tolist() == ["", "a&b", ""]
    assert mturk(text).rows["error_type"].tolist() == ["", "a&b", ""]


def test_mturk_rejected_rows_are_kept_with_their_status(mturk):
    found = mturk(NOTHING, AssignmentStatus="Rejected")
    assert found.rows["status"].tolist() == ["rejected"] * 3
    assert set(mturk(NOTHING, AssignmentStatus="Submitted").rows["status"]) == {"submitted"}


def test_mturk_times_are_read_in_utc_and_in_pacific_time(mturk):
    row = mturk(
        NOTHING, SubmitTime="Thu Oct 09 07:30:20 UTC 2025", AcceptTime="Fri May 29 14:35:12 PDT 2015"
    ).rows.iloc[0]
    assert row["submitted_at"] == "2025-10-09T07:30:20+00:00"
    assert row["started_at"] == "2015-05-29T21:35:12+00:00"
    assert rules(mturk(NOTHING, SubmitTime="Thu Oct 99 07:30:20 UTC 2025")) == {1: ["times_valid"]}
    assert rules(mturk(NOTHING, SubmitTime="soon")) == {1: ["times_valid"]}


def test_mturk_work_time_is_the_duration(mturk):
    assert set(mturk(NOTHING, WorkTimeInSeconds="61").rows["duration_s"]) == {61.0}


def test_mturk_finds_the_program_by_its_code_in_a_cell_of_several_lines(mturk):
    found = mturk(NOTHING, drop=["Input.completion_id"], Input_code=CODES[CRLF])
    assert set(found.rows["completion_id"]) == {CRLF}


def test_mturk_accepts_a_cell_of_10_megabytes(mturk):
    found = mturk(NOTHING, Input_note="x" * 10_000_000)
    assert len(found.rows) == 3


def test_mturk_answers_that_cannot_be_read_cost_one_row(mturk):
    found = mturk(NOTHING, "[{", NOTHING)
    assert len(found.rows) == 6
    assert rules(found) == {2: ["json_object"]}


def test_mturk_without_any_known_field_is_refused_for_marks_would_be_lost(mturk):
    with pytest.raises(InputError, match=r"batch\.csv: none of 'Answer\.taskAnswers' has marked lines"):
        mturk([{"comment": "fine"}])


def test_mturk_a_line_that_is_not_there_is_quarantined(mturk):
    assert rules(mturk([{"wrong_lines": "99"}])) == {1: ["line_exists"]}


def test_mturk_blanks_around_a_worker_id_make_no_other_annotator_in_the_quarantine(mturk):
    assert KEY.of("W9", "mturk") in mturk("[{", WorkerId=" W9 ").quarantine["row"][0]


def test_mturk_worker_ids_do_not_reach_the_quarantine(mturk):
    found = mturk("[{")
    assert "W0" not in found.quarantine["row"][0]
    assert KEY.of("W0", "mturk") in found.quarantine["row"][0]


# ---------------------------------------------------------------- Toloka


def pool(tmp_path, change):
    text = (FOLDER / "toloka.tsv").read_bytes().decode()
    path = tmp_path / "pool.tsv"
    path.write_bytes(change(text).encode())
    return read(path)


def test_toloka_rejected_rows_are_kept_and_an_unknown_status_is_refused(tmp_path):
    found = pool(tmp_path, lambda text: text.replace("APPROVED", "REJECTED", 1))
    assert found.rows["status"].value_counts().to_dict() == {"submitted": 27, "rejected": 3}
    assert rules(pool(tmp_path, lambda text: text.replace("APPROVED", "LOST", 1))) == {1: ["status_known"]}


def test_toloka_without_the_time_of_submission_has_none(tmp_path):
    found = pool(tmp_path, lambda text: text.replace("ASSIGNMENT:submitted", "ASSIGNMENT:accepted"))
    assert set(found.rows["submitted_at"]) == {NO_TIME}
    assert found.rows["started_at"][0] == "2025-03-15T10:00:00+00:00"


def test_toloka_output_that_holds_no_marks_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"pool\.tsv: 'result' of the output has no marked lines"):
        pool(tmp_path, lambda text: text.replace("OUTPUT:wrong_lines", "OUTPUT:result"))


def test_toloka_output_that_cannot_be_read_costs_one_row(tmp_path):
    found = pool(tmp_path, lambda text: text.replace("[3]", "[3", 1))
    assert rules(found) == {1: ["json_object"]}


# ---------------------------------------------------------------- crowd-kit


def kit(tmp_path, text):
    path = tmp_path / "labels.csv"
    path.write_text(text)
    return read(path)


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        (f"{PLAIN},w1,1", "value_type"),
        (f"{PLAIN}:x,w1,1", "value_type"),
        (f"{PLAIN}:3,w1,2", "verdict_known"),
        (f"{PLAIN}:3,,1", "values_present"),
        ("beef:3,w1,1", "completion_known"),
        (f"{PLAIN}:2,w1,1", "line_judgeable"),
        (f"{PLAIN}:99,w1,1", "line_exists"),
        (f"{PLAIN}:3,w1", "cell_count"),
        ("task,worker,label", "header_once"),
    ],
)
def test_crowd_kit_bad_rows_are_quarantined(tmp_path, row, rule):
    whole = "".join(f"{PLAIN}:{line},w2,0\n" for line in (1, 3, 5))
    found = kit(tmp_path, f"task,worker,label\n{whole}{row}\n")
    assert rules(found)[4] == [rule]
    assert len(found.rows) == 3


def test_crowd_kit_lines_that_are_missing_make_an_answer_incomplete(tmp_path):
    found = kit(tmp_path, f"task,worker,label\n{PLAIN}:3,w1,1\n")
    assert rules(found) == {1: ["answer_complete"]}


def test_crowd_kit_takes_tabs_other_columns_and_a_byte_order_mark(tmp_path):
    rows = "".join(f"{PLAIN}:{line}\tw1\t{int(line == 3)}.0\tx\n" for line in (1, 3, 5))
    found = kit(tmp_path, f"\ufefftask\tworker\tlabel\tnote\r\n{rows}")
    assert wrong_lines(found) == [3]
    assert len(named(found.rows, "crowd_kit")) == 3
