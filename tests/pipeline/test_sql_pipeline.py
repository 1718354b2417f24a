"""The whole chain on SQL, from problems to scores, on a tiny policy that has learnt a few queries by heart."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from crlhf.evaluation.problems import load_sql
from crlhf.evaluation.protocols import get_protocol
from crlhf.languages import sql
from crlhf.stages import STAGES, rounds_of, summary_path
from crlhf.stages.runner import execute
from crlhf.store import Store, read_json, records
from tests.tiny_policy import build_model, build_tokenizer

pytestmark = pytest.mark.pipeline

ROOT = Path(__file__).parents[2]
PROTOCOL = "sql/sqlite-v1"
LEARNT = ("sql/1", "sql/2", "sql/31")
"""Problems that the policy has seen with their answers: two of the training problems, and one to be scored on."""


def build_policy(folder):
    """A tiny policy trained on the answers to LEARNT until greedy decoding repeats most of them."""
    import torch

    tokenizer = build_tokenizer()
    model = build_model(tokenizer, seed=1).train()
    protocol = get_protocol(PROTOCOL)
    rows = [row for row in records(load_sql(ROOT / "data/sql/problems.jsonl")) if row["problem_id"] in LEARNT]
    inputs = [tokenizer(protocol.model_input(row))["input_ids"] for row in rows]
    answers = [tokenizer(row["reference"])["input_ids"] for row in rows]
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    for step in range(240):
        prompt, answer = inputs[step % 3], answers[step % 3]
        ids = torch.tensor([prompt + answer])
        logits = model(ids).logits[0, len(prompt) - 1 : -1]
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor(answer))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    folder.mkdir()
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """A project on which every stage has run once, in this process."""
    root = tmp_path_factory.mktemp("sql")
    build_policy(root / "policy")
    for folder in ("data/sql", "data/starter"):
        shutil.copytree(ROOT / folder, root / folder)
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    values["problems"] |= {"training": "sql", "benchmark_folders": [str(ROOT / "tests/fixtures/none")]}
    values["base_policy"] |= {"name": "tiny SQL policy", "source": "path", "location": str(root / "policy")}
    values["completions"] |= {"protocol": PROTOCOL, "n_problems": 4, "n_per_problem": 4, "max_new_tokens": 64}
    values["honeypots"] |= {"n": 8}
    values["crowd"] |= {"verdicts_per_completion": 4, "honeypots_per_annotator": 5}
    values["sandbox"] |= {"timeout_s": 20.0}
    values["ppo"] |= {"num_ppo_epochs": 1, "batch_size": 8, "micro_batch_size": 4, "lora_r": 2}
    values["benchmarks"] |= {"sql": {"limit": 3, "protocol": PROTOCOL}, "max_new_tokens": 160}
    values["benchmarks"]["humaneval"]["limit"] = 2
    values["report"]["n_bootstrap"] = 200
    (root / "params.yaml").write_text(yaml.safe_dump(values))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CRLHF_CACHE", str(root / "cache"))
        patch.setenv("CRLHF_TRACKING", "off")
        patch.setattr("crlhf.evaluation.mbpp_file._answers", lambda url: False)
        for stage in STAGES:
            for name in rounds_of(stage, ["r1"]):
                execute(stage, root, lambda line: None, name)
    return Store(root, "r1")


def test_problems_to_train_on_are_the_28_and_to_be_scored_on_the_12(chain):
    problems = chain.read("problems")
    own = problems[problems["source"] == "sql"]
    assert own.groupby("split").size().to_dict() == {"test": 12, "train": 28}
    assert set(problems.loc[problems["split"] == "train", "source"]) == {"sql"}


def test_completions_are_sql_and_some_of_them_pass(chain):
    completions = chain.read("completions")
    assert len(completions) == 16
    assert completions["model_input"].str.startswith("-- SQLite\nCREATE TABLE").all()
    metrics = read_json(chain.path(summary_path("honeypots", "r1")))["metrics"]
    assert metrics["n_pass"] >= 2
    assert metrics["n_pass"] + metrics["n_fail"] + metrics["n_error"] == 16


def test_honeypots_are_sql_with_faults_of_sql(chain):
    items = chain.read("items")
    honeypots = items[items["is_honeypot"]]
    assert len(honeypots) == 8
    assert set(honeypots["fault_kind"]) <= {*sql.fault_kinds, "none"}
    assert set(honeypots["origin"]) == {"reference", "completion"}
    assert all(row.line_nos == sql.judgeable_lines(row.code) for row in items.itertuples())
    spoilt = honeypots[honeypots["fault_kind"] != "none"]
    assert len(spoilt) == 5
    assert all(len(wrong) == 1 for wrong in spoilt["wrong_line_nos"])


def test_the_crowd_judged_lines_of_sql_and_its_scores_follow_the_truth(chain):
    scores, truths = chain.read("scores"), chain.read("line_truths")
    assert set(chain.read("validated")["completion_id"]) == set(chain.read("items")["completion_id"])
    truth = 1 - truths.groupby("completion_id")["is_wrong"].mean()
    judged = scores.set_index("completion_id")["aligned_score"]
    assert len(judged) >= 12
    assert judged.corr(truth.reindex(judged.index)) > 0.7
    assert chain.read("reliabilities")["is_kept"].any()


def test_ppo_trained_on_them_and_scores_name_the_sql_set(chain):
    manifest = read_json(chain.path("models/r1/manifest.json"))
    assert manifest["is_simulated"] is True
    assert chain.read("ppo_steps")["step"].max() >= 1
    found = {(r["benchmark"], r["policy"]): r for r in json.loads(chain.path("metrics/scores.json").read_text())}
    assert set(found) == {(b, p) for b in ("humaneval", "sql") for p in ("base", "r1")}
    base = found["sql", "base"]
    assert (base["protocol"], base["n_problems"], base["n_samples"]) == (PROTOCOL, 3, 1)
    # of the three problems the policy knows the answer to one by heart
    samples = chain.read("sql", "base").set_index("problem_id")
    assert samples.loc["sql/31", "verdict"] == "pass"
    assert base["value"] == pytest.approx(samples["verdict"].eq("pass").mean())
    assert "sql" in chain.path("reports/report.html").read_text().lower()
