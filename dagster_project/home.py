"""DAGSTER_HOME: `.dagster/` in the project, with the dagster.yaml that ships with this package.

`python -m dagster_project.home` makes it and prints its path.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from crlhf.store import atomic_write
from dagster_project.settings import SettingsError, find_root

if TYPE_CHECKING:
    from dagster import DagsterInstance

_TEMPLATE = Path(__file__).with_name("dagster.yaml")


def ensure_home(root: Path) -> Path:
    """Make `.dagster/` below `root` and copy dagster.yaml into it where it has none; one that is there is kept."""
    home = root / ".dagster"
    target = home / "dagster.yaml"
    if not target.exists():
        with atomic_write(target) as file:
            file.write(_TEMPLATE.read_bytes())
    return home


@contextmanager
def dagster_instance(root: Path) -> Iterator[DagsterInstance]:
    """Dagster's instance: that of `$DAGSTER_HOME` where it is set, else that of the project's `.dagster/`.

    The project's own is made where it is not there yet; a home elsewhere must exist.
    """
    from dagster import DagsterInstance

    own = root / ".dagster"
    if Path(os.environ.setdefault("DAGSTER_HOME", str(own))).resolve() == own.resolve():
        ensure_home(root)
    with DagsterInstance.get() as instance:
        yield instance


def main() -> int:
    """Make the folder and print its path."""
    try:
        print(ensure_home(find_root()))
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
