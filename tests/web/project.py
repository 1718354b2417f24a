"""A small project for the page: problems of the starter set, hand-made completions, and honeypots."""

import shutil
from pathlib import Path

import pandas as pd

from crlhf.crowd.items import completion_items, item_row, items_frame, join_items
from crlhf.evaluation.problems import load_starter
from crlhf.languages import python
from crlhf.lines import sha256_text
from crlhf.schema import COMPLETIONS
from crlhf.store import Store, records

ROOT = Path(__file__).parents[2]


def make_project(root, n_problems=8, n_honeypots=8):
    """Write params.yaml and the tables `problems`, `completions`, `items` and an empty `line_truths` below `root`."""
    shutil.copy(ROOT / "params.yaml", root / "params.yaml")
    store = Store(root, "r1")
    problems = load_starter(ROOT / "data/starter/problems.jsonl")
    store.write("problems", problems)
    rows = records(problems)
    completions = pd.DataFrame(
        [_completion(row, n) for row in rows[:n_problems] for n in range(2)], columns=list(COMPLETIONS.column_names)
    )
    store.write("completions", completions)
    languages = dict(zip(problems["problem_id"], problems["language"], strict=True))
    honeypots = [_honeypot(row, n) for n, row in enumerate(rows[n_problems : n_problems + n_honeypots])]
    store.write("items", join_items(completion_items(completions, languages), items_frame(honeypots)))
    truths = {"completion_id": [], "line_no": [], "is_wrong": [], "method": []}
    store.write("line_truths", pd.DataFrame(truths))
    return store


def _completion(problem, sample_no):
    code = problem["reference"] if sample_no else faulty(problem["reference"])[0]
    return {
        "completion_id": sha256_text(f"{problem['problem_id']} {sample_no}")[:16],
        "problem_id": problem["problem_id"],
        "sample_no": sample_no,
        "policy_id": "hand-made",
        "model_input": problem["prompt"],
        "code": code,
        "code_sha256": sha256_text(code),
        "prompt_token_ids": [1],
        "token_ids": [2, 3],
        "logprobs": [-0.5, -0.5],
        "temperature": 1.0,
        "finish_reason": "stop",
    }


def faulty(code):
    """The program with its last line changed, and the number of that line."""
    lines = code.rstrip("\n").split("\n")
    lines[-1] = lines[-1].replace("return ", "return not ", 1) if "return " in lines[-1] else lines[-1] + "  + 1"
    return "\n".join(lines) + "\n", len(lines)


def _honeypot(problem, n):
    code, wrong = faulty(problem["reference"]) if n % 3 else (problem["reference"], None)
    row = item_row(sha256_text(f"honeypot {n}")[:16], problem["problem_id"], code, python)
    known = {"is_honeypot": True, "wrong_line_nos": [wrong] if wrong else [], "origin": "reference"}
    return row | known | {"fault_kind": "negated" if wrong else "none"}
