"""The verb `export`: the project's programs and verdicts in other tools' formats."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from crlhf.errors import InputError, ParamsError
from crlhf.params import load_params
from crlhf.stages.crowd_record import newest_round, shown_items
from crlhf.store import TABLE_PATHS, Store, atomic_write

if TYPE_CHECKING:
    import pandas as pd

    from crlhf.annotations.exporters.contract import Part


def export_to(root: Path, format_name: str, rows: str | None, out: Path, round_name: str | None = None) -> list[str]:
    """Write an export to `out`: lines for a person.

    Args:
        root: the project's folder.
        format_name: the name of an exporter.
        rows: `annotations` (all raw rows) or `validated` (those that count); None: what the format is for.
        round_name: the round whose tables are exported; None: the verdicts of all rounds, the tasks of the newest.
        out: a folder, or the main file (its name then ends like the format's); other files go beside it.

    Raises:
        MissingInputError: a table that is needed has not been made yet.
        InputError: no format has this name, or the format has no verdicts.
        ParamsError: params.yaml has no such round.
    """
    from crlhf.annotations.exporters import EXPORTERS

    exporter = next((one for one in EXPORTERS if one.name == format_name), None)
    if exporter is None:
        raise InputError(
            f"{format_name!r} is no known format; choose one of {', '.join(one.name for one in EXPORTERS)}"
        )
    if rows is not None and exporter.rows is None:
        raise InputError(f"{format_name} has tasks and no verdicts; leave --rows out")
    rounds = load_params(root / "params.yaml").rounds
    if round_name is not None and round_name not in rounds:
        raise ParamsError(f"params.yaml has no round {round_name}; its rounds are {', '.join(rounds)}")
    chosen = rows or exporter.rows
    asked = round_name if chosen is not None or round_name is not None else newest_round(root, "items")
    tables = {name: _table(root, name, asked) for name in exporter.tables}
    lines = []
    if chosen is not None:
        tables["rows"] = _table(root, chosen, asked)
        lines.append(f"{len(tables['rows'])} verdicts ({chosen}, {f'round {asked}' if asked else 'all rounds'})")
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


def _table(root: Path, name: str, round_name: str | None) -> pd.DataFrame:
    """A table of one round, or of all rounds that have it; a table of no round as it is."""
    import pandas as pd

    if "{round}" not in TABLE_PATHS[name]:
        return Store(root).read(name)
    if round_name is not None:
        return Store(root, round_name).read(name)
    if name == "items":
        return shown_items(root)
    rounds = load_params(root / "params.yaml").rounds
    made = [one for one in rounds if Store(root, one).has(name)] or list(rounds)[:1]
    tables = [Store(root, one).read(name) for one in made]
    return pd.concat(tables, ignore_index=True).drop_duplicates(ignore_index=True)


def _place(out: Path, part: Part, main: Part) -> Path:
    if out.suffix.lower() != main.suffix or out.is_dir():
        return out / part.name
    return out if part is main else out.with_name(out.stem + part.suffix)
