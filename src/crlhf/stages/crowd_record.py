"""What is known of the crowd when a round is over: what the next round begins with.

`data/rounds/<round>/crowd` holds every annotator's reliability so far, every item that was shown so far (honeypots are
the answer key of verdicts that arrive late), and every verdict that has counted so far (so that none counts twice).
`data/rounds/base/crowd` is what is known before the first round: nothing, unless somebody puts an earlier project's
`reliabilities.parquet` there.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from crlhf.params import load_params
from crlhf.schema import Table
from crlhf.store import Store, table_schema

if TYPE_CHECKING:
    import pandas as pd


class CrowdRecord(NamedTuple):
    """Three tables, under RELIABILITIES, ITEMS and VALIDATED; empty where nothing is known."""

    reliabilities: pd.DataFrame
    items: pd.DataFrame
    verdicts: pd.DataFrame


_TABLES = ("known_reliabilities", "known_items", "known_verdicts")


def read_record(store: Store, round_name: str) -> CrowdRecord:
    """The record at the end of a round; `base` is before the first."""
    return CrowdRecord(
        *(store.read(name, round_name) if store.has(name, round_name) else _empty(name) for name in _TABLES)
    )


def write_record(store: Store, record: CrowdRecord) -> None:
    """Write the record at the end of the store's round."""
    for name, table in zip(_TABLES, record, strict=True):
        store.write(name, table)


def shown_items(root: Path) -> pd.DataFrame:
    """Every item that annotators of the project at `root` have been shown so far, whatever its round.

    Raises:
        MissingInputError: no round has made its items yet.
    """
    import pandas as pd

    store, rounds = Store(root), load_params(root / "params.yaml").rounds
    frames = [store.read("items", name) for name in rounds if store.has("items", name)]
    if not frames:
        return store.read("items", next(iter(rounds)))
    return pd.concat(frames, ignore_index=True).drop_duplicates("completion_id", ignore_index=True)


def newest_round(root: Path, table: str) -> str:
    """The last round of the project at `root` that has the table; the first round where none has it."""
    store, rounds = Store(root), load_params(root / "params.yaml").rounds
    return ([name for name in rounds if store.has(table, name)] or list(rounds)[:1])[-1]


def joined(earlier: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """The rows of both; an empty table does not change the types of the other."""
    import pandas as pd

    frames = [frame for frame in (earlier, new) if len(frame)]
    return pd.concat(frames, ignore_index=True) if frames else new


def _empty(name: str) -> pd.DataFrame:
    import pandas as pd

    table: Table = table_schema(name)
    dtypes = {"int64": "int64", "float64": "float64", "bool": "bool"}
    return pd.DataFrame({c.name: pd.Series([], dtype=dtypes.get(c.dtype, "object")) for c in table.columns})
