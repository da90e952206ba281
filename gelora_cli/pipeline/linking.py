"""A run whose plan is that of a finished run is not trained again: it takes over that run's files, and says so."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from glob import escape
from pathlib import Path
from typing import Any, cast

from gelora_cli.allocation.base import IDIM, SignalArtifact, total_operations
from gelora_cli.allocation.planning import plan_method
from gelora_cli.allocation.ranks import planned_methods
from gelora_cli.config.files import read_config
from gelora_cli.config.identity import identity_values
from gelora_cli.config.presets import plan_settings
from gelora_cli.config.schema import RunConfig
from gelora_cli.core import run_files
from gelora_cli.core.artifacts.manifest import RunManifest
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.artifacts.profile import IdProfile
from gelora_cli.core.artifacts.result import RunResult
from gelora_cli.core.budget import parse_budget
from gelora_cli.core.codec import read_artifact, write_artifact
from gelora_cli.core.done import is_done, read_checksums, verify_checksums
from gelora_cli.core.errors import GeloraError, StoppedError
from gelora_cli.core.files import translate_write_errors, write_atomic
from gelora_cli.core.logs import LOGGER
from gelora_cli.core.registries import METHODS, RUN_PICTURES, SIGNALS
from gelora_cli.pipeline.inputs import ResolvedInputs, needed_signals
from gelora_cli.pipeline.locations import load_valid_signal, run_directory, signal_directory
from gelora_cli.plots.base import RunData, write_run_pictures
from gelora_cli.signals.base import Signal
from gelora_cli.trackers.json_lines import read_metric_lines

REWRITTEN = (
    run_files.CONFIG,
    RunManifest.FILE,
    RankPlan.FILE,
    RunResult.FILE,
    run_files.CARD,
    "ranks.png",
    run_files.CURVE,
    run_files.TRACK,
)
"""What a linked run has of its own; every other file is the trained run's."""


@dataclass(frozen=True)
class EqualRun:
    """A finished run that a run can be linked to: where it is, and the plan of the run that would be linked."""

    directory: Path
    plan: RankPlan


def find_equal_run(
    inputs: ResolvedInputs, fingerprints: dict[str, str], plan: RankPlan | None = None
) -> EqualRun | None:
    """Return a finished run that has this run's ranks and was trained with all its other settings.

    Its ranks may come from another method, signal or rule: what is trained depends on the ranks alone. None where there
    is no such run, and for a method whose ranks no allocator plans.

    Args:
        inputs: of this run.
        fingerprints: what belongs to its identity beside its settings.
        plan: its plan, where that is made; else it is made from saved signals. None is found where one is not measured.
    """
    config = inputs.config
    if config.method.name not in planned_methods() or config.ranks.path is not None:
        return None
    training = _training_values(replace(config, precision=inputs.precision), fingerprints)
    for directory in _candidates(run_directory(inputs, fingerprints), config.method.name):
        try:
            trained = _trained_plan(directory, config, training)
            own_plan = plan
            if trained is not None and own_plan is None:
                own_plan = _plan(inputs, fingerprints, directory, trained)
            if trained is None or own_plan is None:
                continue
            if _trained_values(own_plan) == _trained_values(trained):
                verify_checksums(directory)
                return EqualRun(directory, own_plan)
        except StoppedError:
            raise
        except GeloraError as error:  # a damaged run is no reason to stop this one, which is trained instead
            LOGGER.warning("not linked to %s: %s", directory, error)
    return None


def _trained_values(plan: RankPlan) -> tuple[dict[str, int], dict[str, float], str]:
    """Return what training takes of a plan, beside settings that are compared by themselves."""
    return plan.rank_pattern, plan.scaling_pattern, plan.variant


def _candidates(own_directory: Path, method: str) -> list[Path]:
    """Return the finished runs of planned methods on the same task and model, of the same budget and seed.

    Those of the method itself come last, in the order of the registry before that.
    """
    label, _, _ = own_directory.name.rpartition("-")  # b0.05M-s0 of b0.05M-s0-1a2b3c4d
    model_directory = own_directory.parent.parent
    names = sorted(planned_methods(), key=lambda name: name == method)
    found: list[Path] = []
    for name in names:
        found += sorted((model_directory / name).glob(f"{escape(label)}-????????"))
    return [path for path in found if path != own_directory and is_done(path)]


def _trained_plan(directory: Path, config: RunConfig, training: dict[str, Any]) -> RankPlan | None:
    """Return the plan of a finished run if it was itself trained as this configuration would be; else None."""
    # No links to links: each names the run that was trained, and none goes stale with another link.
    manifest = read_artifact(RunManifest, directory / RunManifest.FILE)
    other = read_config(directory / run_files.CONFIG)
    if manifest.same_as is not None or other.ranks.path is not None or not _is_same_update(config, other):
        return None
    if _training_values(other, manifest.fingerprints) != training:
        return None
    return read_artifact(RankPlan, directory / RankPlan.FILE)


def _is_same_update(config: RunConfig, other: RunConfig) -> bool:
    """Return whether the methods of two configurations attach the same, given equal ranks and settings."""
    # A plug-in's method may plan ranks and do something else with them.
    methods = [METHODS.get(name) for name in (config.method.name, other.method.name) if name in METHODS]
    return len({type(method).attach for method in methods}) == 1 and len(methods) == 2


def _training_values(config: RunConfig, fingerprints: Mapping[str, str]) -> dict[str, Any]:
    """Return what can change a number of a run once its ranks are given."""
    values = identity_values(config)
    ignored = {"name", *config.method.rank_keys}
    method = {key: value for key, value in values.get("method", {}).items() if key not in ignored}
    content = {name: value for name, value in fingerprints.items() if name not in config.method.content_names}
    rest = {name: value for name, value in values.items() if name not in ("method", "ranks", "profile")}
    return rest | {"method": method, "fingerprints": content}


def saved_signals(
    inputs: ResolvedInputs, fingerprints: Mapping[str, str], directory: Path
) -> dict[str, SignalArtifact] | None:
    """Return the signals that the plan needs, where all are measured: shared ones, or those of a finished run."""
    signals: dict[str, SignalArtifact] = {}
    for name in needed_signals(inputs.config):
        signal = SIGNALS.get(name)
        artifact = load_valid_signal(signal, signal_directory(signal, inputs, fingerprints))
        if artifact is None and _has_same_inputs(signal, inputs, fingerprints, directory):
            artifact = load_valid_signal(signal, directory)
        if artifact is None:
            return None
        signals[name] = artifact
    return signals


def _has_same_inputs(
    signal: Signal[Any], inputs: ResolvedInputs, fingerprints: Mapping[str, str], directory: Path
) -> bool:
    """Return whether a finished run would have measured the same of a signal."""
    other = read_config(directory / run_files.CONFIG)
    manifest = read_artifact(RunManifest, directory / RunManifest.FILE)
    hashes = signal.sharing_hash(inputs.config, fingerprints), signal.sharing_hash(other, manifest.fingerprints)
    return hashes[0] == hashes[1]


def _plan(
    inputs: ResolvedInputs, fingerprints: Mapping[str, str], directory: Path, trained: RankPlan
) -> RankPlan | None:
    """Return the plan of this run from saved signals; None where there is none."""
    signals = saved_signals(inputs, fingerprints, directory)
    if not signals:
        return None
    model_map = next(iter(signals.values())).model_map
    budget = parse_budget(inputs.config.budget)
    try:
        plan = plan_method(model_map, signals, budget, **plan_settings(inputs.config))
    except GeloraError:  # the run itself says what is wrong with its plan, such as ranks.when_unstable=error
        return None
    return replace(plan, head_params=trained.head_params)


def link_run(equal: EqualRun, directory: Path, inputs: ResolvedInputs, fingerprints: Mapping[str, str]) -> None:
    """Give a run directory the files of the run that was trained, with this run's method in its plan and result.

    `run.json` names that run, by its path from here, and has its device, versions and seconds. Signals and their
    pictures are those that this run's plan reads. The pictures of the training are drawn again, since their titles
    name the method.
    """
    trained, plan, method = equal.directory, equal.plan, inputs.config.method.name
    signals = saved_signals(inputs, fingerprints, trained) or {}
    own_files = {*REWRITTEN} if _holds_signals(trained, signals) else {*REWRITTEN, *_signal_files(trained)}
    names = [name for name in read_checksums(trained) if name not in own_files]
    with translate_write_errors(directory):
        for name in names:
            (directory / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(trained / name, directory / name)  # copies: either run can be deleted without the other
    for artifact in signals.values():
        write_artifact(artifact, directory)
    write_artifact(plan, directory)
    profile = cast("IdProfile | None", signals.get(IDIM))
    write_run_pictures(directory, RunData(profile=profile, signals=signals, plan=plan))
    result = read_artifact(RunResult, trained / RunResult.FILE)
    trained_method = result.method
    seconds = sum((artifact.seconds for artifact in signals.values()), 0.0)
    costs = result.costs and replace(result.costs, signal_flops=total_operations(signals.values()))
    result = replace(result, method=method, profile_reused=True, profile_seconds=seconds, costs=costs)
    write_artifact(result, directory)
    metrics = read_metric_lines(directory / run_files.METRICS)
    write_run_pictures(directory, RunData(plan=plan, result=result, metrics=metrics), after_training=True)
    same_as = os.path.relpath(trained, directory)
    write_atomic(directory / run_files.CARD, _linked_card(trained, method, trained_method, same_as))
    manifest = read_artifact(RunManifest, directory / RunManifest.FILE)
    trained_manifest = read_artifact(RunManifest, trained / RunManifest.FILE)
    # Device, versions and seconds explain the numbers, so they stay those of the run that was trained.
    about_linking = {key: getattr(manifest, key) for key in ("status", "command", "created", "updated", "pid", "host")}
    about_linking["fingerprints"] = manifest.fingerprints  # a file of ranks may be another one
    write_artifact(replace(trained_manifest, **about_linking, same_as=same_as), directory)


def _holds_signals(directory: Path, signals: Mapping[str, SignalArtifact]) -> bool:
    """Return whether the signals in the directory of a finished run are exactly these."""
    files = {SIGNALS.get(name).artifact.FILE for name in signals}
    if files != {name for name in _signal_files(directory) if name.endswith(".json")}:
        return False
    return all(read_artifact(type(artifact), directory / artifact.FILE) == artifact for artifact in signals.values())


def _signal_files(directory: Path) -> set[str]:
    """Return the files of signals in a run directory, and the pictures that are drawn before training."""
    files = {path.name for path in directory.glob(run_files.SIGNAL_FILES)}
    profile = {IdProfile.FILE} if (directory / IdProfile.FILE).exists() else set()
    early = [name for name in RUN_PICTURES.names() if not RUN_PICTURES.get(name).after_training]
    return files | profile | {f"{name}.png" for name in early}


def _linked_card(trained: Path, method: str, trained_method: str, same_as: str) -> str:
    """Return the trained run's card with a first paragraph that says whose it is."""
    paragraph = (
        f"This run of method={method} was not trained: its ranks are those of method={trained_method} with the same "
        f"settings, so it is the same run as `{same_as}`, whose files and card these are."
    )
    path = trained / run_files.CARD
    text = path.read_text(encoding="utf-8") if path.exists() else ""  # a card may be deleted: DONE allows it
    before_title, marker, rest = text.partition("\n# ")
    if not marker:
        return f"{paragraph}\n"
    title, newline, body = rest.partition("\n")
    return f"{before_title}{marker}{title}{newline}\n{paragraph}\n{body}"
