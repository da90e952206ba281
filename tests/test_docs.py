"""What README and docs/ say is so: links, commands, keys, files, classes to copy, and the version."""

from __future__ import annotations

import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

import gelora_cli
from gelora_cli.commands.help import command_help
from gelora_cli.config.groups import groups
from gelora_cli.config.keys import declared_keys
from gelora_cli.config.schema import LaunchConfig, MethodConfig, RunConfig
from gelora_cli.config.shipped import config_dir
from gelora_cli.core import registries
from gelora_cli.core.registries import COMMANDS
from gelora_cli.core.registry import Registry
from gelora_cli.core.run_files import ADAPTER, CHECKPOINTS, FILES
from gelora_cli.plots.report_rows import MOST_LINES
from scripts.count_style import prose
from scripts.reference import all_registries, page_name, pages
from tests.helpers.tiny import KINDS

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
GENERATED = pages()
WRITTEN = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted(DOCS.rglob("*.md"))]


def shown_commands() -> Iterator[tuple[str, list[str]]]:
    """Return the words of every `gelora` command in a block of shell, with its page."""
    for page in WRITTEN:
        for block in re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), re.S):
            for line in block.splitlines():
                words = shlex.split(line, comments=True)
                if words[:1] == ["gelora"] and len(words) > 1 and words[1].isalpha():
                    yield page.name, words


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.name)
def test_links_and_pictures_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text)]
    local = [target for target in targets if target and not target.startswith(("http://", "https://"))]
    for target in local:
        path = (page.parent / target).resolve()
        is_generated = path.parent == DOCS / "reference" and path.name in GENERATED
        assert path.exists() or is_generated, f"{page.name}: {target}"


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.name)
def test_files_that_a_page_names_are_there(page: Path) -> None:
    named = re.findall(r"`((?:gelora_cli|scripts|tests|examples)/[\w./]+)`", page.read_text(encoding="utf-8"))
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_navigation_names_every_written_page() -> None:
    lines = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    named = set(re.findall(r"[\w/-]+\.md", lines))
    written = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    assert written <= named
    assert {name for name in named - written if name.removeprefix("reference/") not in GENERATED} == set()


def test_commands_name_known_commands_keys_and_groups() -> None:
    commands = list(shown_commands())
    assert len(commands) > 30
    for page, words in commands:
        assert words[1] in COMMANDS, f"{page}: {words}"
        methods = [word.partition("=")[2] for word in words if word.startswith("method=")] or ["gelora"]
        options: dict[str, type] = {}
        if "," not in methods[0]:
            options["method"] = MethodConfig.class_of(methods[0])
        for launcher in ("slurm", "ray"):
            if f"launch={launcher}" in words:
                options["launch"] = LaunchConfig.class_of(launcher)
        known = {entry.name for entry in declared_keys(COMMANDS.get(words[1]).keys, options)} | set(groups("run"))
        keys = [word.partition("=")[0].lstrip("+") for word in words[2:] if "=" in word and not word.startswith("-")]
        assert set(keys) <= known, f"{page}: {set(keys) - known} in {shlex.join(words)}"


def test_the_readme_is_read_in_five_minutes() -> None:
    words = prose((ROOT / "README.md").read_text(encoding="utf-8")).split()
    assert 1_000 <= len(words) <= 1_500


def test_the_readme_names_every_command_and_method() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in COMMANDS.names() if f"`gelora {name}`" not in text] == []
    assert [name for name in registries.METHODS.names() if f"`{name}`" not in text] == []


def test_the_reference_has_every_key_command_and_entry() -> None:
    keys = [entry.name for entry in declared_keys(RunConfig) if not entry.declared.internal]
    assert [name for name in keys if f'<a id="{name}">' not in GENERATED["keys.md"]] == []
    assert [name for name in COMMANDS.names() if f"## gelora {name}\n" not in GENERATED["commands.md"]] == []
    for registry in all_registries():
        page = GENERATED[page_name(registry)]
        assert [name for name in registry.names() if f"## {name} {{" not in page] == []


@pytest.mark.parametrize("name", COMMANDS.names())
def test_the_reference_shows_the_usage_of_the_help(name: str) -> None:
    usage = next(line for line in command_help(COMMANDS.get(name)).splitlines() if line.startswith("usage: "))
    expected = usage.removeprefix("usage: ").replace("[KEY=VALUE ...]", "[OVERRIDES]")
    assert f"```text\n{expected}\n```" in GENERATED["commands.md"]


def test_the_reference_says_how_many_lines_a_picture_has() -> None:
    page = GENERATED["pictures-of-a-report.md"]
    assert f"at most {MOST_LINES} in one picture" in page
    assert f"at most {MOST_LINES} rows in one" in page


def test_the_reference_says_which_entries_a_folder_can_add() -> None:
    pages_of_entries = {page_name(registry) for registry in all_registries()}
    in_gelora = {name for name in pages_of_entries if "a folder of your own" not in GENERATED[name]}
    assert in_gelora == {"pictures-of-a-report.md"}  # `gelora report` imports no plug-ins


def test_the_index_of_the_reference_names_every_page() -> None:
    text = (DOCS / "reference" / "index.md").read_text(encoding="utf-8")
    assert [name for name in GENERATED if f"]({name})" not in text] == []


def test_the_pages_on_gpus_name_the_kinds_that_are_tested_there() -> None:
    for page in ("how-to/gpu.md", "explanation/never-run.md"):
        text = (DOCS / page).read_text(encoding="utf-8").lower()
        assert [kind for kind in KINDS if kind not in text] == [], page


def test_the_page_on_offline_machines_names_the_folders_of_the_data() -> None:
    text = (DOCS / "how-to" / "offline.md").read_text(encoding="utf-8")
    for task in ("cola", "squad", "squad_v2", "gsm8k"):
        values = yaml.safe_load((config_dir() / "task" / f"{task}.yaml").read_text(encoding="utf-8"))
        assert f"DIR/{values.get('folder', task)}" in text


def test_a_method_links_to_its_settings() -> None:
    linked = re.findall(r"keys\.md#(method-\w+)", GENERATED["methods.md"])
    assert "method-adalora" in linked
    assert [anchor for anchor in linked if f'<a id="{anchor}">' not in GENERATED["keys.md"]] == []


def test_the_page_of_the_run_directory_names_every_file() -> None:
    text = (DOCS / "reference" / "run-directory.md").read_text(encoding="utf-8")
    assert [name for name in FILES if f"`{name}`" not in text] == []
    assert f"`{ADAPTER}/`" in text
    assert f"`{CHECKPOINTS}/`" in text


def test_the_reference_says_type_default_bounds_and_hash_of_a_key() -> None:
    (row,) = [line for line in GENERATED["keys.md"].splitlines() if '<a id="train.warmup_ratio">' in line]
    assert "*number*" in row
    assert "`0.06`" in row
    assert "at least 0, at most 1" in row
    assert "Part of the run's hash" in row
    (row,) = [line for line in GENERATED["keys.md"].splitlines() if '<a id="train.log_steps">' in line]
    assert "hash" not in row


def test_the_classes_of_the_page_on_extending_register(monkeypatch: pytest.MonkeyPatch) -> None:
    for registry in (value for value in vars(registries).values() if isinstance(value, Registry)):
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    text = (DOCS / "how-to" / "extend.md").read_text(encoding="utf-8")
    page = ModuleType("extend")
    monkeypatch.setitem(sys.modules, page.__name__, page)  # where a dataclass looks for its module
    for block in re.findall(r"```python\n(.*?)```", text, re.S):
        exec(block, vars(page))
    registered: dict[Registry[Any], str] = {
        registries.METHODS: "last_block",
        registries.VARIANTS: "same_alpha",
        registries.ALLOCATORS: "last_block",
        registries.METRICS: "balanced",
        registries.TASK_KINDS: "margin",
        registries.MODEL_KINDS: "ernie",
        registries.TRACKERS: "table",
        registries.SIGNALS: "norms",
        registries.LAUNCHERS: "shell",
        registries.RUN_PICTURES: "losses",
    }
    assert [name for registry, name in registered.items() if name not in registry] == []


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.name)
def test_yaml_that_can_be_copied_is_read(page: Path) -> None:
    for block in re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.S):
        assert isinstance(yaml.safe_load(block), dict)


def test_the_version_stands_in_one_place() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["hatch"]["version"]["path"] == "gelora_cli/__init__.py"
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == gelora_cli.__version__
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_every_extra_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    pinned = {line.partition("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines()}
    extras = project["project"]["optional-dependencies"]
    wanted = [requirement for name in extras for requirement in extras[name]]
    names = {re.split(r"[<>=!~ ;\[]", requirement)[0].lower() for requirement in wanted}
    assert names <= pinned
