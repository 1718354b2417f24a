"""Import of 1e4 and 1e5 verdicts in each format: seconds, verdicts a second, and the peak of memory.

Each import runs in a process of its own, through the verb, into an empty project: reading, matching, the rules, the
batch and the ledger. The same file is imported a second time, which must add nothing.
"""

from __future__ import annotations

import csv
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SIZES = (10_000, 100_000)
N_LINES, N_ANNOTATORS = 10, 50


def code_of(item: int) -> str:
    return f"def f{item}(x):\n" + "".join(f"    x = x + {line}\n" for line in range(N_LINES - 2)) + "    return x"


def make_items(root: Path, n: int) -> None:
    import pandas as pd

    from crlhf.crowd.items import item_row, items_frame
    from crlhf.languages import python
    from crlhf.store import Store

    rows: list[dict[str, Any]] = [
        item_row(f"{item:016x}", f"starter/{item}", code_of(item), python) for item in range(n)
    ]
    frame: pd.DataFrame = items_frame(rows)
    shutil.copy(Path(__file__).parents[1] / "params.yaml", root)
    Store(root, "r1").write("items", frame)


def answers(n_items: int, n_answers: int) -> list[tuple[int, int]]:
    return [(number % n_items, number // n_items % N_ANNOTATORS) for number in range(n_answers)]


def label_studio(path: Path, pairs: list[tuple[int, int]]) -> None:
    tasks: dict[int, Any] = {}
    for item, who in pairs:
        code = code_of(item)
        start = code.index("return")
        value = {"start": start, "end": start + 6, "text": "return", "labels": ["WRONG"]}
        annotation = {
            "id": item * 1000 + who,
            "completed_by": who,
            "was_cancelled": False,
            "ground_truth": False,
            "created_at": "2025-03-15T10:00:00Z",
            "lead_time": 30.0,
            "result": [{"type": "labels", "value": value}],
        }
        data = {"completion_id": f"{item:016x}", "code": code}
        tasks.setdefault(item, {"id": item, "data": data, "annotations": []})["annotations"].append(annotation)
    path.write_text(json.dumps(list(tasks.values())))


def argilla(path: Path, pairs: list[tuple[int, int]]) -> None:
    records: dict[int, Any] = {}
    for item, who in pairs:
        code = code_of(item)
        start = code.index("return")
        empty = {"wrong.responses": [], "wrong.responses.users": [], "wrong.responses.status": []}
        record = records.setdefault(item, {"id": f"{item:016x}", "_server_id": str(item), "code": code} | empty)
        record["wrong.responses"].append([{"label": "WRONG", "start": start, "end": start + 6}])
        record["wrong.responses.users"].append(f"user-{who}")
        record["wrong.responses.status"].append("submitted")
    path.write_text(json.dumps(list(records.values())))


def mturk(path: Path, pairs: list[tuple[int, int]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        names = ["HITId", "AssignmentId", "WorkerId", "AssignmentStatus", "AcceptTime", "SubmitTime"]
        writer.writerow([*names, "WorkTimeInSeconds", "Input.completion_id", "Input.code", "Answer.taskAnswers"])
        for number, (item, who) in enumerate(pairs):
            start = code_of(item).index("return")
            answer = [{"wrong": {"entities": [{"startOffset": start, "endOffset": start + 6, "label": "WRONG"}]}}]
            at = "Sat Mar 15 10:00:00 UTC 2025"
            row = [f"H{item}", f"A{number}", f"W{who}", "Approved", at, at, "30", f"{item:016x}", code_of(item)]
            writer.writerow([*row, json.dumps(answer)])


def crowd_kit(path: Path, pairs: list[tuple[int, int]]) -> None:
    with path.open("w") as file:
        file.write("task,worker,label\n")
        for item, who in pairs:
            file.writelines(f"{item:016x}:{line},w{who},{int(line == N_LINES)}\n" for line in range(1, N_LINES + 1))


FORMATS: dict[str, tuple[str, Callable[[Path, list[tuple[int, int]]], None]]] = {
    "label-studio": ("a.json", label_studio),
    "argilla": ("a.json", argilla),
    "mturk": ("a.csv", mturk),
    "crowd-kit": ("a.csv", crowd_kit),
}


def measure(root: Path, path: Path) -> tuple[float, float, str]:
    """Seconds, peak MiB and the last line of one import, in a process of its own."""
    command = [sys.executable, __file__, "--one", str(root), str(path)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    *_, said, numbers = answer.stdout.splitlines()
    seconds, peak = map(float, numbers.split())
    return seconds, peak, said.strip()


def one(root: Path, path: Path) -> None:
    import pandas  # noqa: F401 - not part of what is measured

    from crlhf.stages.imports import Options, import_files

    started = time.perf_counter()
    lines, is_clean = import_files(root, [path], Options())
    seconds = time.perf_counter() - started
    assert is_clean, lines
    print(lines[-1])
    print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> None:
    print(f"{'format':14}{'verdicts':>10}{'file MB':>10}{'first s':>10}{'rows/s':>10}{'again s':>10}{'peak MiB':>10}")
    for name, (file_name, make) in FORMATS.items():
        for size in SIZES:
            with tempfile.TemporaryDirectory() as folder:
                root, path = Path(folder), Path(folder) / file_name
                n_items = size // N_LINES // 5
                make_items(root, n_items)
                make(path, answers(n_items, size // N_LINES))
                seconds, peak, said = measure(root, path)
                assert said.startswith(f"{size} new verdicts"), said
                again, _, said = measure(root, path)
                assert said.startswith("nothing to add"), said
                megabytes = path.stat().st_size / 1e6
            rate = size / seconds
            print(f"{name:14}{size:>10}{megabytes:>10.1f}{seconds:>10.2f}{rate:>10.0f}{again:>10.2f}{peak:>10.0f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        main()
