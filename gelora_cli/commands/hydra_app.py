"""Hydra behind the commands: it composes the overrides that `override_checks.py` has checked."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

from gelora_cli.config.composing import METHOD_DEFAULTS, METHOD_KEYS, composable, method_node
from gelora_cli.config.literal_text import protect_text, restore_text
from gelora_cli.config.schema import MethodConfig, TrackerConfig, command_keys, optional_trackers, takes_run_keys
from gelora_cli.config.shipped import config_dir
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import COMMANDS, METHODS

LONGEST_REASON = 300
"""Characters that are shown of why Hydra refuses a configuration."""

SHOWS_CONFIG = ("--cfg", "-c", "--info", "-i")
"""Flags with which Hydra prints a configuration and runs nothing."""

_stored: dict[str, object] = {}
"""Each node that Hydra was given to the classes that it was made of: making all of them takes a tenth of a second."""


def hydra_name(schema: str) -> str:
    """Return the name under which Hydra composes a configuration: `run` for every command with the keys of a run."""
    return "run" if takes_run_keys(schema) else schema


def register_schemas(schema: str = "run") -> None:
    """Give Hydra the typed configuration of a command.

    `configs/run.yaml` names the groups of a run. A command with other keys has no such file: what it would say is
    stored here.

    Args:
        schema: the command that is composed. A command with more keys than those of a run is composed from `run.yaml`
            as well, so that the schema of a run is the command's own.
    """
    _store_schema(hydra_name(schema), command_keys(schema))
    if not takes_run_keys(schema):
        command = COMMANDS.get(schema)
        groups = [{group: option} for group, option in command.groups.items()]
        if "method" in command.groups:
            groups.insert(0, METHOD_DEFAULTS)
        defaults = [f"{schema}_schema", *groups, "_self_", "/hydra_quiet"]
        _store(schema, command_keys(schema), lambda: {"defaults": defaults})
        if "method" not in command.groups:  # the keys of all methods take a quarter of such a command's start
            return
    for name in METHODS.names():
        settings: type = MethodConfig.class_of(name)
        _store(f"{METHOD_KEYS}/{name}", settings, functools.partial(method_node, name, settings))


def _store_schema(name: str, keys: type) -> None:
    """Store the keys of a command, with those of the trackers that there are."""
    trackers = [(tracker, TrackerConfig.class_of(tracker)) for tracker in optional_trackers()]
    _store(f"{name}_schema", (keys, trackers), lambda: composable(keys))


def _store(path: str, source: object, build: Callable[[], Any]) -> None:
    """Store a node under `NAME` or `GROUP/NAME`, unless one that was made of the same classes is there."""
    from hydra.core.config_store import ConfigStore

    if _stored.get(path) == source:
        return
    group, _, name = path.rpartition("/")
    ConfigStore.instance().store(group=group or None, name=name, node=build())
    _stored[path] = source


def compose_each(
    schema: str, flags: list[str], overrides: list[str], job: Callable[[Any], None], *, elsewhere: bool = False
) -> None:
    """Let Hydra compose, and call `job` with each configuration; `elsewhere` is in processes that Hydra starts.

    Raises:
        GeloraError: what Hydra refuses.
        Exception: what a job raised first, as it was.
    """
    from hydra.errors import HydraException

    failures: list[BaseException] = []

    def guarded(config: Any) -> None:
        try:
            job(config)
        except BaseException as error:  # Hydra would print it and end the process
            failures.append(error)

    try:
        with _environment(HYDRA_FULL_ERROR="1"):  # its errors come here instead of to the terminal
            call_hydra(schema, flags, overrides, job if elsewhere else guarded)
    except Exception as error:
        of_hydra = isinstance(error, HydraException)  # some of them are OSErrors, too
        if "debug=true" in overrides or isinstance(error, ImportError) or (isinstance(error, OSError) and not of_hydra):
            raise
        reasons = " ".join(str(error).split()) or type(error).__name__
        if str(error.__cause__).startswith("Cannot merge"):
            reasons += ": a list can't replace a mapping that a file gives, nor the reverse; give it in the file's form"
        excerpt = reasons if len(reasons) <= LONGEST_REASON else f"{reasons[:LONGEST_REASON]}..."
        raise GeloraError(f"the configuration can't be composed: {excerpt}") from error
    if failures:
        raise failures[0]


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Set environment variables, and afterwards restore all (`unittest.mock` can do so, but imports asyncio)."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextlib.contextmanager
def _without_mode(hydra: Any) -> Iterator[None]:
    """Keep Hydra from composing everything once more to ask whether it sweeps, which the flags say."""
    before = hydra.get_mode
    hydra.get_mode = lambda *_, **__: None
    try:
        yield
    finally:
        hydra.get_mode = before


def call_hydra(schema: str, flags: list[str], overrides: list[str], job: Callable[[Any], None]) -> None:
    """Call Hydra's own entry point with our arguments in place of the process's."""
    import hydra
    from hydra._internal.hydra import Hydra

    register_schemas(schema)
    before = sys.argv  # Hydra reads its arguments from there, and offers no other way to get completion and flags
    sys.argv = ["gelora", *map(protect_text, overrides), *flags]
    shows_config = any(flag.partition("=")[0] in SHOWS_CONFIG for flag in flags)
    printed = io.StringIO()  # what Hydra prints has protected text in it, which is restored before a user sees it
    try:
        with contextlib.redirect_stdout(printed) if shows_config else contextlib.nullcontext(), _without_mode(Hydra):
            hydra.main(version_base="1.3", config_path=str(config_dir()), config_name=hydra_name(schema))(job)()
    finally:
        sys.argv = before
        print(restore_text(printed.getvalue()), end="")
