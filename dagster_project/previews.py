"""Small pictures of what a stage made, as Markdown for Dagster's metadata: first rows of tables, figures inlined."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any, NamedTuple

N_ROWS = 5
MAX_CELL = 48
MAX_FIGURE_BYTES = 1_000_000


class TablePreview(NamedTuple):
    """A Parquet file at a glance: its row count, its columns as (name, type), its first rows as a Markdown table."""

    n_rows: int
    columns: tuple[tuple[str, str], ...]
    markdown: str


def preview_table(path: Path) -> TablePreview:
    """Read the footer and the first rows of a Parquet file; the rest of the file is not read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)
    schema = file.schema_arrow
    first = next(file.iter_batches(batch_size=N_ROWS), None)
    rows = pa.Table.from_batches([first]).to_pylist() if first is not None else []
    lines = ["| " + " | ".join(_cell(name) for name in schema.names) + " |", "|" + " --- |" * len(schema.names)]
    lines += ["| " + " | ".join(_cell(row[name]) for name in schema.names) + " |" for row in rows]
    n_rows = file.metadata.num_rows
    if n_rows > len(rows):
        lines += ["", f"first {len(rows)} of {n_rows} rows"]
    return TablePreview(n_rows, tuple((field.name, str(field.type)) for field in schema), "\n".join(lines))


def _cell(value: Any) -> str:
    """One cell: short, on one line, and harmless to the table around it and to the page."""
    if value is None:
        return ""
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    text = " ⏎ ".join(text.splitlines())
    if len(text) > MAX_CELL:
        text = text[: MAX_CELL - 1] + "…"
    for character, escape in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "&#124;"), ("`", "&#96;")):
        text = text.replace(character, escape)
    return text


def inline_figure(path: Path) -> str:
    """A PNG file as a Markdown image that carries its bytes; a missing or very large one is named instead."""
    if not path.is_file():
        return f"{path.name} is not there"
    data = path.read_bytes()
    if len(data) > MAX_FIGURE_BYTES:
        return f"{path} ({len(data) / 1e6:.1f} MB, too large to show here)"
    return f"![{path.stem}](data:image/png;base64,{base64.b64encode(data).decode()})"
