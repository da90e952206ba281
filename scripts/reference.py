"""Write the reference pages of the documentation from the schema, the artifacts and the registries.

    python -m scripts.reference              # print the names of the pages
    python -m scripts.reference keys.md      # print one page
    python -m scripts.reference archive-1.schema.json > docs/reference/archive-1.schema.json

`scripts/docs_hooks.py` puts the pages into the site, so that no page of the reference is written by hand.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import math
import pkgutil
import re
import sys
import textwrap
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from gelora_cli.commands.base import Command
from gelora_cli.config.keys import Key, declared_keys, section_help, written_value
from gelora_cli.config.schema import PresetConfig, RunConfig
from gelora_cli.config.shipped import config_dir
from gelora_cli.core import registries
from gelora_cli.core.registries import COMMANDS, LAUNCHERS, METHODS
from gelora_cli.core.registry import Registry
from gelora_cli.tuning.space import read_space
from scripts.json_schema import ARCHIVE_SCHEMA, archive_schema

REPOSITORY = Path(__file__).resolve().parent.parent
ARTIFACT_PACKAGES = ("gelora_cli.core", "gelora_cli.signals")
"""Packages whose dataclasses with a `FILE` are files of a run or profile directory; one that is missing is skipped."""

INTRODUCTIONS = {
    "allocator": "An allocator turns a measured signal and a budget into one rank per block. A method names the one "
    "that it uses.",
    "launcher": "A launcher starts the processes of a run or the jobs of a sweep.",
    "method": "A fine-tuning method is chosen with `method=NAME`. [Methods](../explanation/methods.md) explains how "
    "they meet a budget and where they differ from their papers.",
    "metric": "A metric is chosen with `task.metric=NAME`; `task.reported` names the one of its values that a run "
    "reports.",
    "model kind": "A model kind says where the blocks and the linear layers of a model are. It is found by the "
    "`model_type` in the model's `config.json`.",
    "picture of a report": "`gelora report` draws these pictures.",
    "picture of a run": "A run draws these pictures into its directory, as `NAME.png`.",
    "signal": "A signal is a measurement that an allocator can turn into ranks. Runs with equal inputs share it.",
    "task kind": "A task kind is chosen with `task.kind=NAME`. It decides the head, the loss, the metrics and the "
    "lines of `predictions.jsonl`.",
    "tracker": "A tracker takes the metrics of a training: `tracker=NAME`. It changes no number. [Trackers]"
    "(../how-to/track.md) shows them.",
    "variant": "A variant is the form of LoRA's update, whatever the ranks: `method.variant=NAME`. [Variants of the "
    "update](../explanation/methods.md#variants-of-the-update) compares them.",
}

HOW_TO_ADD = {
    "picture of a report": "[How to add one](../how-to/extend.md#a-picture) to gelora itself: `gelora report` imports "
    "no plug-ins.",
}
"""Of an entry that no folder of the user's own can add."""


def pages() -> dict[str, str]:
    """Return file name to Markdown, of every generated page."""
    written = {
        "commands.md": commands_page(),
        "keys.md": keys_page(),
        "artifacts.md": artifacts_page(),
        "tasks.md": tasks_page(),
        "models.md": models_page(),
        "spaces.md": spaces_page(),
    }
    for registry in all_registries():
        written[page_name(registry)] = registry_page(registry)
    return written


def all_registries() -> list[Registry[Any]]:
    """Return every registry of `core.registries` but that of the commands, sorted by what it holds."""
    entries = [value for value in vars(registries).values() if isinstance(value, Registry)]
    return sorted((entry for entry in entries if entry is not COMMANDS), key=lambda registry: registry.what)


def page_name(registry: Registry[Any]) -> str:
    """Return the file name of a registry's page: `task-kinds.md` for task kinds."""
    return f"{plural(registry.what).replace(' ', '-')}.md"


def plural(what: str) -> str:
    """Return `task kinds` of a task kind, and `pictures of a run` of a picture of a run."""
    first, of, rest = what.partition(" of ")
    return f"{first}s{of}{rest}"


def commands_page() -> str:
    """Return the page of all commands, in the order of `gelora --help`."""
    lines = [
        "# Commands",
        "",
        "Everything behind a command is an override, `key=value`. `gelora COMMAND --help` shows the common keys with "
        "their defaults, `gelora COMMAND --help all` shows every key.",
        "",
        "| command | what it does |",
        "|---|---|",
    ]
    lines += [f"| [`{name}`](#gelora-{name}) | {cell(COMMANDS.get(name).summary)} |" for name in COMMANDS.names()]
    for name in COMMANDS.names():
        lines += ["", *_command_section(COMMANDS.get(name))]
    return "\n".join(lines) + "\n"


def _command_section(command: Command[Any]) -> list[str]:
    paths = str(command.positional or "")
    if command.positional is not None and not command.positional.required:
        paths = f"[{paths}]"
    usage = " ".join(filter(None, ["gelora", command.name, paths, "[OVERRIDES]"]))
    lines = [f"## gelora {command.name}", "", f"{sentence(command.summary)}", "", "```text", usage, "```", ""]
    lines += ["```bash", *textwrap.dedent(command.examples).splitlines(), "```", ""]
    if command.sweepable:
        lines += ["Sweeps over several values of a key: `-m`.", ""]
    for flag, override in command.flags.items():
        lines += [f"`{flag}` is short for `{override}`.", ""]
    keys = declared_keys(command.keys)
    if issubclass(command.keys, RunConfig):
        run_keys = {entry.name for entry in declared_keys(RunConfig)}
        keys = tuple(entry for entry in keys if entry.name not in run_keys)
        but = "".join(f" but `{name}`" for name in command.refused_keys)
        lines += [f"It takes [the keys of a run](keys.md){but}{', and:' if keys else '.'}", *([""] if keys else [])]
    return [*lines, *(_key_table(keys, anchors=False, hashes=False) if keys else [])]


def keys_page() -> str:
    """Return the page of every key of a run, section by section."""
    keys = [entry for entry in declared_keys(RunConfig) if not entry.declared.internal]
    top = [entry for entry in keys if not entry.section]
    lines = [
        "# Configuration keys",
        "",
        "Every key of `gelora run`, `profile`, `train` and `fetch`, as the schema declares it. The defaults are "
        "those of the schema; a task, a model or a method can set others, which "
        "`gelora run task=NAME method=NAME --help all` shows.",
        "",
        "*Part of the run's hash* means that the key can change a number. Two runs that differ in it lie in different "
        "directories. *Part of the profile's hash* means the same of a profile, which several runs can share.",
        "",
        "## Top level",
        "",
        *_key_table(top),
    ]
    titles = section_help(RunConfig)
    for name in dict.fromkeys(entry.section.partition(".")[0] for entry in keys if entry.section):
        inside = [entry for entry in keys if entry.section.partition(".")[0] == name]
        lines += ["", f"## {name}", "", sentence(titles.get(name, "")), "", *_key_table(inside)]
        if name == "method":
            lines += _entry_settings(METHODS, "method", "method")
        if name == "launch":
            lines += _entry_settings(LAUNCHERS, "launcher", "launch")
    lines += ["", "## Presets", "", "Training settings for one method family and model, in `task.presets` and"]
    lines += ["`method.presets`.", "", *_key_table(declared_keys(PresetConfig), anchors=False)]
    return "\n".join(lines) + "\n"


def _entry_settings(registry: Registry[Any], what: str, section: str) -> list[str]:
    """Return a table of each class of settings, with the entries of a registry that have it."""
    owners: dict[type, list[str]] = {}
    for name in registry.names():
        if settings := registry.get(name).config_class:
            owners.setdefault(settings, []).append(name)
    lines = ["", f"### Settings of a {what} {{ #settings-of-a-{what} }}", ""]
    lines += [f"Besides the keys above, a {what} has settings of its own. Give them as `{section}.KEY=VALUE`."]
    for settings, names in owners.items():
        if own := _own_settings(settings, section):
            anchors = "".join(f'<a id="{section}-{name}"></a>' for name in names)
            title = ", ".join(f"`{section}={name}`" for name in names)
            lines += ["", f"#### {anchors}{title} {{ #settings-{names[0]} }}", ""]
            lines += _key_table(own, anchors=False)
    return lines


def _own_settings(settings: type, section: str) -> list[Key]:
    """Return the keys that an entry's class of settings has beyond those of every entry."""
    common = {entry.name for entry in declared_keys(RunConfig)}
    return [entry for entry in declared_keys(RunConfig, {section: settings}) if entry.name not in common]


def _key_table(keys: Iterable[Key], *, anchors: bool = True, hashes: bool = True) -> list[str]:
    lines = ["| key | default | meaning |", "|---|---|---|"]
    for entry in keys:
        anchor = f'<a id="{entry.name}"></a>' if anchors else ""
        name = f"{anchor}`{entry.name}`<br>*{cell(type_name(entry.kind))}*"
        lines.append(f"| {name} | {cell(value_text(entry.default))} | {key_meaning(entry, hashes=hashes)} |")
    return lines


def key_meaning(entry: Key, *, hashes: bool = True) -> str:
    """Return a key's help with what it accepts and whether it is part of a hash."""
    declared = entry.declared
    parts = [sentence(cell(declared.help))]
    if words := declared.accepted():
        parts.append("Accepted: " + ", ".join(f"`{word}`" for word in words) + ".")
    elif limits := bounds(declared.low, declared.above, declared.high):
        parts.append(f"Accepted: {limits}.")
    if declared.path:
        parts.append("Can be a path.")
    if hashes and declared.identity is not False:
        parts.append("*Part of the run's hash.*")
    if hashes and declared.profile:
        parts.append("*Part of the profile's hash.*")
    return " ".join(parts)


def bounds(low: float | None, above: float | None, high: float) -> str:
    """Return the bounds of a number in words, empty where it has none."""
    if low is None and above is None:
        return ""
    lowest = f"above {above:g}" if low is None else f"at least {low:,g}"
    return lowest if high == math.inf else f"{lowest}, at most {high:,}"


def type_name(kind: Any) -> str:
    """Return a type as a reader of the documentation knows it."""
    if kind is type(None):
        return "null"
    if dataclasses.is_dataclass(kind):
        return typing.cast(type, kind).__name__
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(type_name(argument) for argument in arguments)
    if origin in (list, tuple):
        items = [type_name(argument) for argument in arguments if argument is not Ellipsis]
        return f"list of {' and '.join(dict.fromkeys(items))}"
    if origin in (dict, Mapping):
        return f"mapping of {type_name(arguments[0])} to {type_name(arguments[1])}"
    words = {bool: "true or false", int: "integer", float: "number", str: "text"}
    return words.get(kind, getattr(kind, "__name__", str(kind)))


def value_text(value: object) -> str:
    """Return a value as a user writes it, as code; "empty" for an empty text or mapping."""
    return "empty" if value in ("", {}) else f"`{written_value(value)}`"


def artifacts_page() -> str:
    """Return the page with the fields of every JSON file that gelora writes beside a run or a profile."""
    lines = [
        "# Fields of the JSON files",
        "",
        "Each file is a frozen dataclass stored as JSON, with the version of its schema and a checksum of its values. "
        "[The run directory](run-directory.md) says what each file is for.",
    ]
    described: set[type] = set()
    for artifact in stored_artifacts():
        file = artifact.FILE  # type: ignore[attr-defined]
        lines += ["", f"## {file} {{ #{file.replace('.', '-')} }}", "", *_artifact_section(artifact, described)]
    return "\n".join(lines) + "\n"


def stored_artifacts() -> list[type]:
    """Return every dataclass that is stored under a file name of its own, sorted by that name."""
    found: dict[str, type] = {}
    for module in _modules(ARTIFACT_PACKAGES):
        for value in vars(module).values():
            is_artifact = inspect.isclass(value) and dataclasses.is_dataclass(value)
            if is_artifact and isinstance(getattr(value, "FILE", None), str):
                found[value.FILE] = value
    return [found[name] for name in sorted(found)]


def _modules(packages: Iterable[str]) -> Iterator[types.ModuleType]:
    for name in packages:
        try:
            package = importlib.import_module(name)
        except ModuleNotFoundError:
            continue
        yield package
        for entry in pkgutil.walk_packages(package.__path__, f"{name}."):
            yield importlib.import_module(entry.name)


def _artifact_section(artifact: type, described: set[type]) -> list[str]:
    """Return an artifact's text and fields, then those of the dataclasses in it that have not been described."""
    described.add(artifact)
    lines = [*without_sections(inspect.getdoc(artifact) or ""), ""]
    notes, hints = field_notes(artifact), typing.get_type_hints(artifact)
    fields = dataclasses.fields(artifact)
    lines += ["| field | type | meaning |", "|---|---|---|"] if notes else ["| field | type |", "|---|---|"]
    for item in fields:
        row = f"| `{item.name}` | {cell(type_name(hints[item.name]))} |"
        lines.append(f"{row} {cell(notes.get(item.name, ''))} |" if notes else row)
    for item in fields:
        for inner in _dataclasses_in(hints[item.name]):
            if inner not in described:
                lines += ["", f"### {inner.__name__}", "", *_artifact_section(inner, described)]
    return lines


def _dataclasses_in(kind: Any) -> Iterator[type]:
    if dataclasses.is_dataclass(kind):
        yield typing.cast(type, kind)
    for argument in typing.get_args(kind):
        yield from _dataclasses_in(argument)


def field_notes(artifact: type) -> dict[str, str]:
    """Return field name to description: from the string below the field, else from `Attributes:` in the docstring."""
    notes = attribute_section(inspect.getdoc(artifact) or "")
    tree = ast.parse(textwrap.dedent(inspect.getsource(artifact))).body[0]
    assert isinstance(tree, ast.ClassDef)
    for field, below in zip(tree.body, tree.body[1:], strict=False):
        is_text = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and is_text:
            notes[field.target.id] = " ".join(str(typing.cast(Any, below).value.value).split())
    return notes


def attribute_section(docstring: str) -> dict[str, str]:
    """Return name to description of the `Attributes:` section of a docstring."""
    _, heading, section = docstring.partition("\nAttributes:\n")
    notes: dict[str, str] = {}
    name = ""
    for line in section.splitlines() if heading else []:
        if line and not line.startswith(" "):
            break
        if line.startswith("    ") and not line.startswith("     "):
            name, _, text = line.strip().partition(": ")
            notes[name] = text
        elif name:
            notes[name] = f"{notes[name]} {line.strip()}".strip()
    return notes


def without_sections(docstring: str) -> list[str]:
    """Return the lines of a docstring before its first section, such as `Attributes:`."""
    for heading in ("Attributes", "Args", "Raises", "Returns"):
        docstring = docstring.partition(f"\n{heading}:\n")[0]
    return docstring.rstrip().splitlines()


def registry_page(registry: Registry[Any]) -> str:
    """Return the page of a registry, with a section for each entry."""
    lines = [f"# {plural(registry.what).capitalize()}", "", INTRODUCTIONS.get(registry.what, ""), ""]
    how_to_add = "[How to add one](../how-to/extend.md), also from a folder of your own."
    lines += [HOW_TO_ADD.get(registry.what, how_to_add), ""]
    lines += ["| name | what it is |", "|---|---|"]
    for name in registry.names():
        lines.append(f"| [`{name}`](#{name}) | {cell(_first_line(type(registry.get(name))))} |")
    for name in registry.names():
        lines += ["", f"## {name} {{ #{name} }}", "", *_entry_section(registry.get(name), registry.what, name)]
    return "\n".join(lines) + "\n"


def _first_line(entry: type) -> str:
    return (inspect.getdoc(entry) or "").splitlines()[0]


def _entry_section(entry: object, what: str, name: str) -> list[str]:
    lines = [*without_sections(inspect.getdoc(type(entry)) or ""), ""]
    source = Path(inspect.getfile(type(entry))).resolve()
    if source.is_relative_to(REPOSITORY):
        lines.append(f"- defined in `{source.relative_to(REPOSITORY)}`")
    lines += [f"- {label}: {text}" for label, text in _attributes(entry)]
    if what == METHODS.what and _own_settings(METHODS.get(name).config_class, "method"):
        lines.append(f"- [its settings, with their meaning](keys.md#method-{name})")
    file = config_dir() / what / f"{name}.yaml"
    if file.exists():
        text = file.read_text(encoding="utf-8").rstrip()
        lines += ["", f'```yaml title="configs/{what}/{name}.yaml"', text, "```"]
    return lines


def _attributes(entry: object) -> list[tuple[str, str]]:
    """Return the attributes that the entry's base class declares, those that can be shown in a line."""
    names: dict[str, None] = {}
    for parent in reversed(type(entry).__mro__):
        names.update(dict.fromkeys(inspect.get_annotations(parent)))
    shown = []
    for name in names:
        value = inspect.getattr_static(entry, name, None)
        if name.startswith("_") or name in ("name", "description"):
            continue
        if isinstance(value, str | int | float) and value != "":
            text = re.sub(r"\{\w+\}", "N", str(value))  # a number that a message fills in
            shown.append((f"`{name}`", value_text(value) if " " not in text else cell(text)))
        elif isinstance(value, tuple) and value and all(isinstance(item, str) for item in value):
            shown.append((f"`{name}`", ", ".join(f"`{item}`" for item in value)))
        elif isinstance(value, Mapping) and value:
            shown.append((f"`{name}`", ", ".join(_pair(key, item) for key, item in value.items())))
    return shown


def _pair(key: object, value: object) -> str:
    return f"`{key}` = `{value}`" if isinstance(value, str) and value != key else f"`{key}`"


def tasks_page() -> str:
    """Return the page of the tasks with their training settings."""
    lines = [
        "# Tasks",
        "",
        "Each task is one YAML file in `configs/task/`, chosen with `task=NAME`. The tables show the training settings "
        "of each method family and model, with where they come from.",
    ]
    for file in _options("task"):
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
        lines += ["", f"## {file.stem}", "", _comment(file), ""]
        shown = {name: value for name, value in values.items() if name not in ("presets", "defaults", "name")}
        lines += [f"- `{name}`: {value_text(value)}" for name, value in shown.items()]
        lines += ["", *_preset_table(values.get("presets", {}))]
    return "\n".join(lines) + "\n"


def _preset_table(presets: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[str]:
    if not presets:
        return []
    lines = ["| method family | model | settings | source |", "|---|---|---|---|"]
    for family, models in presets.items():
        for model, settings in models.items():
            texts = [f"{name} {value}" for name, value in settings.items() if name != "source"]
            lines.append(f"| `{family}` | `{model}` | {cell(', '.join(texts))} | {cell(settings['source'])} |")
    return lines


def spaces_page() -> str:
    """Return the page of the search spaces of `gelora tune`."""
    lines = [
        "# Search spaces",
        "",
        "What [`gelora tune`](../how-to/tune.md) searches: `configs/space/METHOD.yaml`, else the space of the family "
        "whose presets the method takes, else `common`. All ranges are ours.",
        "",
        "A file has a line for each key. `{low: 1.0, high: 32.0}` is a range, and `log: true` in it makes the scale "
        "logarithmic. Where the key takes whole numbers, only those are tried. `{choices: [0.0, 0.1]}` names the few "
        "values that are tried. `defaults: [gelora, _self_]` begins with the keys of other files; the file's own "
        "replace them. `train.learning_rate` is in every space. Any key that can change a number may be searched.",
        "",
        "| space | key | where |",
        "|---|---|---|",
    ]
    for file in _options("space"):
        for key, searched in read_space(file).items():
            scale = ", logarithmic" if searched.get("log") else ""
            where = f"{searched['low']:g} to {searched['high']:g}{scale}" if "low" in searched else ""
            where = where or f"one of {', '.join(map(str, searched['choices']))}"
            lines.append(f"| `{file.stem}` | `{key}` | {where} |")
    return "\n".join(lines) + "\n"


def models_page() -> str:
    """Return the page of the models that have a name."""
    lines = [
        "# Models",
        "",
        "Each model is one YAML file in `configs/model/`, chosen with `model=NAME`. Any other model is "
        "[your own model](../how-to/own-model.md), `model.path=DIR`.",
        "",
        "| name | on the hub | what it is |",
        "|---|---|---|",
    ]
    for file in _options("model"):
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
        lines.append(f"| `{file.stem}` | `{values.get('hub', '')}` | {cell(_comment(file))} |")
    return "\n".join(lines) + "\n"


def _options(group: str) -> list[Path]:
    return sorted((config_dir() / group).glob("*.yaml"))


def _comment(file: Path) -> str:
    """Return the comment in a YAML file's first line."""
    return sentence(file.read_text(encoding="utf-8").splitlines()[0].removeprefix("#").strip())


def cell(text: str) -> str:
    """Return a text that can stand in a cell of a Markdown table."""
    text = text.replace("|", "\\|").replace("\n", " ")
    parts = text.split("`")  # every second part is code, in which nothing is Markdown
    parts[::2] = [part.replace("<", "&lt;").replace("*", "\\*") for part in parts[::2]]
    return "`".join(parts)


def sentence(text: str) -> str:
    """Return a text that begins with a capital letter and ends with a full stop."""
    if not text:
        return ""
    # A first word such as `auto:` is a value, and `SoRA` a name: neither changes.
    first = text.split(maxsplit=1)[0]
    begun = text if first.endswith(":") or not first.islower() else text[0].upper() + text[1:]
    return begun if begun.endswith((".", "?", "!", ":")) else f"{begun}."


def main() -> None:
    """Print the names of the pages, or one of them."""
    written = {**pages(), ARCHIVE_SCHEMA: archive_schema(field_notes)}
    print(written[sys.argv[1]] if len(sys.argv) > 1 else "\n".join(written) + "\n", end="")


if __name__ == "__main__":
    main()
