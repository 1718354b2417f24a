"""The verbs `aggregate` and `compare-estimators`: the statistics on a user's files or on the project's own crowd."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from crlhf.errors import InputError, MissingInputError, ParamsError
from crlhf.params import load_params
from crlhf.stages.crowd_record import newest_round
from crlhf.store import Store, atomic_write

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    from crlhf.reliability import Aggregated

POSTERIORS, ANNOTATORS = "posteriors.csv", "annotators.csv"


TaskModel = Literal["auto", "independent"]


def aggregate_files(
    labels_path: Path, gold_path: Path | None, method: str, out: Path, *, tasks: TaskModel = "auto"
) -> list[str]:
    """Aggregate binary crowd labels and write `posteriors.csv` and `annotators.csv` into `out`; lines for a person.

    Args:
        labels_path: CSV with the columns task, worker, label (0 or 1).
        gold_path: CSV with the columns task, label: true labels of some tasks.
        method: one of `crlhf.reliability.door.METHODS`.
        out: folder, made if it is not there.
        tasks: auto lets tasks that were shown together tell of each other, where that pays.

    Raises:
        MissingInputError: a file is not there.
        InputError: a file breaks its format; the message names the file, the row and the rule. Blank lines are no rows.
        ParamsError: there is no such method.
    """
    from crlhf.reliability import METHODS

    if method not in METHODS:
        raise ParamsError(f"method {method!r} is unknown; choose one of {', '.join(METHODS)}")
    labels = _read_csv(labels_path, ("task", "worker", "label"))
    gold = None if gold_path is None else _read_gold(gold_path)
    try:
        found, remarks = aggregate_tables(labels, gold, method=method, tasks=tasks)
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
    lines += _remarks(labels, gold) + remarks
    if found.orientation == "assumed":
        lines.append("No gold label: that most annotators are better than chance is assumed, not known.")
    return lines


def aggregate_tables(
    labels: pd.DataFrame, gold: pd.Series | None = None, *, method: str = "dawid_skene", tasks: TaskModel = "auto"
) -> tuple[Aggregated, list[str]]:
    """`crlhf.reliability.aggregate_labels`, then `crlhf.rewards.smooth` on tasks that were shown together.

    The majority is left as it is: a baseline. Returns what was found and remarks for a person.
    """
    import pandas as pd

    from crlhf.reliability import aggregate_labels
    from crlhf.rewards import find_batches, smooth

    found = aggregate_labels(labels, gold, method=method)
    if tasks == "independent" or method == "majority":
        return found, []
    evidence = found.tasks
    batches = find_batches(pd.Index(found.posteriors["task"]), evidence.judges, evidence.n_judges)
    smoothed = smooth(batches, evidence.evidence, evidence.is_one, evidence.prior_one)
    if not smoothed.is_used:
        return found, []
    posteriors = found.posteriors.assign(probability=smoothed.probability)
    remark = (
        f"{len(batches.place)} tasks stand in {smoothed.n_batches} batches, each by the same workers; gold says that "
        f"truths within a batch hang together (by {smoothed.known_gain:.0f} nats), so each task is judged in the light "
        "of its batch. --tasks independent takes each one alone."
    )
    return found._replace(posteriors=posteriors), [remark]


def _remarks(labels: pd.DataFrame, gold: pd.Series | None) -> list[str]:
    """What a person should know of files that break no rule."""
    remarks = []
    if _has_repeats(labels["task"], labels["worker"]):
        again = labels.duplicated(["task", "worker"])
        row = int(again.to_numpy().argmax()) + 1
        remarks.append(
            f"{int(again.sum())} labels repeat a task and worker (row {row} is the first); all of them count."
        )
    if gold is not None and not (is_known := gold.index.isin(labels["task"].cat.categories)).all():
        unknown = gold.index[~is_known].tolist()
        remarks.append(f"{len(unknown)} of {len(gold)} gold tasks have no label and are ignored, {unknown[0]!r} first.")
    return remarks


def _has_repeats(task: pd.Series, worker: pd.Series) -> bool:
    """Whether a pair occurs twice; a sort of codes takes a fraction of the memory of `duplicated`."""
    import numpy as np

    pair = task.cat.codes.to_numpy(np.int64) * len(worker.cat.categories)
    pair += worker.cat.codes.to_numpy()
    pair.sort()
    return bool(np.any(pair[1:] == pair[:-1]))


def _read_gold(path: Path) -> pd.Series:
    """True labels by task, each task once."""
    table = _read_csv(path, ("task", "label"))
    again = table["task"].duplicated()
    if again.any():
        row = int(again.to_numpy().argmax())
        raise InputError(f"{path}: row {row + 1}: task {table['task'].iloc[row]!r} is listed twice")
    return table.astype({"task": str}).set_index("task")["label"]


def _read_csv(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """Columns of a CSV file: ids as categories of text, labels as numbers. Row 1 is the one below the header."""
    import pandas as pd

    _check_header(path, columns)
    try:
        frame = pd.read_csv(path, dtype=dict.fromkeys(columns, "category"), keep_default_na=False, encoding="utf-8-sig")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not readable as CSV: {' '.join(str(error).split())}") from None
    if not isinstance(frame.index, pd.RangeIndex):  # pandas takes what the header does not name for an index
        raise InputError(f"{path}: row 1 has more values than the header has columns")
    for name in columns:
        if (row := _first_row(frame[name], frame[name].cat.categories.str.strip() == "")) is not None:
            raise InputError(f"{path}: row {row + 1}: no {name}")
    numbers = pd.to_numeric(frame["label"].cat.categories.to_series(), errors="coerce").reset_index(drop=True)
    if (row := _first_row(frame["label"], ~numbers.isin([0, 1]).to_numpy())) is not None:
        raise InputError(f"{path}: row {row + 1}: the label is {frame['label'].iloc[row]!r}; it must be 0 or 1")
    return frame.assign(label=numbers.to_numpy("int8")[frame["label"].cat.codes])[list(columns)]


def _first_row(column: pd.Series, is_wanted: npt.NDArray[np.bool_]) -> int | None:
    """The first row of a categorical column whose category is wanted."""
    if not is_wanted.any():
        return None
    return int(is_wanted[column.cat.codes].argmax())


def _check_header(path: Path, columns: tuple[str, ...]) -> None:
    """Raise when the file is not there or empty, or its first line does not name each column once."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = next(filter(None, csv.reader(file)), [])
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
