"""The verbs `aggregate` and `compare-estimators`: the statistics on a user's files or on the project's own crowd."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

from crlhf.errors import InputError, MissingInputError
from crlhf.params import load_params
from crlhf.stages.crowd_record import newest_round
from crlhf.store import Store, atomic_write

if TYPE_CHECKING:
    import pandas as pd

POSTERIORS, ANNOTATORS = "posteriors.csv", "annotators.csv"


def aggregate_files(labels_path: Path, gold_path: Path | None, method: str, out: Path) -> list[str]:
    """Aggregate binary crowd labels and write `posteriors.csv` and `annotators.csv` into `out`; lines for a person.

    Args:
        labels_path: CSV with the columns task, worker, label (0 or 1).
        gold_path: CSV with the columns task, label: true labels of some tasks.
        method: one of `crlhf.reliability.door.METHODS`.
        out: folder, made if it is not there.

    Raises:
        MissingInputError: a file is not there.
        InputError: a file breaks its format; the message names the file, the row and the rule.
    """
    from crlhf.reliability import aggregate_labels

    labels = _read_csv(labels_path, ("task", "worker", "label"))
    gold = None if gold_path is None else _read_gold(gold_path)
    try:
        found = aggregate_labels(labels, gold, method=method)
    except InputError as error:
        culprit = gold_path if str(error).startswith("gold") else labels_path
        raise InputError(f"{culprit}: {error}") from None
    for name, table in ((POSTERIORS, found.posteriors), (ANNOTATORS, found.annotators)):
        with atomic_write(out / name, "w") as file:
            table.to_csv(file, index=False, lineterminator="\n")
    lines = [
        f"{len(found.posteriors)} tasks -> {out / POSTERIORS}",
        f"{len(found.annotators)} annotators -> {out / ANNOTATORS}",
    ]
    lines += _remarks(labels, gold)
    if found.orientation == "assumed":
        lines.append("No gold label: that most annotators are better than chance is assumed, not known.")
    return lines


def _remarks(labels: pd.DataFrame, gold: pd.Series | None) -> list[str]:
    """What a person should know of files that break no rule."""
    remarks = []
    again = labels.duplicated(["task", "worker"])
    if again.any():
        row = int(again.to_numpy().argmax()) + 1
        remarks.append(
            f"{int(again.sum())} labels repeat a task and worker (row {row} is the first); all of them count."
        )
    if gold is not None and not (is_known := gold.index.isin(labels["task"])).all():
        unknown = gold.index[~is_known].tolist()
        remarks.append(f"{len(unknown)} of {len(gold)} gold tasks have no label and are ignored, {unknown[0]!r} first.")
    return remarks


def _read_gold(path: Path) -> pd.Series:
    """True labels by task, each task once."""
    table = _read_csv(path, ("task", "label"))
    again = table["task"].duplicated()
    if again.any():
        row = int(again.to_numpy().argmax())
        raise InputError(f"{path}: row {row + 1}: task {table['task'].iloc[row]!r} is listed twice")
    return table.set_index("task")["label"]


def _read_csv(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """Columns of a CSV file; ids stay text, labels become numbers. Rows are counted from 1, below the header."""
    import pandas as pd

    _check_header(path, columns)
    try:
        frame = pd.read_csv(
            path, dtype={"task": str, "worker": str, "label": str}, keep_default_na=False, encoding="utf-8-sig"
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not readable as CSV: {' '.join(str(error).split())}") from None
    if not isinstance(frame.index, pd.RangeIndex):  # pandas takes what the header does not name for an index
        raise InputError(f"{path}: row 1 has more values than the header has columns")
    for name in columns:
        if (empty := frame[name].str.strip() == "").any():
            raise InputError(f"{path}: row {int(empty.to_numpy().argmax()) + 1}: no {name}")
    numbers = pd.to_numeric(frame["label"], errors="coerce")
    if (bad := ~numbers.isin([0, 1])).any():
        row = int(bad.to_numpy().argmax())
        raise InputError(f"{path}: row {row + 1}: the label is {frame['label'].iloc[row]!r}; it must be 0 or 1")
    return frame.assign(label=numbers.astype("int8"))[list(columns)]


def _check_header(path: Path, columns: tuple[str, ...]) -> None:
    """Raise when the file is not there or empty, or its first line does not name each column once."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = next(csv.reader(file), [])
    except FileNotFoundError:
        raise MissingInputError(f"{path}: no such file") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not readable as CSV: {error}") from None
    if not header:
        raise InputError(f"{path}: the file is empty; its first line must name the columns {', '.join(columns)}")
    for name in columns:
        if header.count(name) != 1:
            what = "is missing" if name not in header else "is named twice"
            raise InputError(f"{path}: column {name!r} {what}; needed are {', '.join(columns)}")


def compare_on_project(root: Path) -> list[str]:
    """A table of all estimators on the newest round's validated annotations, judged on held-out honeypots.

    Raises:
        MissingInputError: the annotations have not been validated yet.
    """
    from crlhf.reliability import compare_estimators

    params, store = load_params(root / "params.yaml"), Store(root, newest_round(root, "validated"))
    annotations = store.read("validated")
    found = compare_estimators(
        annotations, store.read("items"), params.reliability, n_folds=params.reliability.n_folds, seed=params.seed
    )
    simulated = bool((annotations["source"] == "simulated").any())
    crowd = "a simulated crowd" if simulated else "a human crowd"
    return [f"Held-out honeypots of {crowd}, 95 % intervals over honeypots:", *_told(found.table)]


def _told(table: pd.DataFrame) -> list[str]:
    """The comparison for a terminal: each measure with its interval in one column."""
    if not len(table):
        return ["fewer than two honeypots: nothing can be held out"]
    told = table[["estimator", "coins"]].copy()
    for name in ("accuracy", "log_loss", "log_loss_difference", "brier", "ece"):
        ends = zip(table[name], table[f"{name}_low"], table[f"{name}_high"], strict=True)
        told[name] = [f"{value:.3f} [{low:.3f}, {high:.3f}]" for value, low, high in ends]
    told["recall"] = table["recall"].round(3)
    return [
        f"{table['n_lines'][0]} lines of {table['n_honeypots'][0]} honeypots",
        *told.to_string(index=False).splitlines(),
    ]
