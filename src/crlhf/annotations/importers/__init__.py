"""Importers: one foreign format a file, behind the interface of `contract`; `docs/importers.md` is their handbook."""

from __future__ import annotations

from crlhf.annotations.importers.argilla import Argilla
from crlhf.annotations.importers.contract import Importer
from crlhf.annotations.importers.crowd_kit import CrowdKit
from crlhf.annotations.importers.label_studio import LabelStudio
from crlhf.annotations.importers.label_studio_table import LabelStudioTable
from crlhf.annotations.importers.mturk import MechanicalTurk
from crlhf.annotations.importers.opened import Opened
from crlhf.annotations.importers.raw_table import RawCsv, RawJsonLines, RawParquet
from crlhf.annotations.importers.toloka import Toloka
from crlhf.errors import InputError

IMPORTERS: tuple[Importer, ...] = (
    LabelStudio(),
    LabelStudioTable(),
    Argilla(),
    MechanicalTurk(),
    Toloka(),
    CrowdKit(),
    RawJsonLines(),
    RawCsv(),
    RawParquet(),
)
"""Every format that can be imported."""

AUTO = "auto"


def importer_of(file: Opened, name: str = AUTO) -> Importer:
    """The importer called `name`, or for `auto` the one that recognises the file.

    Raises:
        InputError: no format has this name, or none or several recognise the file; the message names them.
    """
    listed = ", ".join(importer.name for importer in IMPORTERS)
    if name != AUTO:
        found = [importer for importer in IMPORTERS if importer.name == name]
        if not found:
            raise InputError(f"{name!r} is no known format; choose auto or one of {listed}")
        return found[0]
    found = [importer for importer in IMPORTERS if importer.recognises(file)]
    if not found:
        raise InputError(f"{file.name}: no known format; name it with --format, one of {listed}")
    if len(found) > 1:
        names = " and ".join(importer.name for importer in found)
        raise InputError(f"{file.name}: looks like {names}; name one with --format")
    return found[0]
