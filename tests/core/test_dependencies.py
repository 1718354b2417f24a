"""dvc.yaml names the code of each stage: what its result can depend on, found by reading the imports."""

import ast
from functools import cache
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
CANNOT_CHANGE_A_RESULT = {
    # What people see or MLflow keeps while a stage works.
    "crlhf/progress.py",
    "crlhf/tracking.py",
    # Whether a stage can go on at all: messages, free disk space, the processes it is started in.
    "crlhf/errors.py",
    "crlhf/policy/disk.py",
    "crlhf/launch.py",
    # They carry values to and from files: the values are DVC's params and outputs, and what a table holds is written in
    # the stage that makes it. Named as code they would make every stage depend on every table and setting.
    "crlhf/params.py",
    "crlhf/schema.py",
    "crlhf/store.py",
    "crlhf/fetch.py",
}
CHARTS_AND_PAGES = "crlhf/evaluation/report/"
"""They draw what a stage has found: no reason to train or estimate anew. Only `report` depends on them."""


@cache
def file_of(module):
    """The file of a module or package of this project, None for others."""
    base = SOURCE / module.replace(".", "/")
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


@cache
def contents(path):
    """Top-level name -> the nodes that define it; "" holds them all. What is imported for types only is left out."""
    found = {"": []}
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        found[""].append(node)
        names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)}
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names = {node.name}
        for name in names:
            found.setdefault(name, []).append(node)
    return found


def uses(path, name):
    """What the top-level `name` of a file needs at once, as (file, top-level name); "" is all of a file."""
    at_top = contents(path)[""]
    for part in (part for node in contents(path).get(name, []) for part in ast.walk(node)):
        if isinstance(part, ast.Name) and part.id in contents(path):
            yield path, part.id
        elif isinstance(part, ast.Attribute) and ast.unparse(part) == "context.seed":
            yield SOURCE / "crlhf/stages/digests.py", "round_seed"
        elif isinstance(part, ast.Import):
            yield from ((file, "") for alias in part.names if (file := file_of(alias.name)))
        elif isinstance(part, ast.ImportFrom) and (file := file_of(part.module)):
            for alias in part.names:
                if part in at_top and name not in ("", alias.asname or alias.name):
                    continue  # another name of the same line
                module = file_of(f"{part.module}.{alias.name}")
                yield (module, "") if module else (file, alias.name)


def code_of(stage):
    """The files that `run` of a stage can reach, by name: a package's `__init__` leads only to what is asked of it."""
    todo, seen = [(SOURCE / "crlhf" / "stages" / f"{stage}.py", "run")], set()
    while todo:
        found = todo.pop()
        file = str(found[0].relative_to(SOURCE))
        is_drawing = file.startswith(CHARTS_AND_PAGES) and stage != "report"
        if found not in seen and file not in CANNOT_CHANGE_A_RESULT and not is_drawing:
            seen.add(found)
            todo += uses(*found)
    return {str(path.relative_to(SOURCE)) for path, _ in seen if path.name != "__init__.py"}


@pytest.mark.parametrize("stage", STAGES)
def test_dvc_yaml_names_all_code_that_a_stages_result_depends_on(stage):
    deps = [Path(dep) for dep in STAGES[stage].get("do", STAGES[stage])["deps"]]
    missing = {file for file in code_of(stage) if not any(Path("src", file).is_relative_to(dep) for dep in deps)}
    assert not missing, f"dvc.yaml: {stage} lacks {sorted(missing)}"


def test_what_cannot_change_a_result_is_there():
    assert all((SOURCE / file).is_file() for file in CANNOT_CHANGE_A_RESULT)
    assert (SOURCE / CHARTS_AND_PAGES).is_dir()


def test_a_lazy_import_and_a_name_of_a_package_are_followed():
    assert {"crlhf/evaluation/protocols.py", "crlhf/crowd/truth.py"} <= code_of("honeypots")
    assert "crlhf/policy/ppo/train.py" in code_of("ppo")  # tune -> _replay -> the package's train_ppo
