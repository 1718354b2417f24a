"""Every format's fixture gives the one table of `crowd.canonical`."""

import json

import pandas as pd
import pytest

from crlhf.annotations.importers import IMPORTERS, importer_of
from crlhf.annotations.importers.opened import Opened
from crlhf.annotations.importers.resolving import Gold
from tests.annotations.importers.crowd import COLUMNS, EMOJI, FOLDER, HONEYPOT, TIMED, canonical, named, read, rules

WHOLE = {
    "label-studio.json": ("label_studio", TIMED),
    "argilla.json": ("argilla", [*COLUMNS, "status"]),
    "mturk.csv": ("mturk", TIMED),
    "mturk-plain.csv": ("mturk", TIMED),
    "toloka.tsv": ("toloka", [*COLUMNS, "status", "submitted_at"]),
    "crowd-kit.csv": ("crowd_kit", COLUMNS),
    "raw-table.jsonl": ("collected", TIMED),
}
"""Each file with its source and the columns that its format has."""


@pytest.mark.parametrize("name", WHOLE)
def test_every_format_gives_the_same_table(name):
    source, columns = WHOLE[name]
    found = read(FOLDER / name)
    assert found.quarantine.to_dict("records") == []
    rows = named(found.rows, source)
    pd.testing.assert_frame_equal(rows[columns], canonical()[columns])
    assert set(rows["source"]) == {"page" if source == "collected" else source}


@pytest.mark.parametrize("name", ["label-studio.json", "argilla.json", "mturk.csv", "mturk-plain.csv", "toloka.tsv"])
def test_a_skipped_answer_gives_no_row_and_an_empty_one_a_row_for_every_line(name):
    found = read(FOLDER / name)
    rows = named(found.rows, WHOLE[name][0])
    assert found.counts["skipped"] == 1
    assert rows[(rows["annotator_id"] == "cyd") & (rows["completion_id"] == EMOJI)].empty
    empty = rows[(rows["annotator_id"] == "bob") & (rows["completion_id"] == HONEYPOT)]
    assert empty["verdict"].tolist() == ["ok", "ok"]


def test_label_studio_gold_is_a_key_and_no_vote():
    found = read(FOLDER / "label-studio.json")
    assert found.gold == [Gold(HONEYPOT, (2,))]
    assert found.rows["annotator_id"].nunique() == 3


def test_toloka_gold_is_a_key_beside_the_votes_and_training_is_left_out():
    found = read(FOLDER / "toloka.tsv")
    assert found.gold == [Gold(HONEYPOT, (2,))]
    assert found.counts["answers"] == 13  # 12 rows of people, and the key once; neither blanks nor training


def test_label_studio_csv_has_the_same_votes_and_warns_that_gold_is_lost():
    file = Opened.of(FOLDER / "label-studio.csv")
    importer = importer_of(file)
    assert importer.name == "label-studio-csv"
    assert any("gold" in sentence for sentence in importer.warnings(file))
    found = read(FOLDER / "label-studio.csv")
    assert found.quarantine.empty
    whole = canonical()
    gold = found.rows[found.rows["annotator_id"].map(found.rows["annotator_id"].value_counts()) == 2]
    votes = found.rows.drop(gold.index).sort_values(["submitted_at", "line_no"])
    assert gold["verdict"].tolist() == ["ok", "wrong"]  # the expert's key, a vote now
    expected = whole.sort_values(["submitted_at", "line_no"])
    assert votes["verdict"].tolist() == expected["verdict"].tolist()
    assert votes["submitted_at"].tolist() == expected["submitted_at"].tolist()


def test_label_studio_tsv_and_json_min_say_what_the_csv_says(tmp_path):
    file = Opened.of(FOLDER / "label-studio.csv")
    cells = [row[1] for row in file.table(",")]
    tsv = pd.DataFrame(cells)
    tsv.to_csv(tmp_path / "a.tsv", sep="\t", index=False)
    # JSON_MIN: the same fields, a control tag's column as a list and absent where empty
    small = [
        {key: json.loads(value) if key == "wrong" else value for key, value in row.items() if value != ""}
        for row in cells
    ]
    (tmp_path / "a.json").write_text(json.dumps(small))
    expected = read(FOLDER / "label-studio.csv").rows.drop(columns="source_file")
    for name in ("a.tsv", "a.json"):
        found = read(tmp_path / name)
        assert found.quarantine.empty
        pd.testing.assert_frame_equal(found.rows.drop(columns="source_file"), expected)


def test_argilla_forms_are_told_apart_and_say_the_same(tmp_path):
    flat = json.loads((FOLDER / "argilla.json").read_text())
    nested = json.loads((FOLDER / "argilla-nested.json").read_text())
    forms = {
        "flat-names.json": {key: [record[key] for record in flat] for key in flat[0]},
        "flat-index.json": {record["id"]: record for record in flat},
        "nested-names.json": {key: [record[key] for record in nested] for key in nested[0]},
        "nested-index.json": {record["id"]: record for record in nested},
    }
    for name, form in forms.items():
        (tmp_path / name).write_text(json.dumps(form))
        expected = read(FOLDER / ("argilla.json" if name.startswith("flat") else "argilla-nested.json"))
        found = read(tmp_path / name)
        assert found.quarantine.empty
        pd.testing.assert_frame_equal(found.rows.drop(columns="source_file"), expected.rows.drop(columns="source_file"))


def test_nested_argilla_has_no_status_so_the_discarded_answer_counts():
    found = read(FOLDER / "argilla-nested.json")
    assert set(found.rows["status"]) == {"unknown"}
    assert len(found.rows) == len(canonical()) + 3
    rows = named(found.rows, "argilla")
    is_extra = (rows["annotator_id"] == "cyd") & (rows["completion_id"] == EMOJI)
    pd.testing.assert_frame_equal(rows[~is_extra].reset_index(drop=True)[COLUMNS], canonical()[COLUMNS])


def test_no_two_formats_recognise_one_fixture():
    for path in FOLDER.iterdir():
        if path.name in ("README.md", "items.json", ".gitattributes"):
            continue
        file = Opened.of(path)
        assert len([importer.name for importer in IMPORTERS if importer.recognises(file)]) == 1, path


def test_annotators_are_pseudonyms_and_no_name_is_left_anywhere():
    found = read(FOLDER / "label-studio.json")
    assert found.rows["annotator_id"].str.fullmatch(r"a_[0-9a-f]{20}").all()
    assert "example.org" not in found.rows.to_csv()
    assert rules(found) == {}
