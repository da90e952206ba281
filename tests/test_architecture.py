"""The import rules of the house, read from the source."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "gelora_cli"
STAGES = {"profiling", "ranks", "train", "evaluation"}


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__") or "__init__"


def imports(path: Path) -> set[str]:
    """Modules of ours that a file imports, wherever in it; type hints alone don't count."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    guarded = {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        for child in ast.walk(node)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node not in guarded and (node.module or "").startswith("gelora_cli"):
            base = (node.module or "").removeprefix("gelora_cli").removeprefix(".")
            for alias in node.names:
                name = f"{base}.{alias.name}".strip(".")
                found.add(name if exists(name) else base or "__init__")
        elif isinstance(node, ast.Import):
            found |= {alias.name.removeprefix("gelora_cli.") for alias in node.names if "gelora_cli" in alias.name}
    return found


def exists(name: str) -> bool:
    path = PACKAGE.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


GRAPH = {module_name(path): imports(path) - {module_name(path)} for path in sorted(PACKAGE.rglob("*.py"))}


def test_the_graph_is_read() -> None:
    assert "artifacts" in GRAPH["ranks"]
    assert not STAGES - GRAPH.keys()


def test_no_import_cycles() -> None:
    graphlib.TopologicalSorter(GRAPH).prepare()


def test_artifacts_import_nothing_of_ours() -> None:
    assert not GRAPH["artifacts"]


@pytest.mark.parametrize(
    "module", ["twonn", "ranks", "planning", "budget", "controls", "layer_checks", "jacobians", "theory"]
)
def test_mathematics_imports_no_configuration(module: str) -> None:
    assert GRAPH[module] <= {"artifacts", "budget", "controls", "jacobians", "layer_checks", "ranks"}


def test_methods_know_no_stage_and_the_loop_knows_no_method() -> None:
    stages = {"profiling", "train", "evaluation", "pipeline"}
    methods = {name for name in GRAPH if name.startswith("methods")}
    assert not [name for name in methods if GRAPH[name] & stages]
    assert GRAPH["train"] & methods == {"methods.base"}
    names = re.compile(r"adalora|sora|eva\b|bitfit|houlsby|pfeiffer|lora\b", re.IGNORECASE)
    assert not names.search((PACKAGE / "train.py").read_text(encoding="utf-8"))


def test_stages_do_not_import_each_other() -> None:
    for stage in STAGES:
        assert not GRAPH[stage] & (STAGES - {stage}), stage


def test_only_the_corridor_and_the_functions_for_others_import_stages() -> None:
    importers = {name for name, found in GRAPH.items() if found & {"profiling", "train", "evaluation"}}
    assert importers == {"pipeline", "session", "dry_run", "api"}


LIGHT = [
    "cli",
    "ranks",
    "planning",
    "report.build",
    "report.grid",
    "rundir",
    "config",
    "overrides",
    "report.listing",
    "report.plots",
    "report.theory_plots",
    "report.courses",
    "report.profiles",
    "report.significance",
    "report.card",
    "data.demo",
    "data.own",
    "api",
]


@pytest.mark.parametrize("module", LIGHT)
def test_light_doors_stay_light(module: str) -> None:
    code = f"import sys, gelora_cli.{module}; sys.exit(sum(m in sys.modules for m in ('torch', 'transformers')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_nothing_forbidden_in_the_source() -> None:
    forbidden = re.compile(r"\bpickle\b|\beval\(|\bexec\(|torch\.load|trust_remote_code=True|joblib\.load|os\.system")
    for path in sorted(PACKAGE.rglob("*.py")):
        hits = [line for line in path.read_text(encoding="utf-8").splitlines() if forbidden.search(line)]
        assert not [line for line in hits if ".eval(" not in line], path
