"""The order of the packages, held on the files and on what importing a package really executes."""

from __future__ import annotations

import ast
import graphlib
import re
from pathlib import Path

import pytest

from tests.helpers.warm import WARM, WITHOUT_TORCH

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "gelora_cli"
ORDER = (
    "core",
    "metrics",
    "models",
    "allocation",  # mathematics on artifacts: it knows no configuration, which reads saved plans
    "config",
    "launchers",
    "data",
    "tasks",
    "geometry",
    "signals",
    "methods",
    "training",
    "trackers",
    "plots",
    "archive",
    "pipeline",
    "report",
    "tuning",
    "commands",
)
"""The packages, lowest first: each imports only from itself and from those before it."""
ABOVE_ALL = {"api", "__init__", "__main__"}
HINTS_UPWARD = {
    ("core.registries", None),  # it names the class of each registry's entries, and imports the entries on demand
    ("plots", "report"),  # pictures of a report are drawn from its rows
    ("training", "trackers"),  # callbacks write to the trackers that the pipeline opened
}
"""Module or package, and the higher package that its type hints alone may name."""
STAGES = {"geometry.profiling", "allocation.ranks", "training.loop", "training.evaluation"}
HEAVY = ("torch", "transformers")


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__") or "__init__"


def imports(path: Path) -> set[str]:
    """Return the modules of ours that a file imports, wherever in it; type hints alone don't count."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return imported({*ast.walk(tree)} - hint_nodes(tree), path)


def hints(path: Path) -> set[str]:
    """Return the modules of ours that a file imports below `if TYPE_CHECKING`."""
    return imported(hint_nodes(ast.parse(path.read_text(encoding="utf-8"))), path)


def hint_nodes(tree: ast.Module) -> set[ast.AST]:
    guards = [node for node in ast.walk(tree) if isinstance(node, ast.If) and is_type_checking(node)]
    return {child for guard in guards for child in ast.walk(guard)}


def imported(nodes: set[ast.AST], path: Path) -> set[str]:
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            module = absolute_module(node, path)
            names = [f"{module}.{alias.name}" for alias in node.names]
            found |= {name if exists(short(name)) else module for name in names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {short(name) for name in found if name.split(".")[0] == "gelora_cli"}


def absolute_module(node: ast.ImportFrom, path: Path) -> str:
    """Return the module that an import names, also where it does so by dots."""
    if not node.level:
        return node.module or ""
    folder = path.relative_to(ROOT).parts[: -node.level]
    return ".".join([*folder, *filter(None, [node.module])])


def short(name: str) -> str:
    return name.removeprefix("gelora_cli").removeprefix(".") or "__init__"


def is_type_checking(node: ast.If) -> bool:
    return getattr(node.test, "id", "") == "TYPE_CHECKING"


def exists(name: str) -> bool:
    path = PACKAGE.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def package_of(module: str) -> str:
    return module.split(".", maxsplit=1)[0]


FILES = sorted(PACKAGE.rglob("*.py"))
GRAPH = {module_name(path): imports(path) - {module_name(path)} for path in FILES}
HINTS = {module_name(path): hints(path) for path in FILES}
PACKAGES = sorted({package_of(module) for module in GRAPH} - ABOVE_ALL)


def executed_by(*modules: str) -> set[str]:
    """Return the modules of ours that a process has after it imported these, and had none before."""
    code = (
        f"import importlib, sys; [importlib.import_module('gelora_cli.' + name) for name in {modules!r}]; "
        "print(*(name for name in sys.modules if name.startswith('gelora_cli.')))"
    )
    done = WARM.run_code(code)
    assert done.returncode == 0, done.stderr
    return {short(name) for name in done.stdout.split()}


def test_every_file_belongs_to_a_package_of_the_order() -> None:
    assert {*PACKAGES} == {*ORDER}
    assert not STAGES - GRAPH.keys()
    assert "core.artifacts.plan" in GRAPH["allocation.ranks"]


def test_no_import_cycles() -> None:
    graphlib.TopologicalSorter(GRAPH).prepare()


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_lower_ones(package: str) -> None:
    allowed = {*ORDER[: ORDER.index(package) + 1], "__init__"}
    wrong = []
    for module, names in GRAPH.items():
        if package_of(module) == package:
            wrong += [f"{module} imports {name}" for name in names if package_of(name) not in allowed]
    assert not wrong


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_a_package_executes_only_lower_ones(package: str) -> None:
    modules = [name for name in GRAPH if package_of(name) == package and not name.endswith("__main__")]
    executed = {package_of(name) for name in executed_by(*modules)}
    assert executed <= {*ORDER[: ORDER.index(package) + 1]}


def test_importing_the_training_executes_no_method() -> None:
    # Methods are imported on demand: one that needs a package which is not installed hinders no other.
    executed = executed_by(*(name for name in GRAPH if package_of(name) == "training"))
    assert {name for name in executed if package_of(name) == "methods"} == {"methods", "methods.base"}


def test_type_hints_name_higher_packages_only_where_it_is_said() -> None:
    upward: set[tuple[str, str | None]] = set()
    for module, found in HINTS.items():
        package = package_of(module)
        higher = {*ORDER[ORDER.index(package) + 1 :]} if package in ORDER else set()
        if higher & {*map(package_of, found)}:
            named = {(package, package_of(name)) for name in found if package_of(name) in higher}
            upward |= {(module, None)} if (module, None) in HINTS_UPWARD else named
    assert upward == HINTS_UPWARD


def test_the_package_knows_neither_its_tests_nor_its_scripts() -> None:
    outside = re.compile(r"^\s*(from|import) (tests|scripts|examples)\b", re.MULTILINE)
    assert not [str(path) for path in FILES if outside.search(path.read_text(encoding="utf-8"))]


def test_the_contributors_page_lists_the_packages_in_this_order() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert tuple(re.findall(r"^\| `(\w+)/` \|", page, re.MULTILINE)) == ORDER


def test_tests_mirror_the_packages() -> None:
    folders = {path.parent.name for path in (ROOT / "tests").glob("*/__init__.py")}
    assert folders - {"gpu", "helpers", "scripts"} == {*ORDER}


def test_no_package_imports_another_ones_private_file() -> None:
    wrong = []
    for module, names in GRAPH.items():
        others = [name for name in names if package_of(name) != package_of(module)]
        wrong += [f"{module} imports {name}" for name in others if is_private(name)]
    assert not wrong


def is_private(module: str) -> bool:
    return any(part.startswith("_") and not part.startswith("__") for part in module.split("."))


@pytest.mark.parametrize("package", ["allocation", "config", "signals", "tasks"])
def test_what_plans_and_checks_needs_no_torch(package: str) -> None:
    modules = [f"gelora_cli.{name}" for name in GRAPH if package_of(name) == package]
    code = f"import sys, {', '.join(modules)}; sys.exit(sum(name in sys.modules for name in {HEAVY!r}))"
    assert WITHOUT_TORCH.run_code(code).returncode == 0


def test_every_entry_is_registered_without_torch() -> None:
    code = (
        "import sys; from gelora_cli.core import registries; from gelora_cli.core.registry import Registry; "
        "every = [value for value in vars(registries).values() if isinstance(value, Registry)]; "
        "assert len(every) >= 11; [registry.get(name) for registry in every for name in registry.names()]; "
        f"sys.exit(sum(name in sys.modules for name in {HEAVY!r}))"
    )
    assert WITHOUT_TORCH.run_code(code).returncode == 0


@pytest.mark.parametrize(
    "module",
    [
        "twonn",
        "points",
        "neighbours",
        "duplicates",
        "ratios",
        "fit",
        "mle",
        "gride",
        "scales",
        "scale_rules",
        "search",
        "distinct_points",
        "interval",
        "jacobians",
        "theory",
    ],
)
def test_the_mathematics_of_geometry_imports_no_configuration(module: str) -> None:
    assert {package_of(name) for name in GRAPH[f"geometry.{module}"]} <= {"core", "geometry"}


def test_methods_know_no_stage_and_the_loop_knows_no_method() -> None:
    methods = {name for name in GRAPH if name.startswith("methods")}
    names = re.compile(r"\b(adalora|sora|eva|bitfit|houlsby|pfeiffer|lora)\b", re.IGNORECASE)
    assert GRAPH["training.loop"] & methods == {"methods.base"}
    for path in (PACKAGE / "training").glob("*.py"):
        assert GRAPH[module_name(path)] & methods <= {"methods.base"}, path
        assert not names.search(path.read_text(encoding="utf-8")), path


def test_stages_do_not_import_each_other() -> None:
    for stage in STAGES:
        assert not GRAPH[stage] & (STAGES - {stage}), stage


@pytest.mark.parametrize(
    ("stage", "importers"),
    [
        ("geometry.profiling", {"signals", "pipeline", "api"}),
        ("training.loop", {"pipeline"}),
        ("training.evaluation", {"pipeline"}),
    ],
)
def test_only_the_pipeline_signals_and_the_functions_for_others_import_stages(stage: str, importers: set[str]) -> None:
    assert {package_of(name) for name, found in GRAPH.items() if stage in found} == importers


LIGHT = [
    "commands.main",
    "config.complete",
    "config.help",
    "config.identity",
    "config.overrides",
    "core.status",
    "data.demo",
    "data.user_data",
    "pipeline.card",
    "plots.run_ranks",
    "plots.run_profile",
    "plots.base",
    "plots.report_values",
    "plots.theory",
    "plots.trajectories",
    "plots.profiles",
    "report.build",
    "report.grid",
    "report.listing",
    "report.significance",
    "api",
]


@pytest.mark.parametrize("module", LIGHT)
def test_light_entry_points_stay_light(module: str) -> None:
    code = f"import sys, gelora_cli.{module}; sys.exit(sum(name in sys.modules for name in {HEAVY!r}))"
    assert WITHOUT_TORCH.run_code(code).returncode == 0


def test_no_test_module_imports_another() -> None:
    wrong = re.compile(r"^\s*(from|import) (\S*\.)?test_\w+|^\s*from \S+ import (\w+, )*test_\w+", re.MULTILINE)
    files = sorted((ROOT / "tests").rglob("*.py"))
    assert not [str(path) for path in files if wrong.search(path.read_text(encoding="utf-8"))]


def test_nothing_forbidden_in_the_source() -> None:
    forbidden = re.compile(r"\bpickle\b|\beval\(|\bexec\(|torch\.load|trust_remote_code=True|joblib\.load|os\.system")
    for path in FILES:
        hits = [line for line in path.read_text(encoding="utf-8").splitlines() if forbidden.search(line)]
        assert not [line for line in hits if ".eval(" not in line], path
