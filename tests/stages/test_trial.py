"""`crlhf generate` on a tiny random policy: what it prints, that it repeats, and what it says of bad input."""

import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from click.testing import CliRunner

from crlhf.cli import cli
from crlhf.errors import InputError, MissingInputError, ParamsError
from crlhf.policy.generation import generate
from crlhf.stages.any_policy import PolicyRequest
from crlhf.stages.runner import execute
from crlhf.stages.trial import Settings, ask, open_policy
from crlhf.store import Store
from tests.tiny_policy import build_model, build_tokenizer

ROOT = Path(__file__).parents[2]
# The policy goes on in a comment, so that a text of one line cannot change what the program does.
HEADER = {"prompt": "def f():\n    return 1\n#", "kind": "header", "source": "humaneval", "split": "test"}


def problem(problem_id, test, **more):
    row = {"problem_id": problem_id, "language": "python", "entry_point": "f", "reference": "", "setup_code": ""}
    return row | {"tests": [test]} | HEADER | more


@pytest.fixture(scope="module")
def project(policies):
    """A project whose base policy is `tiny` and whose round r1 has not been run."""
    root = policies / "project"
    root.mkdir()
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    values["base_policy"] = {"name": "tiny", "source": "path", "location": str(policies / "tiny")}
    (root / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    rows = [
        problem("humaneval/0", "assert f() == 1"),
        problem("humaneval/1", "assert f() == 2"),
        problem("starter/1", "assert f() == 1", prompt="Write f.", kind="description", source="starter", split="train"),
    ]
    Store(root).write("problems", pd.DataFrame(rows))
    return root


@pytest.fixture(autouse=True)
def environment(policies, monkeypatch):
    monkeypatch.chdir(policies)
    monkeypatch.setenv("CRLHF_CACHE", str(policies / "cache"))
    monkeypatch.setenv("CRLHF_TRACKING", "off")


def run(*words, given=None, root="."):
    words = ("--root", root, "generate", "--max-new-tokens", 12, *words)
    return CliRunner().invoke(cli, [str(word) for word in words], input=given)


def expected(prompt, *, n=1, temperature=0.0, seed=0):
    samples = generate(
        build_model(build_tokenizer()), build_tokenizer(), [prompt], n=n, max_new_tokens=12, temperature=temperature,
        stops=(), seed=seed, batch_size=16,
    )  # fmt: skip
    return [sample.text for sample in samples]


def test_an_answer_is_what_the_policy_writes_alone_on_standard_output():
    answer = run("--policy", "tiny", "--prompt", "def add(")
    assert answer.exit_code == 0, answer.output
    assert answer.stdout.rstrip("\n") == expected("def add(")[0].rstrip("\n")
    assert "tiny, plain text" in answer.stderr
    assert run("--policy", "tiny", "--prompt", "-", given="def add(").stdout == answer.stdout


def test_a_seed_gives_the_same_answers_each_time_and_another_seed_others():
    words = ("--policy", "tiny", "--prompt", "def add(", "--n", 3)
    first = run(*words, "--seed", 5)
    texts = expected("def add(", n=3, temperature=0.8, seed=5)
    places = [first.stdout.index(text) for text in texts]
    assert places == sorted(places)
    assert "\n# 2 of 3: 12 tokens, length\n" in first.stdout
    assert run(*words, "--seed", 5).stdout == first.stdout
    assert run(*words, "--seed", 6).stdout != first.stdout


def test_an_answer_ends_before_a_stop_string():
    whole = expected("def add(")[0]
    stop = whole[3:5]
    cut = run("--policy", "tiny", "--prompt", "def add(", "--stop", stop).stdout
    assert cut.rstrip("\n") == whole[: whole.index(stop)].rstrip("\n")


def test_an_answer_is_told_piece_by_piece_and_no_piece_is_taken_back(policies):
    policy = open_policy(PolicyRequest(str(policies / "tiny")), print)
    n_pieces = 0
    for seed in range(40):  # a random policy writes bytes that are no character, or begin one
        settings = Settings(temperature=1.0, max_new_tokens=24, seed=seed, stops=("\n\n", "return", "e"))
        pieces = []
        (answer,) = ask(policy, "def add(", settings, tell=pieces.append)
        assert "".join(pieces) == answer.text
        n_pieces += len(pieces)
    assert n_pieces > 200


def test_a_policy_with_a_chat_template_chats_unless_told_not_to():
    chat = run("--policy", "talker", "--prompt", "Write f.")
    assert chat.stdout.rstrip("\n") == expected("<user>Write f.<me>")[0].rstrip("\n")
    assert "talker, chat" in chat.stderr
    plain = run("--policy", "talker", "--prompt", "Write f.", "--plain")
    assert plain.stdout.rstrip("\n") == expected("Write f.")[0].rstrip("\n")


def test_an_adapter_answers_otherwise_than_its_base():
    tuned = run("--policy", "tuned", "--base", "tiny", "--prompt", "def add(")
    assert tuned.exit_code == 0, tuned.output
    assert tuned.stdout != run("--policy", "tiny", "--prompt", "def add(").stdout
    assert "adapter tuned" in tuned.stderr


def test_policies_of_the_project_go_by_name(project):
    absent = run("--policy", "base", "--prompt", "def add(", root="project")
    assert isinstance(absent.exception, MissingInputError)
    execute("base_policy", project, lambda text: None)
    answer = run("--policy", "base", "--prompt", "def add(", root="project")
    assert answer.stdout.rstrip("\n") == expected("def add(")[0].rstrip("\n")
    not_run = run("--policy", "r1", "--prompt", "def add(", root="project")
    assert isinstance(not_run.exception, MissingInputError)
    assert "models/r1/manifest.json" in str(not_run.exception)
    unknown = run("--policy", "r7", "--prompt", "def add(", root="project")
    assert "no such file or folder" in str(unknown.exception)


@pytest.fixture
def tuned_project(project, policies, tmp_path):
    """The project with a round r1 that a simulated crowd taught; its adapter names its base as a round's does."""
    root = tmp_path / "project"
    shutil.copytree(project, root)
    execute("base_policy", root, lambda text: None)
    base = json.loads((root / "models/base/manifest.json").read_text())
    shutil.copytree(policies / "tuned", root / "models/r1/adapter")
    config = root / "models/r1/adapter/adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"base_model_name_or_path": base["policy_id"]}))
    manifest = {"name": "tuned, round r1", "policy_id": "1+2", "weights": "adapter", "is_simulated": True, "base": base}
    (root / "models/r1/manifest.json").write_text(json.dumps(manifest))
    return root


def test_a_rounds_adapter_can_be_named_in_every_way(tuned_project, monkeypatch):
    monkeypatch.chdir(tuned_project)
    shutil.copytree("models/r1/adapter", "elsewhere")
    first = run("--policy", "r1", "--prompt", "def add(")
    assert first.exit_code == 0, first.output
    for words in (
        ("models/r1",),
        ("models/r1/adapter",),
        ("models/r1/adapter", "--base", "base"),
        ("models/r1/adapter", "--base", "models/base"),
        ("elsewhere",),  # its base is found in the cache
        ("elsewhere", "--base", "base"),
    ):
        answer = run("--prompt", "def add(", "--policy", *words)
        assert answer.exit_code == 0, answer.output
        assert answer.stdout == first.stdout
        assert ("taught by a simulated crowd" in answer.stderr) is (words[0] != "elsewhere")


@pytest.mark.parametrize(
    ("place", "command"), [("r1", "ppo --round r1"), ("models/r1", "ppo --round r1"), ("base", "base_policy")]
)
def test_a_policy_that_has_not_been_made_is_told_with_its_command(project, tmp_path, monkeypatch, place, command):
    shutil.copy(project / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        answer = run("--policy", place, "--prompt", "x")
        assert isinstance(answer.exception, MissingInputError)
        assert f"manifest.json: no such file; `crlhf {command}` makes this policy" in str(answer.exception)
        (tmp_path / "models/r1").mkdir(parents=True, exist_ok=True)  # as a run that was broken off leaves it


def test_a_problem_is_asked_in_the_words_of_its_protocol(project):
    trained = run("--policy", "tiny", "--problem", "starter/1", "--temperature", 0, root="project")
    text = expected('"""\nWrite f.\nassert f() == 1\n"""\n')[0]
    assert trained.exit_code == 0, trained.output
    assert trained.stdout.rstrip("\n")
    assert text.startswith(trained.stdout.rstrip("\n"))  # the protocol's stop strings may cut it
    assert "starter/1, mbpp/incoder0-v1" in trained.stderr
    scored = run("--policy", "tiny", "--problem", "humaneval/0", root="project")
    assert expected(HEADER["prompt"])[0].startswith(scored.stdout.rstrip("\n"))
    assert "humaneval/bigcode-v1" in scored.stderr
    other = run("--policy", "tiny", "--problem", "humaneval/0", "--protocol", "humaneval/human-eval-v1", root="project")
    assert "humaneval/0, humaneval/human-eval-v1" in other.stderr


def test_checked_answers_carry_the_verdict_of_the_tests(project):
    words = ("--policy", "tiny", "--n", 3, "--max-new-tokens", 1, "--check", "--stop", "\n")
    right = run(*words, "--problem", "humaneval/0", root="project")
    assert right.exit_code == 0, right.output
    assert right.stdout.count("; pass, ") == 3
    assert "3 of 3 pass all tests" in right.stderr
    wrong = run(*words, "--problem", "humaneval/1", root="project")
    assert wrong.exit_code == 0
    assert wrong.stdout.count("; fail, ") == 3
    assert "hygiene" in wrong.stdout
    assert "0 of 3 pass all tests" in wrong.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "give --prompt TEXT"),
        (("--prompt", "x", "--problem", "starter/1"), "leave --prompt out"),
        (("--problem", "starter/1", "--plain"), "leave --plain out"),
        (("--prompt", "x", "--check"), "--check needs --problem"),
        (("--prompt", "x", "--protocol", "p"), "--protocol needs --problem"),
        (("--prompt", "x", "--stop", ""), "--stop must not be empty"),
        (("--prompt", "x", "--n", "0"), "--n"),
    ],
)
def test_options_that_contradict_each_other_are_a_usage_error(words, says):
    answer = run("--policy", "tiny", *words)
    assert answer.exit_code == 2
    assert says in answer.stderr


@pytest.mark.parametrize(
    ("words", "error", "says"),
    [
        (("--policy", "nothing", "--prompt", "x"), MissingInputError, "nothing: no such file or folder"),
        (("--policy", "not loaded", "--prompt", " \n"), InputError, "the prompt is empty"),
        (("--policy", "not loaded", "--prompt", "x", "--n", "2", "--temperature", "0"), ParamsError, "greedy answers"),
        (
            ("--policy", "not loaded", "--problem", "humaneval/0", "--n", "2", "--temperature", "0"),
            ParamsError,
            "greedy",
        ),
        (("--policy", "tiny", "--prompt", "\udcff"), InputError, "not UTF-8"),
        (("--policy", "tiny", "--prompt", "x" * 4000), InputError, "does not fit into the policy's context of 2048"),
        (("--policy", "tiny", "--problem", "humaneval/9"), InputError, "none of its 3 problems is 'humaneval/9'"),
        (("--policy", "tiny", "--problem", "starter/1", "--protocol", "?"), ParamsError, "known are humaneval"),
        (("--policy", "tiny", "--problem", "starter/1", "--protocol", "humaneval/bigcode-v1"), ParamsError, "kind"),
    ],
)
def test_bad_input_is_one_sentence_and_its_exit_code(project, words, error, says):
    answer = run(*words, root="project")
    assert isinstance(answer.exception, error)
    assert says in str(answer.exception)
    assert answer.stdout == ""


def test_standard_input_that_is_not_utf8_is_said_to_be_so():
    assert "standard input: not UTF-8" in str(run("--policy", "tiny", "--prompt", "-", given=b"\xff\xfe").exception)


def test_on_a_terminal_prompts_are_asked_for_and_a_bad_one_ends_nothing(policies):
    parent, child = pty.openpty()
    command = [sys.executable, "-m", "crlhf", "generate", "--policy", "tiny", "--max-new-tokens", "12"]
    with subprocess.Popen(
        command, cwd=policies, stdin=child, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
    ) as process:  # fmt: skip
        os.close(child)
        bad = "\\" * 900  # a terminal takes 4096 bytes a line
        os.write(parent, f"def add(\n\n{bad}{bad}{bad}\ndef add(\n\x04".encode())
        stdout, stderr = process.communicate(timeout=120)
    os.close(parent)
    assert process.returncode == 0, stderr
    (text,) = expected("def add(")
    assert stdout == 2 * (text if text.endswith("\n") else text + "\n")
    assert stderr.count("> ") >= 4
    assert "does not fit into the policy's context" in stderr
