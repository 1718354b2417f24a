"""Exporters: one format a file, behind the interface of `contract`."""

from __future__ import annotations

from crlhf.annotations.exporters.contract import Exporter
from crlhf.annotations.exporters.crowd_kit import CrowdKitExport
from crlhf.annotations.exporters.label_studio import LabelStudioTasks
from crlhf.annotations.exporters.raw_table import CsvExport, JsonLinesExport

EXPORTERS: tuple[Exporter, ...] = (CrowdKitExport(), LabelStudioTasks(), CsvExport(), JsonLinesExport())
"""Every format that can be exported."""
