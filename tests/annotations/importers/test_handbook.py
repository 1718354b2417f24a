"""The importer that docs/importers.md writes is one."""

import json
import re
import textwrap
from pathlib import Path

from crlhf.annotations.importers import IMPORTERS
from crlhf.annotations.importers.opened import Opened
from crlhf.annotations.importers.resolving import resolve
from tests.annotations.importers.crowd import KEY, PLAIN, items

HANDBOOK = (Path(__file__).parents[3] / "docs" / "importers.md").read_text(encoding="utf-8")


def test_the_importer_of_the_handbook_reads_its_tool(tmp_path):
    code = re.search(r"```python\n(.*?)```", HANDBOOK, re.S)[1]
    space = {}
    exec(textwrap.dedent(code), space)
    record = {
        "mytool_version": 1,
        "completion_id": PLAIN,
        "user": "ann",
        "time": "2025-03-15T10:00:00Z",
        "spans": [{"start": 41, "end": 46, "text": "a - b"}],
    }
    others = [record | {"user": "bob", "spans": []}, record | {"skipped": True}, record | {"spans": 7}]
    path = tmp_path / "a.json"
    path.write_text(json.dumps([record, *others]))
    file, importer = Opened.of(path), space["MyTool"]()
    assert importer.recognises(file)
    assert not any(other.recognises(file) for other in IMPORTERS)
    found = resolve(importer.read(file), items(), file.name, importer.source, KEY)
    assert found.rows["verdict"].tolist() == ["ok", "wrong", "ok", "ok", "ok", "ok"]
    assert found.counts["skipped"] == 1
    assert found.quarantine[["source_row", "rule"]].to_numpy().tolist() == [[4, "value_type"]]


def test_the_handbook_names_every_format():
    assert not [importer.name for importer in IMPORTERS if f"`{importer.name}`" not in HANDBOOK]
