"""A pipeline of four tiny stages; it knows DVC and Dagster as little as the real one does."""

import base64
import json
import os
import subprocess
import sys
import time
from pathlib import Path

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def params():
    """The few params, read without any library: the file is written so that this is enough."""
    values = {}
    for line in Path("params.yaml").read_text().splitlines():
        name, _, value = line.partition(": ")
        values[name] = value
    return values


def inner(name, key):
    body = params()[name].strip("{}")
    return dict(part.split(": ") for part in body.split(", "))[key].strip('"')


def write(path, text):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)


def summary(stage, metrics, facts=None, checks=(), figures=()):
    value = {"stage": stage, "metrics": metrics, "facts": facts or {}, "checks": list(checks)}
    value |= {"is_simulated": stage == "evens", "figures": list(figures)}
    write(f"metrics/{stage.replace('@', '_')}.json", json.dumps(value, sort_keys=True))


def numbers():
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = [*sorted(Path("data/raw").glob("*.txt")), Path("data/extra.txt")]
    values = [int(line) for file in files for line in file.read_text().split()]
    Path("data/tables").mkdir(parents=True, exist_ok=True)
    table = pa.table({"number": values, "text": ["a | b\n`<i>`" + "x" * 80] * len(values)})
    pq.write_table(table, "data/tables/numbers.parquet")
    write("data/tables/evens.txt", "".join(f"{value}\n" for value in values if value % 2 == 0))
    summary("numbers", {"n_numbers": len(values), "mean": sum(values) / len(values)}, {"seed": params()["seed"]})


def evens():
    values = [int(line) for line in Path("data/tables/evens.txt").read_text().split()]
    limit = int(inner("behaviour", "max_even"))
    if Path("waiting").exists():
        print("evens: waiting: 1 of 2 people have come", file=sys.stderr)
        sys.exit(75)
    write("data/tables/evens.json", json.dumps(values))
    few = {"name": "evens_are_few", "passed": len(values) <= limit, "severity": "warning", "n_unexpected": 3}
    even = {"name": "evens_are_even", "passed": True, "severity": "error", "n_unexpected": 0}
    few["description"], even["description"] = f"at most {limit}", "divisible by 2"
    Path("metrics").mkdir(exist_ok=True)
    Path("metrics/pixel.png").write_bytes(base64.b64decode(PIXEL))
    summary("evens", {"n_evens": len(values)}, checks=[few, even], figures=["metrics/pixel.png"])


def scaled():
    if message := inner("behaviour", "message"):
        print("a line on stdout")
        sys.exit(f"scaled: {message}")
    if seconds := float(inner("behaviour", "sleep_s")):
        child = subprocess.Popen(["sleep", str(seconds)], start_new_session=True)
        write("pids.txt", f"{os.getpid()} {child.pid}")
        time.sleep(seconds)
    write("models/scaled/factor.txt", params()["factor"])
    summary("scaled", {"factor": float(params()["factor"])})


def scores(item):
    write(f"data/tables/scores_{item}.json", inner("offset", item) + Path("models/scaled/factor.txt").read_text())
    summary(f"scores@{item}", {"offset": int(inner("offset", item))})


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
