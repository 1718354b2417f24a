"""Label Studio's traps, one test each."""

import copy
import json

import pytest

from crlhf.lines import sha256_text
from tests.annotations.importers.crowd import CRLF, EMOJI, FOLDER, HONEYPOT, KEY, PLAIN, items, read, rules

CODES = items().set_index("completion_id")["code"]


@pytest.fixture
def run(tmp_path):
    def run(*results, data=None, key="annotations", **fields):
        """Read one task with one annotation."""
        annotation = {
            "id": 1,
            "completed_by": 10,
            "was_cancelled": False,
            "ground_truth": False,
            "created_at": "2021-03-09T22:16:08.728353Z",
            "updated_at": "2021-03-09T22:16:08.728378Z",
            "lead_time": 4.288,
            "result": list(results),
        } | fields
        task = {"id": 1, "data": data or {"completion_id": PLAIN, "code": CODES[PLAIN]}, key: [annotation]}
        path = tmp_path / "export.json"
        path.write_text(json.dumps([task]))
        return read(path)

    return run


def region(kind="labels", **value):
    return {"id": "r1", "from_name": "wrong", "to_name": "code", "type": kind, "value": value}


def wrong_lines(found):
    assert rules(found) == {}
    return found.rows.loc[found.rows["verdict"] == "wrong", "line_no"].tolist()


def test_times_and_work_are_those_of_the_last_change(run):
    row = run().rows.iloc[0]
    assert row["submitted_at"] == "2021-03-09T22:16:08.728378+00:00"
    assert row["duration_s"] == 4.288


def test_completed_by_may_be_a_number_a_user_or_missing(run):
    by_number = run(completed_by=10).rows["annotator_id"].unique()
    by_user = run(completed_by={"id": 10, "email": "a@example.org", "first_name": "A"}).rows["annotator_id"].unique()
    assert by_number.tolist() == by_user.tolist() == [KEY.of("10", "label_studio")]
    assert run(completed_by={"email": "a@example.org"}).rows["annotator_id"][0] == KEY.of(
        "a@example.org", "label_studio"
    )
    found = run(completed_by=None)
    assert len(found.rows) == 3
    assert found.counts["anonymous"] == 1


def test_two_answers_without_an_annotator_are_not_one_persons(tmp_path):
    task = json.loads((FOLDER / "label-studio.json").read_text())[0]
    for annotation in task["annotations"]:
        del annotation["completed_by"]
    (tmp_path / "a.json").write_text(json.dumps([task]))
    assert read(tmp_path / "a.json").rows["annotator_id"].nunique() == 3


def test_ground_truth_is_a_key_and_cancelled_answers_and_old_skips_give_no_row(run):
    found = run(region(start=0, end=3, text="def", labels=["WRONG"]), ground_truth=True)
    assert found.rows.empty
    assert found.gold[0].wrong_line_nos == (1,)
    assert run(was_cancelled=True).rows.empty
    assert run(was_cancelled=True, ground_truth=True).gold == []
    assert run(was_cancelled=None, skipped=True).counts["skipped"] == 1


def test_completions_of_before_1_0_are_annotations(run):
    found = run(key="completions", created_at=1615328168, updated_at=None)
    assert found.rows["verdict"].tolist() == ["ok"] * 3
    assert found.rows["submitted_at"][0] == "2021-03-09T22:16:08+00:00"


def test_a_single_task_of_a_cloud_storage_is_read(tmp_path):
    task = json.loads((FOLDER / "label-studio.json").read_text())[0]
    (tmp_path / "1.json").write_text(json.dumps(task))
    assert len(read(tmp_path / "1.json").rows) == 9


def test_reviews_agreement_ids_of_drafts_and_predictions_do_not_disturb(tmp_path):
    tasks = json.loads((FOLDER / "label-studio.json").read_text())
    more = copy.deepcopy(tasks)
    for task in more:
        task["agreement"] = 66.7
        task["predictions"] = [{"model_version": "m", "result": [region(start=0, end=3, text="def", labels=["WRONG"])]}]
        task["drafts"] = [17, 18]
        for annotation in task["annotations"]:
            annotation["reviews"] = [{"id": 1, "created_by": {"id": 1, "email": "r@example.org"}, "accepted": True}]
    (tmp_path / "label-studio.json").write_text(json.dumps(more))
    assert read(tmp_path / "label-studio.json").rows.equals(read(FOLDER / "label-studio.json").rows)


def test_drafts_and_rejected_answers_are_kept_with_their_status(tmp_path):
    task = json.loads((FOLDER / "label-studio.json").read_text())[0]
    mark = region(start=0, end=3, text="def", labels=["WRONG"])
    draft = {"id": 5, "user": "bob@example.org", "result": [mark], "created_at": "2025-03-15T09:00:00Z"}
    task["drafts"] = [draft, 17]
    task["annotations"][0]["reviews"] = [{"accepted": True}, {"accepted": False}]
    (tmp_path / "a.json").write_text(json.dumps([task]))
    found = read(tmp_path / "a.json")
    assert rules(found) == {}
    assert found.rows["status"].tolist() == ["rejected"] * 3 + ["submitted"] * 6 + ["draft"] * 3
    assert found.rows["verdict"].tolist()[-3:] == ["wrong", "ok", "ok"]


def test_without_text_lines_that_depend_on_how_crlf_is_counted_are_not_guessed(run):
    data = {"completion_id": CRLF, "code": CODES[CRLF]}
    whole = CODES[CRLF].replace("\r\n", "\n")
    at = whole.index("total")  # the first blanks of line 2, or its break and blanks: one line however it is counted
    assert wrong_lines(run(region(start=at, end=at + 5, labels=["WRONG"]), data=data)) == [2]
    at = whole.index("    return")  # line 3 in a page, the end of line 2 in the text as it is
    assert rules(run(region(start=at, end=at + 2, labels=["WRONG"]), data=data)) == {1: ["offset_mismatch"]}


def test_offsets_may_be_text_and_the_marked_text_may_be_missing(run):
    assert wrong_lines(run(region(start="41", end="46", labels=["WRONG"]))) == [3]


def test_a_mark_that_no_way_of_counting_explains_is_quarantined_with_the_reason(run):
    found = run(region(start=0, end=5, text="total", labels=["WRONG"]))
    assert found.rows.empty
    assert rules(found) == {1: ["offset_mismatch"]}
    assert "but the tool says it was on 'total'" in found.quarantine["reason"][0]


def test_html_regions_are_read_from_their_global_offsets(run):
    offsets = {"globalOffsets": {"start": 41, "end": 46}, "text": "a - b"}
    inner = {"start": "/pre[1]/text()[1]", "end": "/pre[1]/text()[1]", "startOffset": 3, "endOffset": 8}
    assert wrong_lines(run(region("hypertextlabels", **inner, **offsets, hypertextlabels=["WRONG"]))) == [3]
    assert wrong_lines(run(region("hypertextlabels", **inner, **offsets, htmllabels=["WRONG"]))) == [3]


def test_global_offsets_are_checked_against_the_text_too(run):
    offsets = {"start": 0, "end": 5}
    found = run(
        region("hypertextlabels", start="/p[1]", end="/p[1]", globalOffsets=offsets, text="a - b", labels=["WRONG"])
    )
    assert rules(found) == {1: ["offset_mismatch"]}
    found = run(region("hypertextlabels", start="/p[1]", end="/p[2]", startOffset=1, endOffset=2, labels=["WRONG"]))
    assert rules(found) == {1: ["offset_mismatch"]}


@pytest.mark.parametrize(("start", "end", "lines"), [(2, 2, [3]), ("2", "4", [3, 5]), (0, 2, [1, 3])])
def test_paragraphs_are_lines_counted_from_0(run, start, end, lines):
    value = {"start": start, "end": end, "startOffset": 1, "endOffset": 4, "paragraphlabels": ["WRONG"]}
    assert wrong_lines(run(region("paragraphlabels", **value))) == lines


def test_a_region_of_paragraphs_that_ends_before_the_first_character_leaves_that_line(run):
    value = {"start": 0, "end": 2, "startOffset": 1, "endOffset": 0, "paragraphlabels": ["WRONG"]}
    found = run(region("paragraphlabels", **value))
    assert wrong_lines(found) == [1]
    assert found.counts["unjudged marks"] == 1  # line 2 is a comment


def test_a_paragraph_that_is_not_there_is_quarantined(run):
    found = run(region("paragraphlabels", start=9, end=9, startOffset=0, endOffset=1, paragraphlabels=["WRONG"]))
    assert rules(found) == {1: ["line_exists"]}


def test_choices_say_that_nothing_is_wrong_or_name_lines(run):
    assert wrong_lines(run(region("choices", choices=["No wrong line"]))) == []
    assert wrong_lines(run(region("choices", choices=["3", "line 5"]))) == [3, 5]
    assert wrong_lines(run(region("choices", choices=["easy"]))) == []


def test_an_answer_that_contradicts_itself_is_quarantined(run):
    mark = region(start=41, end=46, text="a - b", labels=["WRONG"])
    found = run(mark, region("choices", choices=["No wrong line"]))
    assert rules(found) == {1: ["answer_consistent"]}


def test_the_label_is_the_word_for_the_error_and_ok_takes_a_mark_back(run):
    found = run(region(start=41, end=46, text="a - b", labels=["off by one"]))
    assert found.rows["error_type"].tolist() == ["", "off by one", ""]
    assert wrong_lines(run(region(start=41, end=46, text="a - b", labels=["OK"]))) == []
    both = run(
        region(start=41, end=46, text="a - b", labels=["WRONG"]),
        region("choices", start=41, end=46, text="a - b", choices=["wrong operator"]),
    )
    assert both.rows["error_type"].tolist() == ["", "wrong operator", ""]


def test_a_program_is_found_by_its_code_however_its_lines_end(run):
    for code in (CODES[CRLF], CODES[CRLF].replace("\r\n", "\n")):
        found = run(data={"text": code})
        assert found.rows["completion_id"].unique().tolist() == [CRLF]
        assert (
            found.rows["code_sha256"].unique().tolist()
            == items().set_index("completion_id").loc[[CRLF], "code_sha256"].tolist()
        )


def test_text_beside_an_id_may_be_anything(run):
    mark = region(start=41, end=46, text="a - b", labels=["WRONG"])
    assert wrong_lines(run(mark, data={"sample_id": PLAIN, "text": "What is wrong here?"})) == [3]


def test_a_mark_that_holds_a_line_break_only_is_counted_and_says_nothing(run):
    found = run(region(start=46, end=47, text="\n", labels=["WRONG"]))
    assert wrong_lines(found) == []
    assert found.counts["unjudged marks"] == 1


def test_a_program_that_was_not_shown_is_quarantined_by_name(run):
    found = run(data={"code": "print('hello')"})
    assert rules(found) == {1: ["completion_known"]}
    assert "the code begins" in found.quarantine["reason"][0]
    found = run(data={"completion_id": "beef"})
    assert "completion_id is 'beef'" in found.quarantine["reason"][0]


PLAIN_SHA, EMOJI_SHA = (sha256_text(CODES[which]) for which in (PLAIN, EMOJI))


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        ({"completion_id": PLAIN, "code": CODES[EMOJI]}, "code_matches"),
        ({"completion_id": PLAIN, "code_sha256": EMOJI_SHA}, "code_matches"),
        ({"completion_id": PLAIN, "code_sha256": PLAIN_SHA, "code": CODES[PLAIN] + "!"}, "code_matches"),
        ({"completion_id": PLAIN, "code_sha256": EMOJI_SHA, "code": CODES[PLAIN]}, "code_matches"),
        ({"completion_id": PLAIN, "code_sha256": "0" * 64, "code": CODES[PLAIN]}, "code_matches"),
        ({"code_sha256": PLAIN_SHA, "code": CODES[EMOJI]}, "code_matches"),
        ({"code_sha256": "0" * 64, "code": CODES[PLAIN]}, "code_matches"),
        ({"code_sha256": PLAIN_SHA, "code": "changed"}, "code_matches"),
        ({"completion_id": "beef", "code_sha256": PLAIN_SHA}, "completion_known"),
        ({"completion_id": "beef", "code": CODES[PLAIN]}, "completion_known"),
        ({"code_sha256": "0" * 64, "code": "changed"}, "completion_known"),
    ],
)
def test_id_hash_and_code_must_all_name_one_program(run, data, rule):
    found = run(data=data)
    assert found.rows.empty
    assert rules(found) == {1: [rule]}


def test_id_hash_and_code_that_agree_are_one_program(run):
    for code in (CODES[CRLF], CODES[CRLF].replace("\r\n", "\n")):
        for sha256 in (sha256_text(CODES[CRLF]), sha256_text(code)):
            found = run(data={"completion_id": CRLF, "code_sha256": sha256, "code": code})
            assert set(found.rows["completion_id"]) == {CRLF}


def test_a_cut_file_keeps_its_whole_tasks(tmp_path):
    text = (FOLDER / "label-studio.json").read_text()
    path = tmp_path / "cut.json"
    path.write_text(text[: text.index('"ground_truth": true')])
    found = read(path)
    assert found.rows["completion_id"].nunique() == 3
    assert HONEYPOT not in set(found.rows["completion_id"])
    assert list(rules(found).values()) == [["json_object"]]


def test_names_do_not_reach_the_quarantine(run):
    user = {"id": 77, "email": "person@example.org", "first_name": "Pat"}
    found = run(region(start=0, end=5, text="zz", labels=["WRONG"]), completed_by=user, updated_by=user)
    text = found.quarantine["row"][0]
    assert "person@example.org" not in text
    assert "Pat" not in text
    assert KEY.of("77", "label_studio") in text


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"result": "none"}, "value_type"),
        ({"result": [1]}, "value_type"),
        ({"lead_time": "long"}, "value_type"),
        ({"lead_time": -3}, "duration_valid"),
        ({"updated_at": "yesterday"}, "times_valid"),
        ({"result": [region(start="x", end=3, text="def", labels=["WRONG"])]}, "offset_mismatch"),
        ({"result": [region(start=0, end="x", text="def", labels=["WRONG"])]}, "value_type"),
    ],
)
def test_a_wrong_value_is_quarantined_by_rule(run, fields, rule):
    found = run(**fields)
    assert found.rows.empty
    assert rules(found) == {1: [rule]}
