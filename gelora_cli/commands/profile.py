"""`gelora profile`: what is measured before a plan is made, such as the intrinsic dimension of every layer."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gelora_cli.commands.base import ExtendedRunConfig, RunCommand, check_values, is_sweep, relative
from gelora_cli.commands.terminal import next_commands, wrapped
from gelora_cli.config.keys import key
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import COMMANDS, SIGNALS

if TYPE_CHECKING:
    from gelora_cli.core.artifacts.profile import IdProfile
    from gelora_cli.launchers.job import Outcome
    from gelora_cli.pipeline.signal_stage import MeasuredSignals

BUDGET = "budget=0.1M"
"""The budget of the commands that are suggested."""


@dataclass
class ProfileCommandConfig(ExtendedRunConfig):
    """The keys of a run, and what is measured."""

    signals: list[str] = key(
        ["idim"], help="what to measure; methods read these signals", choices=SIGNALS.names, identity=False, common=True
    )


@COMMANDS.register
class Profile(RunCommand[ProfileCommandConfig]):
    """Measure signals, which runs share."""

    name = "profile"
    summary = "measure the intrinsic dimension of every layer, or other signals"
    examples = """  gelora profile task=sst2 model=minilm data.glue=DIR
  gelora profile task=text data.text=lines.txt model.path=DIR     # a text a line, no labels
  gelora profile task=sst2 model=minilm data.glue=DIR signals=idim,gradients,weights"""
    keys = ProfileCommandConfig
    shown_keys = tuple(f"profile.{name}" for name in ("pooling", "estimator", "scales", "control", "max_examples"))
    refused_keys = ("dry_run",)
    launchable = True
    sweepable = True

    def measured_signals(self, config: ProfileCommandConfig) -> tuple[str, ...]:
        """Return the signals, each once."""
        return tuple(dict.fromkeys(config.signals))

    def next_after_sweep(self, directories: Sequence[Path]) -> str:
        """Return the command that plans from each of several profiles, side by side."""
        from gelora_cli.core.artifacts.profile import IdProfile

        files = [relative(path) / IdProfile.FILE for path in dict.fromkeys(directories)]
        profiles = [path for path in files if path.exists()]
        if len(profiles) < 2:
            return ""
        return next_commands(f"gelora ranks {shlex.join(map(str, profiles))} choices=true {BUDGET}")

    def handle(self, config: ProfileCommandConfig, paths: list[Path], typed: str) -> Outcome:
        """Measure, and print a row for each layer, and a line for each of several signals."""
        from gelora_cli.allocation.base import IDIM
        from gelora_cli.core.logs import LOGGER, setup_logging
        from gelora_cli.launchers.job import Outcome
        from gelora_cli.pipeline.control_profiles import compare_controls
        from gelora_cli.pipeline.signal_stage import measure_signals

        if config.dry_run:
            raise GeloraError(
                "dry_run=true: gelora profile has no dry run; gelora run dry_run=true also estimates the profile"
            )
        check_values(config)
        if not config.signals:
            raise GeloraError(f"signals=[] names no signal; accepted: {', '.join(SIGNALS.names())}")
        if config.profile.control is not None and IDIM not in config.signals:
            raise GeloraError(
                f"profile.control={config.profile.control}: of the signals only {IDIM} has a control, and signals="
                f"[{','.join(config.signals)}] leaves it out; give signals=[{IDIM}], or leave profile.control out"
            )
        setup_logging()
        if config.profile.control is not None and len(set(config.signals)) > 1:
            LOGGER.warning(
                "profile.control=%s controls %s alone; the other signals are the real ones",
                config.profile.control,
                IDIM,
            )
        _hint_at_signals(config)
        directory, measured = measure_signals(config.run_config, self.measured_signals(config))
        picture = None
        if measured.profile is not None:
            picture = compare_controls(measured.config, measured.profile)
            _print_profile(measured.profile)
        _print_files(relative(directory), measured)
        if picture is not None:
            print(f"the profile beside its controls: {relative(picture)}")
        if not is_sweep(typed):
            print(next_commands(*_next(relative(directory), measured, config, typed)))
        return Outcome(0, str(directory))


def _print_profile(profile: IdProfile) -> None:
    """Print a row for each layer."""
    from gelora_cli.commands.profile_table import profile_table

    print(profile_table(profile))
    print(wrapped("idim: intrinsic dimension after each layer; N/2, N/4: of a half and a quarter of the examples"))


def _print_files(directory: Path, measured: MeasuredSignals) -> None:
    """Print where each signal is, and how long it took."""
    profile = measured.profile
    if profile is not None and len(measured.artifacts) == 1:
        print(f"{profile.examples_used} examples, {profile.seconds:.1f} s: {directory / profile.FILE}")
        return
    for name, artifact in measured.artifacts.items():
        path = directory / artifact.FILE
        kilobytes = path.stat().st_size / 1000
        print(f"{SIGNALS.get(name).title}: {artifact.seconds:.1f} s, {kilobytes:,.1f} kB: {path}")


def _hint_at_signals(config: ProfileCommandConfig) -> None:
    """Say which other signals the method reads, where the default is measured alone."""
    from gelora_cli.allocation.base import IDIM
    from gelora_cli.core.logs import LOGGER
    from gelora_cli.pipeline.inputs import needed_signals

    read = needed_signals(config)  # of budget=auto IDIM, too
    missing = ",".join(name for name in read if name != IDIM)
    if missing and config.signals == [IDIM]:
        LOGGER.warning(
            "method=%s reads %s, which is not measured: give signals=%s", config.method.name, missing, ",".join(read)
        )


def _next(directory: Path, measured: MeasuredSignals, config: ProfileCommandConfig, typed: str) -> list[str]:
    """Return the commands that plan from what was measured, and the one that measures the scales if they lack."""
    profile = measured.profile
    if profile is None or len(measured.artifacts) > 1:
        plugins = "" if config.plugins is None else f" plugins={shlex.quote(config.plugins)}"
        return [f"gelora ranks {shlex.quote(str(directory))} allocators=all {BUDGET}{plugins}"]
    path = shlex.quote(str(directory / profile.FILE))
    commands = [f"gelora ranks {path} {BUDGET}", f"gelora ranks {path} choices=true {BUDGET}"]
    if not any(layer.scales for layer in profile.layers):
        commands.append(f"{typed} profile.scales=true")
    return commands
