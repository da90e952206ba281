"""Where a run and its signals are kept, by what they depend on, and whether the signals are there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from gelora_cli.allocation.base import SignalArtifact
from gelora_cli.allocation.ranks import profile_command
from gelora_cli.allocation.saved_plan import read_plan
from gelora_cli.config.identity import identity_hash
from gelora_cli.config.schema import RunConfig
from gelora_cli.core import run_files
from gelora_cli.core.budget import parse_budget
from gelora_cli.core.codec import read_artifact
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.logs import LOGGER
from gelora_cli.core.plugins import plugins_fingerprint
from gelora_cli.core.registries import METHODS, SIGNALS
from gelora_cli.data.splits import sha256_of
from gelora_cli.pipeline.inputs import ResolvedInputs, needed_signals
from gelora_cli.signals.base import Signal

ArtifactT = TypeVar("ArtifactT", bound=SignalArtifact)


def run_fingerprints(inputs: ResolvedInputs) -> dict[str, str]:
    """Return what belongs to a run's identity beside its settings: fingerprints of the model and of the rows.

    A saved plan (`ranks.path`) adds what training uses of it, a file that the method reads what it says, and plug-ins
    the content of their files.
    """
    return with_plan_fingerprints(inputs.config, inputs.fingerprints)


def with_plan_fingerprints(config: RunConfig, inputs: Mapping[str, str]) -> dict[str, str]:
    """Return the fingerprints of model and rows, and those of what else the plan of a run comes from."""
    fingerprints = dict(inputs)
    if config.ranks.path is not None:
        plan = read_plan(config.ranks.path)
        used: list[list[object]] = [[*plan.rank_pattern.items()], [plan.scaling, plan.modules]]
        if any(row.module_scalings for row in plan.blocks):  # plans without them keep their fingerprint
            used.append([*plan.scaling_pattern.values()])
        fingerprints["plan"] = sha256_of(*used)
    else:
        fingerprints |= {name: sha256_of(content) for name, content in config.method.contents().items()}
    if config.plugins is not None:
        fingerprints["plugins"] = plugins_fingerprint(config.plugins)
    return fingerprints


def run_directory(inputs: ResolvedInputs, fingerprints: dict[str, str]) -> Path:
    """Return the directory of a run, named by its budget, or by that of its saved plan."""
    # `auto` would give the same directory on machines that compute in different precisions.
    return directory_of(replace(inputs.config, precision=inputs.precision), fingerprints)


def directory_of(config: RunConfig, fingerprints: dict[str, str]) -> Path:
    """Return the directory of a run whose precision is resolved."""
    return run_files.run_path(
        Path(config.runs_dir),
        task=config.task.name,
        model=config.model.name,
        method=config.method.name,
        budget=budget_name(config),
        seed=config.seed,
        digits=identity_hash(config, fingerprints),
    )


def budget_name(config: RunConfig) -> str | None:
    """Return the canonical budget; None for a method that is exempt from it."""
    return None if METHODS.get(config.method.name).exempt else parse_budget(config.budget).name


def signal_directory(signal: Signal[Any], inputs: ResolvedInputs, fingerprints: Mapping[str, str]) -> Path:
    """Return the directory of a signal, which every run with the same inputs of that signal shares."""
    digits = signal.sharing_hash(inputs.config, fingerprints)
    return run_files.profile_path(Path(inputs.config.runs_dir), digits)


def load_valid_signal(signal: Signal[ArtifactT], directory: Path) -> ArtifactT | None:
    """Return the artifact of a signal in a directory; None where there is none, or a damaged one, which is logged."""
    path = directory / signal.artifact.FILE
    if not path.exists():
        return None
    try:
        return read_artifact(signal.artifact, path)
    except GeloraError as error:
        LOGGER.warning("measured again: %s", error)
        return None


def check_signals(inputs: ResolvedInputs, fingerprints: Mapping[str, str]) -> None:
    """Check that every signal that the plan needs has been measured.

    Raises:
        GeloraError: one has not.
    """
    for name in needed_signals(inputs.config):
        signal = SIGNALS.get(name)
        check_measured(signal, signal_directory(signal, inputs, fingerprints))


def check_measured(signal: Signal[Any], directory: Path) -> None:
    """Check that a directory holds a valid artifact of a signal.

    Raises:
        GeloraError: there is none.
    """
    if load_valid_signal(signal, directory) is not None:
        return
    raise GeloraError(
        f"no saved {signal.title} in {directory}: gelora train measures none. Measure it first: "
        f"{profile_command([signal.name])}; or give ranks.path=RUN, or use gelora run."
    )
