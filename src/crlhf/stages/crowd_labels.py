"""The verbs `aggregate` and `compare-estimators`: the statistics on a user's files or on the project's own crowd."""

from __future__ import annotations

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
    gold = None if gold_path is None else _read_csv(gold_path, ("task", "label")).set_index("task")["label"]
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
    if found.orientation == "assumed":
        lines.append("No gold label: that most annotators are better than chance is assumed, not known.")
    return lines


def _read_csv(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """Columns of a CSV file; ids stay text, labels become numbers."""
    import pandas as pd

    try:
        frame = pd.read_csv(
            path, dtype={"task": str, "worker": str, "label": str}, keep_default_na=False, encoding="utf-8-sig"
        )
    except FileNotFoundError:
        raise MissingInputError(f"{path}: no such file") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not readable as CSV: {' '.join(str(error).split())}") from None
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise InputError(f"{path}: column {missing[0]!r} is missing; needed are {', '.join(columns)}")
    for name in columns:
        if (empty := frame[name].str.strip() == "").any():
            raise InputError(f"{path}: row {int(empty.to_numpy().argmax()) + 1}: no {name}")
    numbers = pd.to_numeric(frame["label"], errors="coerce")
    if (bad := ~numbers.isin([0, 1])).any():
        row = int(bad.to_numpy().argmax())
        raise InputError(f"{path}: row {row + 1}: the label is {frame['label'].iloc[row]!r}; it must be 0 or 1")
    return frame.assign(label=numbers.astype("int8"))[list(columns)]


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
    return [f"Held-out honeypots of {crowd}:", *found.table.round(4).to_string(index=False).splitlines()]
