"""Print what DVC knows of the project in the current folder, as JSON. Runs with DVC's Python, not with this project's.

DVC resolves its own templates (`foreach`, `matrix`, `${...}`), hashes files by its own rules (.dvcignore included) and
reads its own lock file, so that no second reading of dvc.yaml exists which could disagree. Imports dvc and the standard
library only.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def snapshot() -> dict[str, Any]:
    """Stages with their current params, the hashes of the files that no stage makes, and the lock file's entries."""
    from dvc.dependency.param import ParamsDependency  # type: ignore[import-not-found,unused-ignore]
    from dvc.repo import Repo  # type: ignore[import-not-found,unused-ignore]

    repo = Repo(".")
    stages = [stage for stage in repo.index.stages if stage.path_in_repo == "dvc.yaml" and stage.cmd]
    producers = {stage: stage.addressing for stage in stages}
    made = {out.def_path for stage in stages for out in stage.outs}
    described, hashes = [], {}
    for stage in stages:
        files = [dep for dep in stage.deps if not isinstance(dep, ParamsDependency)]
        hashes.update({dep.def_path: _hash(dep) for dep in files if dep.def_path not in made})
        described.append(
            {
                "name": stage.addressing,
                "cmd": stage.cmd,
                "desc": stage.desc,
                "meta": stage.meta or {},
                "deps": [dep.def_path for dep in files],
                "params": {param.def_path: param.read_params() for param in stage.params},
                "outs": [
                    {"path": out.def_path, "is_cached": bool(out.use_cache), "is_metric": bool(out.metric)}
                    for out in stage.outs
                ],
                "upstream": sorted(
                    producers[other] for other in repo.index.graph.successors(stage) if other in producers
                ),
            }
        )
    return {"stages": described, "hashes": hashes, "lock": _lock()}


def _hash(dep: Any) -> str | None:
    """DVC's hash of a dependency as it is now, or None when it is not there."""
    return dep.get_hash().value if dep.exists else None


def _lock() -> dict[str, Any]:
    """The entries of dvc.lock: stage -> cmd, deps and outs as path -> md5, params as file -> name -> value."""
    from dvc.utils.serialize import load_yaml  # type: ignore[import-not-found,unused-ignore]

    if not Path("dvc.lock").exists():
        return {}
    return {
        name: {
            "cmd": entry.get("cmd"),
            "deps": {dep["path"]: dep.get("md5") for dep in entry.get("deps", [])},
            "params": entry.get("params", {}),
            "outs": {out["path"]: out.get("md5") for out in entry.get("outs", [])},
        }
        for name, entry in load_yaml("dvc.lock").get("stages", {}).items()
    }


def main() -> int:
    """Print the snapshot; on an error of DVC print one line and return 1."""
    from dvc.exceptions import DvcException  # type: ignore[import-not-found,unused-ignore]

    try:
        json.dump(snapshot(), sys.stdout)
    except DvcException as error:
        causes = [str(error), *([str(error.__cause__)] if error.__cause__ else [])]
        print("; ".join(causes), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
