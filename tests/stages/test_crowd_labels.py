"""The generic door: any binary crowd labels from CSV to CSV."""

import numpy as np
import pandas as pd
import pytest

from crlhf.crowd.generators import generate
from crlhf.errors import InputError, MissingInputError, ParamsError
from crlhf.reliability import aggregate_labels
from crlhf.stages.crowd_labels import aggregate_files

LABELS = "task,worker,label\n01,w1,1\n01,w2,1\n01,w3,0\nb,w1,0\nb,w2,0\nb,w3,1\n"


def write(folder, name, text):
    path = folder / name
    path.write_text(text)
    return path


def test_the_files_hold_what_the_function_returns_and_ids_stay_text(tmp_path):
    labels = write(tmp_path, "labels.csv", "\ufeff" + LABELS)
    gold = write(tmp_path, "gold.csv", "task,label\n01,1\n")
    lines = aggregate_files(labels, gold, "dawid_skene", tmp_path / "out")
    table = pd.DataFrame(
        [["01", "w1", 1], ["01", "w2", 1], ["01", "w3", 0], ["b", "w1", 0], ["b", "w2", 0], ["b", "w3", 1]],
        columns=["task", "worker", "label"],
    )
    expected = aggregate_labels(table, pd.Series({"01": 1})).posteriors
    found = pd.read_csv(tmp_path / "out" / "posteriors.csv", dtype={"task": str})
    assert list(found.columns) == ["task", "probability"]
    assert found["task"].tolist() == ["01", "b"]
    assert found["probability"].tolist() == pytest.approx(expected["probability"].tolist(), abs=1e-15)
    assert pd.read_csv(tmp_path / "out" / "annotators.csv")["worker"].tolist() == ["w1", "w2", "w3"]
    assert not any("assumed" in line for line in lines)


def test_without_gold_the_orientation_is_said_to_be_assumed(tmp_path):
    lines = aggregate_files(write(tmp_path, "l.csv", LABELS), None, "majority", tmp_path / "out")
    assert any("is assumed, not known" in line for line in lines)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("task,worker,label\na,w1,2\n", r"l\.csv: row 1: the label is '2'"),
        ("task,worker,label\na,w1,1\nb,w1,\n", r"l\.csv: row 2: no label"),
        ("task,worker,label\n,w1,1\n", r"l\.csv: row 1: no task"),
        ("task,label\na,1\n", r"l\.csv: column 'worker' is missing"),
        ("task,worker,label\na,w1,nan\n", r"l\.csv: row 1: the label is 'nan'"),
        ('task,worker,label\na,w1,1\n"b,w1,1\n', r"l\.csv: not readable as CSV"),
        ("", r"l\.csv: the file is empty"),
        ("task,worker,label,label\na,w1,1,0\n", r"l\.csv: column 'label' is named twice"),
        ("task,worker,label\na,w1,1,7\n", r"l\.csv: row 1 has more values"),
        ("task,worker,label\na,w1,1\na,w2,1,7\n", r"l\.csv: not readable as CSV: .* line 3"),
    ],
)
def test_a_bad_file_is_named_with_row_and_rule_and_nothing_is_written(tmp_path, text, word):
    with pytest.raises(InputError, match=word):
        aggregate_files(write(tmp_path, "l.csv", text), None, "dawid_skene", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_missing_file_and_an_unknown_method_are_named(tmp_path):
    with pytest.raises(MissingInputError, match=r"none\.csv: no such file"):
        aggregate_files(tmp_path / "none.csv", None, "dawid_skene", tmp_path / "out")
    with pytest.raises(ParamsError, match="method 'mean' is unknown; choose one of dawid_skene"):
        aggregate_files(write(tmp_path, "l.csv", LABELS), None, "mean", tmp_path / "out")
    bad_gold = write(tmp_path, "gold.csv", "task,label\n01,1\n01,1\n")
    with pytest.raises(InputError, match=r"gold\.csv: row 2: task '01' is listed twice"):
        aggregate_files(write(tmp_path, "l.csv", LABELS), bad_gold, "dawid_skene", tmp_path / "out")


def test_a_byte_order_mark_windows_lines_repeated_labels_and_unknown_gold_are_read_and_said(tmp_path):
    text = "\ufefftask,worker,label\r\na,w1,1\r\na,w2,0\r\nb,w1,1\r\nb,w1,1\r\n"
    gold = write(tmp_path, "gold.csv", "task,label\nzz,1\na,1\n")
    said = aggregate_files(write(tmp_path, "l.csv", text), gold, "dawid_skene", tmp_path / "out")
    assert "1 labels repeat a task and worker (row 4 is the first); all of them count." in said
    assert "1 of 2 gold tasks have no label and are ignored, 'zz' first." in said
    posteriors = pd.read_csv(tmp_path / "out" / "posteriors.csv")
    assert posteriors["task"].tolist() == ["a", "b"]


def test_blank_lines_are_no_rows(tmp_path):
    labels = write(tmp_path, "l.csv", "\n\ntask,worker,label\n\na,w1,1\n\nb,w1,0\n\n")
    aggregate_files(labels, None, "dawid_skene", tmp_path / "out")
    assert pd.read_csv(tmp_path / "out" / "posteriors.csv")["task"].tolist() == ["a", "b"]


def test_a_file_with_a_header_only_gives_tables_with_a_header_only(tmp_path):
    aggregate_files(write(tmp_path, "l.csv", "task,worker,label\n"), None, "dawid_skene", tmp_path / "out")
    assert (tmp_path / "out" / "posteriors.csv").read_text() == "task,probability\n"


def structured(folder):
    """A simulated crowd whose wrong lines come in runs, as files, and its truth."""
    crowd = generate("two_coin", 20_000, 40, 3)
    lines = crowd.lines.assign(task=crowd.lines["completion"].astype(str) + ":" + crowd.lines["line_no"].astype(str))
    task = lines["task"].to_numpy()[crowd.labels["line"]]
    labels = pd.DataFrame({"task": task, "worker": crowd.labels["annotator"], "label": crowd.labels["is_marked"] * 1})
    labels.sample(frac=1, random_state=0).to_csv(folder / "labels.csv", index=False)
    key = lines[lines["is_honeypot"]]
    key.assign(label=key["is_wrong"] * 1)[["task", "label"]].to_csv(folder / "gold.csv", index=False)
    return lines.set_index("task")


def test_tasks_of_one_program_are_judged_together_unless_told_otherwise(tmp_path):
    lines = structured(tmp_path)
    free = lines[~lines["is_honeypot"]]
    loss, said = {}, {}
    for model in ("auto", "independent"):
        said[model] = aggregate_files(
            tmp_path / "labels.csv", tmp_path / "gold.csv", "dawid_skene", tmp_path / model, tasks=model
        )
        p = pd.read_csv(tmp_path / model / "posteriors.csv", index_col="task")["probability"][free.index]
        loss[model] = -np.log(np.where(free["is_wrong"], p, 1 - p)).mean()
    assert any("hang together" in line for line in said["auto"])
    assert not any("hang together" in line for line in said["independent"])
    assert loss["auto"] < 0.75 * loss["independent"]  # 0.55 to 0.65 over ten seeds
    auto, alone = (tmp_path / model / "annotators.csv" for model in ("auto", "independent"))
    assert auto.read_bytes() == alone.read_bytes()


def test_the_majority_is_not_smoothed(tmp_path):
    structured(tmp_path)
    found = {}
    for model in ("auto", "independent"):
        aggregate_files(tmp_path / "labels.csv", tmp_path / "gold.csv", "majority", tmp_path / model, tasks=model)
        found[model] = (tmp_path / model / "posteriors.csv").read_bytes()
    assert found["auto"] == found["independent"]


def test_without_gold_no_task_is_judged_by_its_neighbours(tmp_path):
    structured(tmp_path)
    said = aggregate_files(tmp_path / "labels.csv", None, "dawid_skene", tmp_path / "out")
    assert not any("hang together" in line for line in said)
