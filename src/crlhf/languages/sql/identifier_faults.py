"""Faults of identifiers: another column of the same table, or the same column of another."""

from __future__ import annotations

from collections.abc import Iterator

from crlhf.languages.sql.edits import Edit, Script
from crlhf.languages.sql.lines import plain

_MAX_OTHERS = 3


def identifier_edits(script: Script, at: int) -> Iterator[Edit]:
    """Faults of the kinds of this module that the token at `at` can carry."""
    if not _is_column(script, at):
        return
    own, qualifier = plain(script.tokens[at]), _qualifier(script, at)
    places = [(plain(script.tokens[i]), _qualifier(script, i), i) for i in _columns(script)]
    near = sorted(places, key=lambda place: (abs(place[2] - at), place[2]))
    others = dict.fromkeys(name for name, table, _ in near if table == qualifier and name != own)
    for name in list(others)[:_MAX_OTHERS]:
        yield script.replace(at, name, "wrong_column")
    if qualifier is not None:
        tables = dict.fromkeys(table for name, table, _ in near if name == own and table not in (None, qualifier))
        for table in list(tables)[:_MAX_OTHERS]:
            yield script.replace(at - 2, str(table), "wrong_qualifier")


def _columns(script: Script) -> list[int]:
    return [at for at in range(len(script.tokens)) if _is_column(script, at)]


def _qualifier(script: Script, at: int) -> str | None:
    """The `o` of `o.amount`."""
    return plain(script.tokens[at - 2]) if at > 1 and script.tokens[at - 1].text == "." else None


def _is_column(script: Script, at: int) -> bool:
    """True for a name that stands for a column of a table: no table, alias, function or type."""
    token = script.tokens[at]
    if not token.is_name or (at + 1 < len(script.tokens) and script.tokens[at + 1].text in ("(", ".")):
        return False
    if at and script.tokens[at - 1].text == ".":
        return True
    if at and script.tokens[at - 1].is_one_of("AS", "TABLE", "VIEW", "INTO"):
        return False
    return plain(token) not in script.own
