"""The table of what annotators are shown: completions and honeypots, in an order that does not tell them apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from crlhf.languages import Language, get_language
from crlhf.lines import sha256_text
from crlhf.schema import ITEMS


def item_row(completion_id: str, problem_id: str, code: str, language: Language) -> dict[str, Any]:
    """One row of ITEMS for a completion; a honeypot overwrites its last four columns."""
    return {
        "completion_id": completion_id,
        "problem_id": problem_id,
        "code": code,
        "code_sha256": sha256_text(code),
        "line_nos": language.judgeable_lines(code),
        "is_honeypot": False,
        "wrong_line_nos": None,
        "origin": "policy",
        "fault_kind": "",
    }


def items_frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """`rows` as a table under ITEMS, sorted by `completion_id`; no rows give an empty table with its columns."""
    frame = pd.DataFrame(rows, columns=list(ITEMS.column_names))
    frame["is_honeypot"] = frame["is_honeypot"].astype(bool)
    return frame.sort_values("completion_id", kind="stable", ignore_index=True)


def completion_items(completions: pd.DataFrame, languages: Mapping[str, str]) -> pd.DataFrame:
    """The completions as items to be annotated.

    Completions without a judgeable line, such as the empty program, have nothing to annotate and are left out:
    `len(completions) - len(items)` of them.

    Args:
        completions: at least `completion_id`, `problem_id` and `code` of COMPLETIONS.
        languages: problem_id -> language.
    """
    columns = zip(completions["completion_id"], completions["problem_id"], completions["code"], strict=True)
    rows = [item_row(*values, get_language(languages[values[1]])) for values in columns]
    return items_frame([row for row in rows if row["line_nos"]])


def join_items(completions: pd.DataFrame, honeypots: pd.DataFrame) -> pd.DataFrame:
    """Items of completions and of honeypots in one table, sorted by id.

    Both ids are digits of a hash, so their order says nothing about which item is a honeypot.

    Raises:
        ValueError: an id occurs twice.
    """
    rows = [dict(row) for frame in (completions, honeypots) for _, row in frame.iterrows()]
    items = items_frame([{str(name): value for name, value in row.items()} for row in rows])
    if items["completion_id"].duplicated().any():
        raise ValueError(f"{int(items['completion_id'].duplicated().sum())} items repeat the id of another")
    return items
