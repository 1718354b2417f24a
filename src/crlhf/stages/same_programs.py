"""Whether what was judged, or scored, is the very program of the completions table.

A completion's id names its policy, seed, problem and number. Sampled anew under other `completions` params, another
program has the same id; so tables of a round that are joined by id are compared by the programs' hashes too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crlhf.errors import IntegrityError

if TYPE_CHECKING:
    import pandas as pd

    from crlhf.store import Store

_MADE_BY = {"items": "honeypots", "validated": "validated", "scores": "rewards"}
"""The stage that makes each of the tables."""


def other_programs(completions: pd.DataFrame, table: pd.DataFrame) -> list[str]:
    """Ids in `table` (completion_id, code_sha256) that are another program in `completions`, or none; sorted."""
    known = table["completion_id"].map(completions.set_index("completion_id")["code_sha256"])
    return sorted(set(table.loc[known != table["code_sha256"], "completion_id"]))


def require_same_programs(store: Store, completions: pd.DataFrame, name: str, table: pd.DataFrame) -> None:
    """Refuse to join `table`, rows of the round's table called `name`, with completions that are other programs.

    Raises:
        IntegrityError: it tells of a program that is not that of the completions table.
    """
    if found := other_programs(completions, table):
        raise IntegrityError(
            f"{store.table_path(name)}: {len(found)} of its programs are not those of "
            f"{store.table_path('completions')}, the first is {found[0]}: they were sampled anew since; "
            f"run `dvc repro {_MADE_BY[name]}@{store.round}`, which runs what it needs again"
        )
