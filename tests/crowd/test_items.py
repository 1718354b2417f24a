"""Items: completions and honeypots in one table."""

from __future__ import annotations

import pandas as pd
import pytest

from crlhf.crowd.items import completion_items as items_of
from crlhf.crowd.items import join_items
from crlhf.lines import sha256_text
from crlhf.schema import ITEMS
from crlhf.store import to_arrow


def completion_items(completions: pd.DataFrame) -> pd.DataFrame:
    return items_of(completions, {"starter/1": "python"})


def table(codes: dict[str, str]) -> pd.DataFrame:
    return pd.DataFrame(
        {"completion_id": list(codes), "problem_id": ["starter/1"] * len(codes), "code": list(codes.values())}
    )


def test_completions_without_a_judgeable_line_are_left_out() -> None:
    items = completion_items(table({"b": "x = 1\n\n# end\ny = 2", "a": "", "c": "\n# nothing\n"}))
    assert list(items["completion_id"]) == ["b"]
    assert items.loc[0, "line_nos"] == [1, 4]
    assert items.loc[0, "code_sha256"] == sha256_text("x = 1\n\n# end\ny = 2")
    assert (items.loc[0, "is_honeypot"], items.loc[0, "wrong_line_nos"], items.loc[0, "origin"]) == (
        False,
        None,
        "policy",
    )
    to_arrow(ITEMS, items)


def test_no_completions_give_an_empty_table_under_the_schema() -> None:
    assert to_arrow(ITEMS, completion_items(table({}))).num_rows == 0


def test_joined_items_are_sorted_by_id_so_that_honeypots_do_not_stand_together() -> None:
    completions, honeypots = (
        completion_items(table({"c": "x = 1", "a": "x = 2"})),
        completion_items(table({"b": "x = 3"})),
    )
    items = join_items(completions, honeypots)
    assert list(items["completion_id"]) == ["a", "b", "c"]
    to_arrow(ITEMS, items)


def test_an_id_that_occurs_twice_is_refused() -> None:
    items = completion_items(table({"a": "x = 1"}))
    with pytest.raises(ValueError, match="1 items repeat the id of another"):
        join_items(items, items)
