"""What an exporter has to give: the tables that it needs, and the files it makes of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    import pandas as pd


class Part(NamedTuple):
    """One file of an export: its name in a folder, what is put after the stem beside another file, and its text."""

    name: str
    suffix: str
    text: Iterator[str]


class Exporter(Protocol):
    """One format that is written.

    Attributes:
        name: the word after `--format`.
        tables: the tables it reads beside the verdicts, by their names in `store.TABLE_PATHS`.
        rows: the verdicts it writes unless the user chooses others: `annotations` (all raw rows) or `validated`
            (those that count); None when it writes none.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def tables(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def rows(self) -> str | None: ...  # noqa: D102

    def parts(self, tables: Mapping[str, pd.DataFrame]) -> list[Part]:
        """The files, the main one first. `tables` has those of `tables`, and the verdicts as `rows`."""
        ...
