"""Where the project, DVC and DVC's own Python are; the only module here that reads the environment for choices."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path


class SettingsError(Exception):
    """Something this package needs cannot be found. `str(error)` says what, and what to do."""


def find_root() -> Path:
    """The project's folder, which holds dvc.yaml: `$CRLHF_ROOT`, else the current folder, else this checkout.

    Raises:
        SettingsError: none of them holds a dvc.yaml, or `$CRLHF_ROOT` is set and does not.
    """
    explicit = os.environ.get("CRLHF_ROOT")
    candidates = [Path(explicit)] if explicit else [Path.cwd(), Path(__file__).resolve().parent.parent]
    for candidate in candidates:
        if (candidate / "dvc.yaml").is_file():
            return candidate.resolve()
    tried = " nor ".join(str(candidate) for candidate in candidates)
    raise SettingsError(f"no dvc.yaml in {tried}; start from the project's folder or set CRLHF_ROOT to it")


def find_dvc() -> Path:
    """The dvc command: `$CRLHF_DVC`, else `dvc` beside the running Python, else the first on PATH.

    Raises:
        SettingsError: there is none.
    """
    if explicit := os.environ.get("CRLHF_DVC"):
        if not Path(explicit).is_file():
            raise SettingsError(f"CRLHF_DVC names {explicit}, which is not a file")
        return Path(explicit)
    beside = Path(sys.executable).parent / "dvc"
    if beside.is_file():
        return beside
    if found := shutil.which("dvc"):
        return Path(found)
    raise SettingsError("dvc is not installed; run `make setup`, or set CRLHF_DVC to the dvc command")


def find_dvc_python(dvc: Path) -> Path:
    """The Python that can import dvc, found from the dvc command.

    A console script names its Python in its first line. The wrapper that `make setup` writes is a shell script; then it
    is the Python of the environment `dvc-env` beside it.

    Raises:
        SettingsError: neither leads to a Python.
    """
    with dvc.open("rb") as file:
        first_line = file.readline().decode(errors="replace").strip()
    named = Path(first_line.removeprefix("#!").split(" ")[0]) if "python" in first_line else None
    for candidate in (named, dvc.parent.parent / "dvc-env" / "bin" / "python", dvc.parent / "python"):
        if candidate and candidate.is_file():
            return candidate
    raise SettingsError(f"cannot find the Python that {dvc} runs with; set CRLHF_DVC to a dvc console script")


def stage_environment() -> dict[str, str]:
    """The environment that DVC and the stages get: this Python's commands first on PATH, nothing of Dagster Pipes.

    A stage that inherited the Pipes variables would open the launcher's channel a second time, and every message
    would arrive twice.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DAGSTER_PIPES")}
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", os.defpath)])
    environment.setdefault("DVC_NO_ANALYTICS", "1")
    environment.setdefault("PYTHONUNBUFFERED", "1")
    return environment
