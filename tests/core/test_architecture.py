"""The house rules that a machine can check."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from crlhf.stages import PER_POLICY, PER_ROUND, STAGES

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "crlhf"
ROOMS = ("annotations", "crowd", "reliability", "rewards", "policy", "evaluation")
CORE = {"schema", "params", "lines", "languages", "store", "errors", "progress", "fetch", "launch"}
FORBIDDEN = {"dagster", "mlflow", "dvc"}


def imports_of(path):
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module)
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_the_core_and_itself_only(room):
    for path in (SOURCE / room).rglob("*.py"):
        for name in imports_of(path):
            parts = name.split(".")
            assert parts[0] not in FORBIDDEN, f"{path} imports {name}"
            if parts[0] == "crlhf" and len(parts) > 1:
                assert parts[1] in CORE | {room}, f"{path} imports {name}"


def test_nothing_points_back():
    for path in SOURCE.rglob("*.py"):
        above = {"dagster_project"} if path.name in ("cli.py", "__main__.py") else {"dagster_project", "crlhf.cli"}
        assert not above & imports_of(path), path


def test_the_core_imports_without_torch_dagster_or_mlflow():
    modules = ["crlhf.cli", "crlhf.stages.runner", *(f"crlhf.{name}" for name in sorted(CORE))]
    program = (
        f"import sys, {', '.join(modules)}; print({{'torch', 'dagster', 'mlflow', 'transformers'}} & set(sys.modules))"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"


def test_help_loads_no_heavy_library():
    program = (
        "import sys\nfrom crlhf.cli import main\nsys.argv = ['crlhf', '--help']\n"
        "try:\n    main()\nfinally:\n    print({'pandas', 'numpy', 'torch', 'pyarrow', 'mlflow'} & set(sys.modules))"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.endswith("set()\n")
    assert all(stage in answer.stdout for stage in STAGES)


def test_every_stage_of_dvc_yaml_is_a_module_that_reads_the_sections_it_declares():
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    assert list(stages) == list(STAGES)
    for name, stage in stages.items():
        body = stage.get("do", stage)
        sections = {param.partition(".")[0] for param in body["params"]}
        module = importlib.import_module(f"crlhf.stages.{name}")
        assert set(module.SECTIONS) == sections, name
        used = set(re.findall(r"context\.params\.(\w+)", (SOURCE / "stages" / f"{name}.py").read_text()))
        assert used <= sections, f"{name} reads {used - sections} behind DVC's back"
        each = "${rounds}" if name in PER_ROUND else "${policies}" if name in PER_POLICY else None
        assert stage.get("foreach") == each, name


def test_dvc_yaml_names_only_code_that_exists():
    text = (ROOT / "dvc.yaml").read_text()
    for path in re.findall(r"- (src/\S+)", text):
        assert (ROOT / path).exists(), path


def test_every_path_that_the_readme_names_exists():
    text = (ROOT / "README.md").read_text()
    made_by_the_pipeline = ("reports/", "metrics/", "models/", "data/tables/", "data/rounds/", ".venv", "mlflow.db")
    for path in re.findall(r"\]\(([^)#:]+)\)|`([\w.-]+(?:/[\w.-]+)+/?)`", text):
        name = path[0] or path[1]
        if not name.startswith(made_by_the_pipeline):
            assert (ROOT / name).exists(), name


def test_no_module_grows_past_400_lines():
    for path in [*SOURCE.rglob("*.py"), *(ROOT / "dagster_project").rglob("*.py")]:
        assert len(path.read_text().splitlines()) <= 400, path
