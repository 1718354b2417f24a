"""The verb `export`: the project's programs and verdicts in other tools' formats."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from crlhf.errors import InputError
from crlhf.params import load_params
from crlhf.stages.crowd_record import joined, newest_round, read_record
from crlhf.store import Store, atomic_write

if TYPE_CHECKING:
    import pandas as pd

    from crlhf.annotations.exporters.contract import Part


def export_to(root: Path, format_name: str, rows: str | None, out: Path, round_name: str | None = None) -> list[str]:
    """Write an export to `out`: lines for a person.

    Args:
        root: the project's folder.
        format_name: the name of an exporter.
        rows: `annotations` (all raw rows) or `validated` (those that count); None: what the format is for.
        out: a folder, or the main file (its name then ends like the format's); other files go beside it.
        round_name: whose programs or verdicts; None: the newest round that has them.

    Raises:
        MissingInputError: a table that is needed has not been made yet.
        InputError: no format has this name, or the format has no verdicts.
    """
    from crlhf.annotations.exporters import EXPORTERS

    exporter = next((one for one in EXPORTERS if one.name == format_name), None)
    if exporter is None:
        raise InputError(
            f"{format_name!r} is no known format; choose one of {', '.join(one.name for one in EXPORTERS)}"
        )
    if rows is not None and exporter.rows is None:
        raise InputError(f"{format_name} has tasks and no verdicts; leave --rows out")
    chosen = rows or exporter.rows
    store = Store(root, round_name or newest_round(root, chosen or "items"))
    tables = {name: _read(store, name, with_earlier=chosen is not None) for name in exporter.tables}
    lines = []
    if chosen is not None:
        tables["rows"] = store.read(chosen)
        lines.append(f"{len(tables['rows'])} verdicts ({chosen}, round {store.round})")
        if (tables["rows"]["source"] == "simulated").any():
            lines.append("warning: these verdicts come from a simulated crowd; the files do not say so everywhere")
    parts = exporter.parts(tables)
    for part in parts:
        path = _place(out, part, parts[0])
        with atomic_write(path, "w") as file:
            for text in part.text:
                file.write(text)
        lines.append(f"-> {path}")
    return lines


def _read(store: Store, name: str, *, with_earlier: bool) -> pd.DataFrame:
    """A table of the store's round; `with_earlier`: with the items of rounds before it, of which verdicts came late."""
    table = store.read(name)
    if name != "items" or not with_earlier or not store.round:
        return table
    previous = load_params(store.path("params.yaml")).rounds[store.round].prev
    return joined(read_record(store, previous).items, table)


def _place(out: Path, part: Part, main: Part) -> Path:
    if out.suffix.lower() != main.suffix or out.is_dir():
        return out / part.name
    return out if part is main else out.with_name(out.stem + part.suffix)
