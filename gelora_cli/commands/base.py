"""What a command is: a class per command with its help, its path arguments and what it does; and what they share."""

from __future__ import annotations

import shlex
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from gelora_cli.config.schema import RunConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import COMMANDS

if TYPE_CHECKING:
    from gelora_cli.launchers.job import Outcome

Config = TypeVar("Config")


@dataclass(frozen=True)
class Positional:
    """The path arguments of a command: how its help calls one, whether one is needed, and whether many are accepted."""

    label: str
    required: bool = True
    many: bool = False

    def __str__(self) -> str:
        return f"{self.label}..." if self.many else self.label


class Command(ABC, Generic[Config]):
    """One command, of the configuration `Config`.

    A file of a command is imported for `gelora --help`, too. So it imports at the top only what is light; `handle`
    imports what the command needs.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    """One line for `gelora --help`."""
    examples: ClassVar[str]
    """Lines that the help shows. Each can be pasted into bash and zsh."""

    keys: ClassVar[type]
    """The dataclass that declares its keys: one in the command's own file, or `RunConfig`."""
    groups: ClassVar[Mapping[str, str]] = {}
    """Each configuration group of a command with keys of its own, with the option that it has by default."""
    positional: ClassVar[Positional | None] = None
    shown_keys: ClassVar[tuple[str, ...]] = ()
    """Keys that its `--help` shows beside those that are common to all commands."""
    refused_keys: ClassVar[tuple[str, ...]] = ()
    """Keys of a run that it refuses, so that its help leaves them out."""
    flags: ClassVar[Mapping[str, str]] = {}
    """Flags of this command alone, each with the override that it stands for."""
    renamed: ClassVar[Mapping[str, str]] = {}
    """Arguments of the release before this one, each with the argument that it is now; a warning says the new one."""

    launchable: ClassVar[bool] = False
    """Whether an outer launcher (torchrun) may run it on several processes."""
    sweepable: ClassVar[bool] = False
    """Whether `-m` runs it for several values of a key."""
    writes_run: ClassVar[bool] = False
    """Whether it writes the directory of a run, where a launcher that runs it elsewhere reads what came of it."""
    compares: ClassVar[bool] = False
    """Whether it takes several values of a key without `-m`, and does with them what its own `compare` says."""

    @property
    def config_name(self) -> str:
        """Return the command that declares its keys: `run` for every command with the keys of a run and no others."""
        return "run" if self.keys is RunConfig else self.name

    def with_defaults(self, config: Config) -> Config:
        """Return the configuration as the command would complete it, for the defaults that `--help` shows.

        Raises:
            GeloraError: it can't be completed.
        """
        return config

    def measured_signals(self, config: Config) -> tuple[str, ...] | None:
        """Return the signals that the command measures and does nothing else; None where it does more.

        Only what they need of model and data is then checked before a job of a sweep starts.
        """
        return None

    def next_after_sweep(self, directories: Sequence[Path]) -> str:
        """Return what to print after a sweep whose jobs have written these directories; empty where nothing is."""
        return ""

    def compare(self, flags: list[str], overrides: list[str], words: list[str]) -> int:
        """Do the command for every combination of values, and return the exit code; where `compares` is true.

        Args:
            flags: Hydra's flags.
            overrides: the overrides, some with several values.
            words: the command and its arguments, as they were typed.

        Raises:
            GeloraError: what is wrong with any, before the first starts.
        """
        raise NotImplementedError(f"gelora {self.name} compares, and has no compare()")

    @abstractmethod
    def handle(self, config: Config, paths: list[Path], typed: str) -> Outcome | None:
        """Do what the command says, and print what came of it.

        Args:
            config: the composed configuration.
            paths: the path arguments, as many as `positional` accepts.
            typed: the whole command as it was typed, for what is written into a run directory.

        Returns:
            What a sweep shows of a job; nothing where the exit code 0 says all.

        Raises:
            GeloraError: what is wrong, in one message for the user.
        """


@dataclass
class ExtendedRunConfig(RunConfig):
    """The keys of a run, beside which a command declares its own."""

    @property
    def run_config(self) -> RunConfig:
        """Return the keys of a run alone, which are what is frozen and hashed."""
        return RunConfig(**{item.name: getattr(self, item.name) for item in fields(RunConfig)})


RunConfigT = TypeVar("RunConfigT", bound=RunConfig)


class RunCommand(Command[RunConfigT]):
    """A command whose defaults are those of the task and its presets."""

    def with_defaults(self, config: RunConfigT) -> RunConfigT:
        """Return the configuration with the names of its task and the training settings of its preset."""
        from gelora_cli.config.complete import with_task
        from gelora_cli.config.presets import with_presets

        return with_presets(with_task(config))


def check_values(config: Any) -> None:
    """Refuse a configuration with values that no command accepts.

    Raises:
        GeloraError: all that is wrong with them.
    """
    from gelora_cli.config.checks import list_problems, value_problems

    if problems := value_problems(config):
        raise GeloraError(list_problems(problems))


def user_path(text: str) -> Path:
    """Return a path as given, with `~` as the home directory where there is one of that name."""
    from gelora_cli.core.files import expand_home

    return Path(expand_home(text))


def output_directory(text: str | None) -> Path:
    """Return the directory of `output=DIR`.

    Raises:
        GeloraError: none is given.
    """
    if text is None:
        raise GeloraError("output=DIR is needed: the directory to write, empty or not there yet")
    return user_path(text).resolve()


def is_sweep(typed: str) -> bool:
    """Say whether a command, as it was typed, has many runs, so that one of them says nothing about what is next."""
    words = shlex.split(typed)
    name = words[1] if len(words) > 1 else ""  # after `gelora`
    return bool({"-m", "--multirun"} & set(words)) or (name in COMMANDS and COMMANDS.get(name).compares)


def relative(path: Path) -> Path:
    """Return the path from the working directory where it lies below it, else as it is."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
