"""crowd-kit's long format: `task,worker,label`, and the honeypots' lines as `task,label` for its `true_labels`.

Source: README.md of Toloka/crowd-kit at 06cc577c. A task is `<completion_id>:<line_no>`; label 1 is `wrong`, 0 `ok`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from crlhf.annotations.exporters.contract import Part
from crlhf.store import records

if TYPE_CHECKING:
    import pandas as pd


class CrowdKitExport:
    """Verdicts in crowd-kit's long format."""

    name, tables, rows = "crowd-kit", ("items",), "validated"

    def parts(self, tables: Mapping[str, pd.DataFrame]) -> list[Part]:
        """`labels.csv` and `gold.csv`."""
        return [
            Part("labels.csv", ".csv", _labels(tables["rows"])),
            Part("gold.csv", "-gold.csv", _gold(tables["items"])),
        ]


def csv_lines(rows: Iterable[Iterable[object]]) -> Iterator[str]:
    r"""Rows as lines of CSV that end in `\n`."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    for row in rows:
        writer.writerow(row)
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()


def _labels(rows: pd.DataFrame) -> Iterator[str]:
    columns = zip(rows["completion_id"], rows["line_no"], rows["annotator_id"], rows["verdict"], strict=True)
    yield from csv_lines([("task", "worker", "label")])
    yield from csv_lines((f"{item}:{line}", who, int(verdict == "wrong")) for item, line, who, verdict in columns)


def _gold(items: pd.DataFrame) -> Iterator[str]:
    yield from csv_lines([("task", "label")])
    for item in records(items[items["is_honeypot"]]):
        wrong = set(item["wrong_line_nos"])
        yield from csv_lines((f"{item['completion_id']}:{line}", int(line in wrong)) for line in item["line_nos"])
