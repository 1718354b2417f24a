"""`crlhf compare` and `crlhf paper-table` on result files made here."""

import json
import re

import pytest

from crlhf.errors import InputError, MissingInputError
from crlhf.stages.paper import make_paper_table
from crlhf.stages.result_comparison import compare_files

PROTOCOL = {"protocol": "humaneval/bigcode-v1", "protocol_sha256": "ab" * 32}


def results(path, passed, **more):
    """A result file: for each problem the samples that passed and those that did not, as in `{3: "1101"}`."""
    rows = [
        {"task_id": f"HumanEval/{number}", "passed": one == "1", **PROTOCOL, **more}
        for number, samples in passed.items()
        for one in samples
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_gain_is_told_with_interval_test_power_and_the_problems_that_flipped(tmp_path):
    before = dict.fromkeys(range(40), "0") | dict.fromkeys(range(10), "1")
    after = before | dict.fromkeys(range(10, 30), "1") | {0: "0"}
    a, b = results(tmp_path / "a.jsonl", before), results(tmp_path / "b.jsonl", after)
    said = compare_files(a, b, ())
    # A solves 10 of 40, B 29: 19 of 40 more, 20 gained and 1 lost. McNemar: 2 * (1 + 21) / 2**21 = 2.1e-5.
    assert re.search(r"pass@1: A 25\.0 % \[.*   B 72\.5 % \[", said[3])
    assert re.search(r"B - A \+47\.5 points \[\+\d+\.\d, \+\d+\.\d\]: a difference$", said[4])
    assert said[5] == "  20 problems better in B, 1 worse; McNemar, exact: p = 2.1e-05"
    assert "is found four times in five" in said[6]
    assert said[-2].startswith("solved by B only (20): humaneval/10, humaneval/11")
    assert said[-1] == "solved by A only (1): humaneval/0"


def test_interval_and_test_must_agree_before_it_is_called_a_difference(tmp_path):
    before = dict.fromkeys(range(164), "0")
    a = results(tmp_path / "a.jsonl", before)
    b = results(tmp_path / "b.jsonl", before | dict.fromkeys(range(4), "1"))
    said = compare_files(a, b, ())
    # The bootstrap's interval of 4 gains and no loss is above 0; four fair coins all fall alike with p = 2 / 16.
    assert "[+0.6, " in said[4]
    assert said[4].endswith("too few problems changed to call it a difference")
    assert said[5].endswith("McNemar, exact: p = 0.125")
    assert compare_files(a, a, ())[4].endswith("no evidence of a difference")


def test_several_samples_give_pass_at_k_and_no_mcnemar(tmp_path):
    a = results(tmp_path / "a.jsonl", {0: "1" + "0" * 9, 1: "0" * 10})
    b = results(tmp_path / "b.jsonl", {0: "1" * 10, 1: "0" * 10})
    said = compare_files(a, b, (1, 10))
    assert "pass@1: A 5.0 % " in said[3]
    assert "left out" in said[5]
    assert any(line.startswith("pass@10: A 50.0 % ") for line in said)
    assert said[-2:] == ["solved by B only (0): -", "solved by A only (0): -"]
    with pytest.raises(InputError, match=r"a\.jsonl: pass@11 is refused: 2 problems have fewer than 11 samples"):
        compare_files(a, b, (11,))


def test_what_is_not_comparable_is_refused(tmp_path):
    a = results(tmp_path / "a.jsonl", {0: "1", 1: "0"})
    other = results(tmp_path / "other.jsonl", {0: "1", 1: "0"}, protocol_sha256="cd" * 32)
    with pytest.raises(InputError, match="scores of different protocols are not comparable"):
        compare_files(a, other, ())
    fewer = results(tmp_path / "fewer.jsonl", {0: "1"})
    with pytest.raises(InputError, match=r"fewer\.jsonl lacks 1 problems that .* has, the first is humaneval/1"):
        compare_files(a, fewer, ())
    with pytest.raises(MissingInputError, match="nothing"):
        compare_files(a, tmp_path / "nothing.jsonl", ())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"task_id": "HumanEval/0", "passed": "yes"}', "row 2: a result must have passed"),
        ("[1]", "row 2: not a JSON object"),
        ('{"task_id"', "row 2: not JSON"),
        (json.dumps({"task_id": "Mbpp/11", "passed": True, **PROTOCOL}), "row 2: task_id 'Mbpp/11' is not"),
    ],
)
def test_a_row_that_is_no_result_is_named(tmp_path, line, message):
    path = results(tmp_path / "a.jsonl", {0: "1"})
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(InputError, match=message):
        compare_files(path, path, ())


def test_the_papers_table_has_a_row_for_each_model_and_says_what_is_left_out(tmp_path):
    before = dict.fromkeys(range(20), "0") | dict.fromkeys(range(5), "1")
    a = results(tmp_path / "a.jsonl", before)
    b = results(tmp_path / "b.jsonl", before | {5: "1"})
    said = []
    paths = make_paper_table([f"small:base={a}", f"small:tuned={b}", f"large:base={a}"], tmp_path / "out", said.append)
    assert [path.rpartition("/")[2] for path in paths] == [
        "paper-table.md", "paper-table.html", "slopes.svg", "slopes.png",
    ]  # fmt: skip
    assert said[0] == "large, humaneval/bigcode-v1, pass@1: only base is there; left out"
    table = (tmp_path / "out/paper-table.md").read_text()
    row = next(line for line in table.splitlines() if line.startswith("| small"))
    assert "25.0" in row
    assert "30.0" in row
    assert "+5.0" in row
    with pytest.raises(InputError, match=r"a\.jsonl: does not say which model wrote it"):
        make_paper_table([str(a)], tmp_path / "out", said.append)
    with pytest.raises(InputError, match="no model has both"):
        make_paper_table([f"small:base={a}"], tmp_path / "none", said.append)
