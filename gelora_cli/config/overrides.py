"""Hydra overrides checked before Hydra composes them, so that every mistake is named at once with the nearest name."""

from __future__ import annotations

import dataclasses
import difflib
import re
import shlex
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gelora_cli.config.keys import declared_keys
from gelora_cli.config.paths import expand_home
from gelora_cli.config.schema import command_keys
from gelora_cli.config.shipped import config_dir
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.messages import first_line, suggest
from gelora_cli.core.plugins import load_plugins, loaded_folders

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

NOT_AN_OVERRIDE = (
    "not an override; accepted is key=value, such as task=cola or train.epochs=3; quote values that hold a comma, = or "
    "a space: 'data.glue=\"/my data\"'"
)


FLAGS: dict[str, tuple[str, ...] | None] = {
    "--cfg": ("job", "hydra", "all"),
    "--resolve": None,
    "--package": (),
    "--multirun": None,
    "--config-dir": (),
}
"""Hydra's flags that are accepted -> the values of one that takes any: () is any value; None takes no value."""
SHORT_FLAGS = {"-c": "--cfg", "-p": "--package", "-m": "--multirun", "-cd": "--config-dir"}
LARGEST_INTEGER = 2**63 - 1
MISSING = "???"
"""What YAML and Hydra write for a value that is yet to be given."""


INTERPOLATION = re.compile(r"\$\{[^{}]*\}|\$\{")
"""What OmegaConf takes for an interpolation, whole or begun."""
PROTECTED = "gelora_text_"
RESTORED = re.compile(rf"{PROTECTED}((?:[0-9a-f]{{2}})+)_")


@dataclasses.dataclass(frozen=True)
class Arguments:
    """A command's arguments: Hydra's flags in their long form with their values, and everything else in its order."""

    flags: list[str]
    words: list[str]

    @property
    def multirun(self) -> bool:
        """Whether `-m` asks for a sweep."""
        return "--multirun" in self.flags

    @property
    def config_dir(self) -> Path | None:
        """The folder of the user's own groups."""
        if "--config-dir" not in self.flags:
            return None
        return Path(self.flags[self.flags.index("--config-dir") + 1])


def split_arguments(arguments: list[str]) -> Arguments:
    """Tell flags from overrides and paths.

    Raises:
        GeloraError: a flag that is unknown, lacks its value, or names a folder that is not there.
    """
    flags: list[str] = []
    words: list[str] = []
    waiting = iter(arguments)
    for argument in waiting:
        if not argument.startswith("-") or argument == "-":
            words.append(argument)
            continue
        name, equals, value = argument.partition("=")
        name = SHORT_FLAGS.get(name, name)
        if name not in FLAGS:
            raise GeloraError(f"{argument}: unknown flag; {suggest(name, [*FLAGS, '--help'])}")
        accepted = FLAGS[name]
        flags.append(name)
        if accepted is not None:
            value = value if equals else next(waiting, "")
            flags.append(_flag_value(name, value, accepted))
        elif equals:
            raise GeloraError(f"{argument}: {name} takes no value; give {name} alone")
    if "--resolve" in flags and "--cfg" not in flags:
        raise GeloraError("--resolve goes with --cfg: give --cfg job --resolve")
    if {"--cfg", "--multirun"} <= set(flags):
        raise GeloraError("--cfg and -m exclude each other; give one of them")
    return Arguments(flags, words)


def _flag_value(name: str, value: str, accepted: tuple[str, ...]) -> str:
    """Return a flag's value; of `--config-dir` the folder itself.

    Raises:
        GeloraError: there is none, another one is accepted, or the folder is not there.
    """
    if not value or value.startswith("-"):
        what = "|".join(accepted) or ("DIR" if name == "--config-dir" else "NAME")
        raise GeloraError(f"{name} needs a value: {name} {what}")
    if accepted and value not in accepted:
        raise GeloraError(f"{name} {value}: not known; {suggest(value, accepted)}")
    if name != "--config-dir":
        return value
    folder = Path(expand_home(value))
    if not folder.is_dir():
        raise GeloraError(
            f"--config-dir {value}: no such directory; give a folder with groups of your own, such as {value}/task/"
            "mine.yaml"
        )
    return str(folder)


def protect_text(override: str) -> str:
    """Return an override in which `${...}` is written as a word that Hydra has no meaning for (see `restore_text`).

    What comes from the command line is text: a question may hold `${price}`, a directory may be called `${x}`. Only
    Hydra's own settings keep its syntax.
    """
    key = override.partition("=")[0].lstrip("+~")
    if key == "hydra" or key.startswith(("hydra.", "hydra/")):
        return override
    return INTERPOLATION.sub(lambda found: f"{PROTECTED}{found[0].encode('utf-8', 'surrogateescape').hex()}_", override)


def restore_text(value: Any) -> Any:
    """Return the value, or a dataclass, list or mapping of values, with the text that `protect_text` was given."""
    if isinstance(value, str):
        return RESTORED.sub(lambda found: bytes.fromhex(found[1]).decode("utf-8", "surrogateescape"), value)
    if isinstance(value, list):
        return [restore_text(item) for item in value]
    if isinstance(value, dict):
        return {restore_text(key): restore_text(item) for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        changed = {field.name: restore_text(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return dataclasses.replace(value, **changed)
    return value


def composed_config(composed: Any) -> Any:
    """Return what Hydra composed as the command's dataclass; interpolations in the user's own groups are resolved.

    Raises:
        GeloraError: one of them can't be resolved, or a value is missing.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        return restore_text(OmegaConf.to_object(composed))
    except OmegaConfBaseException as error:
        raise GeloraError(f"the configuration can't be composed: {str(error).splitlines()[0]}") from error


def override_problems(
    config_name: str, overrides: list[str], extra: Path | None, *, multirun: bool = True
) -> tuple[list[str], list[str]]:
    """Return what is wrong with the overrides, and those with nothing wrong in a form that Hydra can parse.

    `extra` is a folder of the user's own groups. Without `multirun` a key takes one value.
    """
    problems: list[str] = []
    good: list[str] = []
    for text in overrides:
        readable, override = _parsed(protect_text(text))
        if override is None:
            problems.append(f"{text}: {_quoting_advice(text) or NOT_AN_OVERRIDE}")
            continue
        found = _override_problems(config_name, override, extra, multirun=multirun)
        problems += restore_text(found)
        good += [] if found else [readable]
    return problems, good


def load_named_plugins(overrides: list[str]) -> list[str]:
    """Load the plug-ins that overrides name, and return the override by which Hydra finds their YAML files.

    They are loaded before anything is checked, since the names in other overrides may be theirs.

    Raises:
        GeloraError: they are not there, an entry lacks a part, or a YAML file has the name of a shipped one.
    """
    named = [text.partition("=")[2].strip("'\"") for text in overrides if text.startswith("plugins=")]
    if not named or named[-1] in ("", "null"):
        return []
    source = load_plugins(named[-1])
    if not source.root.is_dir():  # a single installed module has no YAML files
        return []
    _refuse_shipped_names(source.root)
    quoted = str(source.root).replace("'", "\\'")
    return [f"hydra.searchpath=['file://{quoted}']"]


def _refuse_shipped_names(folder: Path) -> None:
    """Refuse a plug-in's YAML file that Hydra would ignore, since one that gelora ships has its name.

    Raises:
        GeloraError: naming the file.
    """
    for path in sorted(folder.glob("*/*.yaml")):
        name = path.relative_to(folder)
        if (config_dir() / name).exists():
            raise GeloraError(f"plugins={folder}: {name} has the name of a file that gelora ships; rename it")


def _parsed(text: str) -> tuple[str, Any]:
    """Return an override's text in a form that Hydra parses, and parsed; None for one that it can't parse.

    Hydra knows few characters outside quotes: a value such as `~/runs` or `/home/josé` is quoted where it needs it. A
    leading `~` is the home directory, as in a shell.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser = OverridesParser.create()
    for candidate in (text, _quoted(text)):
        try:
            return candidate, parser.parse_override(candidate)
        except (HydraException, ValueError):  # ValueError: an integer of more digits than Python reads
            continue
    return text, None


def _quoted(text: str) -> str:
    """Put an override's value into quotes, unless it has quotes or a structure of its own."""
    key, equals, value = text.partition("=")
    if not equals or re.search(r"[\'\"\[\]{},$\\]", value) or not re.fullmatch(r"[+]{0,2}[\w./@:-]+", key):
        return text
    return f"{key}='{expand_home(value)}'"


def _quoting_advice(text: str) -> str:
    """Return how to write an override whose value holds brackets or quotes; nothing where quotes don't help."""
    key, _, value = text.partition("=")
    escaped = re.sub(r'(\\*)("|$)', lambda found: 2 * found[1] + ("\\" + found[2] if found[2] else ""), value)
    quoted = f'{key}="{escaped}"'
    _, override = _parsed(protect_text(quoted))
    if override is None or not value or restore_text(override.value()) != value:
        return ""
    return f"its value holds characters with a meaning of their own; quote it: {shlex.quote(quoted)}"


def group_choices(group: str, extra: Path | None = None) -> list[str]:
    """The options of a configuration group: ours, and those of the user's folder."""
    folders = [folder / group for folder in (config_dir(), *([extra] if extra else []), *loaded_folders())]
    return sorted({path.stem for folder in folders if folder.is_dir() for path in folder.glob("*.yaml")})


def groups(config_name: str) -> list[str]:
    """The configuration groups that a command's schema has."""
    names = [field.name for field in dataclasses.fields(command_keys(config_name))]
    found = [name for name in names if (config_dir() / name).is_dir()]
    return [*found, "experiment"] if config_name == "run" else found


def keys(schema: type) -> Iterator[str]:
    """Yield every key of a schema that a user may give, dotted."""
    yield from (entry.name for entry in declared_keys(schema) if not entry.declared.internal)


def _override_problems(config_name: str, override: Override, extra: Path | None, *, multirun: bool) -> list[str]:
    """Return what is wrong with one override, whatever it sweeps over."""
    key = override.key_or_group
    if key.split(".")[0].split("/")[0] == "hydra":
        return []
    if override.is_delete():
        return [f"~{key}: no key can be removed; leave it out to have its default, or give {key}=VALUE"]
    if not override.is_sweep_override():
        return _value_problems(config_name, key, override.value(), extra)
    if not multirun:
        line = override.input_line or key  # what was parsed has a line
        swept = line.partition("=")[2]
        return [
            f"{line}: several values are a sweep, which needs -m (of gelora run, profile and train); "
            f"if this is one value, quote it: '{key}=\"{swept}\"'"
        ]
    if not override.is_discrete_sweep():
        return []
    values = list(override.sweep_iterator())
    return [problem for value in values for problem in _value_problems(config_name, key, value, extra)]


def _value_problems(config_name: str, key: str, value: object, extra: Path | None) -> list[str]:
    """Return what is wrong with one value of a key or group."""
    if _holds_missing(value):
        return [f"{key}={value}: {MISSING} stands for a value that is missing; give one"]
    if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
        return [f"{key}={value}: an integer of {len(str(abs(value)))} digits; at most {LARGEST_INTEGER} is accepted"]
    if key in groups(config_name):
        return _option_problem(key, value, group_choices(key, extra))
    if key in _path_keys(config_name) and isinstance(value, str):
        return _path_problem(key, value) or _key_problem(config_name, key, value)
    if isinstance(value, list) and any(isinstance(item, list | dict) for item in value):
        return [f"{key}={value}: a list within a list; accepted is a plain list, such as {key}=[one,other]"]
    return _key_problem(config_name, key, value)


def _option_problem(group: str, value: object, choices: list[str]) -> list[str]:
    """Return what is wrong with the option of a group."""
    if value is None:
        return [f"{group}=null: one option is needed; {suggest('', choices)}. Leave it out to have the default"]
    return [] if str(value) in choices else [f"{group}={value}: unknown {group}; {suggest(str(value), choices)}"]


def _path_keys(config_name: str) -> set[str]:
    """Return the keys of a command whose value is a path, or may be one."""
    return {entry.name for entry in declared_keys(command_keys(config_name)) if entry.declared.path}


def _path_problem(key: str, value: str) -> list[str]:
    """Return what is wrong with a path before anything looks for it."""
    if not value:
        return [f"{key}= is empty: give a path, or leave it out to have the default"]
    if expand_home(value).startswith("~"):
        user = value.partition("/")[0]
        return [f"{key}={value}: there is no home directory {user}; write the path out, or ./{value} for one here"]
    return []


def _holds_missing(value: object) -> bool:
    """Whether a value, or any in it, is the mark of one that is missing."""
    if isinstance(value, list):
        return any(map(_holds_missing, value))
    if isinstance(value, dict):
        return any(map(_holds_missing, value.values()))
    return isinstance(value, str) and value == MISSING


def _key_problem(config_name: str, key: str, value: object) -> list[str]:
    """Return what the schema refuses of a key and its value."""
    from omegaconf import OmegaConf
    from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

    config = OmegaConf.structured(command_keys(config_name))
    if _is_below_a_value(config_name, key):
        return [f"{key}={value}: unknown key; {key.rpartition('.')[0]} takes a value and has no keys of its own"]
    try:
        OmegaConf.update(config, key, value, force_add=False)
    except (ConfigKeyError, ConfigAttributeError):
        return [f"{key}={value}: unknown key; {_near_keys(config_name, key)}"]
    except (OmegaConfBaseException, OverflowError) as error:
        default = OmegaConf.select(config, key)
        shown = f"; the default is {default}" if default not in (None, "") else ""
        return [f"{key}={_as_given(value)}: {first_line(error)}{shown}"]
    return []


def _as_given(value: object) -> str:
    """Return a value as a user writes it."""
    words = {None: "null", True: "true", False: "false"}
    return words[value] if value is None or isinstance(value, bool) else str(value)


def _is_below_a_value(config_name: str, key: str) -> bool:
    """Whether the key is `a.b` where `a` is a key that takes a value, such as a number or a text."""
    known: Any = command_keys(config_name)
    for part in key.split(".")[:-1]:
        if not dataclasses.is_dataclass(known):
            return False
        hints = typing.get_type_hints(known)
        if part not in hints:
            return False
        known = hints[part]
    return not dataclasses.is_dataclass(known) and typing.get_origin(known) is not dict


def _near_keys(config_name: str, key: str) -> str:
    """Return the nearest key, and the keys of the same section (or the sections and groups)."""
    known = list(keys(command_keys(config_name)))
    section = key.rpartition(".")[0]
    siblings = [name for name in known if section and name.rpartition(".")[0] == section]
    if not siblings:
        first_parts = {name.split(".")[0] for name in known}
        siblings = sorted(first_parts.union(groups(config_name)))
    close = difflib.get_close_matches(key, [*known, *groups(config_name)], n=1, cutoff=0.6)
    return (f"did you mean {close[0]}? " if close else "") + f"accepted: {', '.join(siblings)}"
