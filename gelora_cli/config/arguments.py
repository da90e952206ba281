"""The arguments of a command: Hydra's flags, told apart from overrides and paths."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gelora_cli.core.errors import GeloraError
from gelora_cli.core.files import expand_home
from gelora_cli.core.messages import suggest

FLAGS: dict[str, tuple[str, ...] | None] = {
    "--cfg": ("job", "hydra", "all"),
    "--resolve": None,
    "--package": (),
    "--multirun": None,
    "--config-dir": (),
}
"""Hydra's flags that are accepted -> the values of one that takes any: () is any value; None takes no value."""
SHORT_FLAGS = {"-c": "--cfg", "-p": "--package", "-m": "--multirun", "-cd": "--config-dir"}


@dataclass(frozen=True)
class Arguments:
    """A command's arguments: Hydra's flags in their long form with their values, and everything else in its order."""

    flags: list[str]
    words: list[str]

    @property
    def multirun(self) -> bool:
        """Return whether `-m` asks for a sweep."""
        return "--multirun" in self.flags

    @property
    def shows_config(self) -> bool:
        """Return whether `--cfg` asks for the configuration of one job."""
        return "--cfg" in self.flags

    @property
    def config_dir(self) -> Path | None:
        """Return the folder of the user's own groups."""
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
