"""A run whose plan is that of a finished run is not trained again: it takes over that run's files, and says so."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

from gelora_cli.allocation.planning import plan_method
from gelora_cli.allocation.ranks import planned_methods
from gelora_cli.config.presets import plan_settings
from gelora_cli.config.schema import MethodConfig, RunConfig
from gelora_cli.core import run_files
from gelora_cli.core.artifacts.manifest import RunManifest
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.artifacts.result import RunResult
from gelora_cli.core.budget import parse_budget
from gelora_cli.core.codec import read_artifact, write_artifact
from gelora_cli.core.done import is_done, read_checksums, verify_checksums
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.files import translate_write_errors, write_atomic
from gelora_cli.core.logs import LOGGER
from gelora_cli.pipeline.inputs import ResolvedInputs, needed_signals, run_directory
from gelora_cli.plots.base import RunData, write_run_pictures
from gelora_cli.signals.saved import read_signals

REWRITTEN = (run_files.CONFIG, RunManifest.FILE, RankPlan.FILE, RunResult.FILE, run_files.CARD, "ranks.png")
"""What a linked run has of its own; every other file is the trained run's."""


def find_equal_run(inputs: ResolvedInputs, fingerprints: dict[str, str]) -> Path | None:
    """Return the finished run of GeLoRA or a control with this run's ranks and all its settings but the method's name.

    Both must read the same signals, which the finished run's directory holds. None where there is no such run, and for
    a method whose ranks come from no signal.
    """
    config = inputs.config
    planned = planned_methods()
    signals = needed_signals(config)
    if config.method.name not in planned or not signals:
        return None
    for method in planned:
        if MethodConfig.class_of(method) is not MethodConfig.class_of(config.method.name):
            continue  # a method with settings of its own is another update
        other = replace(config, method=config.method.for_entry(method))
        if needed_signals(other) != signals:
            continue
        directory = run_directory(replace(inputs, config=other), fingerprints)
        if method != config.method.name and is_done(directory) and _has_plan_of(config, directory):
            return directory
    return None


def _has_plan_of(config: RunConfig, directory: Path) -> bool:
    """Return whether a finished run was itself trained, is intact, and has the ranks that this configuration plans."""
    try:
        # No links to links: each names the run that was trained, and none goes stale with another link.
        if read_artifact(RunManifest, directory / RunManifest.FILE).same_as is not None:
            return False
        verify_checksums(directory)
        plan, trained = _plan(config, directory), read_artifact(RankPlan, directory / RankPlan.FILE)
    except GeloraError as error:  # a damaged run is no reason to stop this one, which is trained instead
        LOGGER.warning("not linked to %s: %s", directory, error)
        return False
    # What is trained depends on these two alone: the remaining settings are equal by the name of the directory.
    return (plan.rank_pattern, plan.scaling) == (trained.rank_pattern, trained.scaling)


def _plan(config: RunConfig, directory: Path) -> RankPlan:
    """Return the plan of this configuration from the signals of a finished run."""
    signals = read_signals(needed_signals(config), directory)
    model_map = next(iter(signals.values())).model_map
    trained = read_artifact(RankPlan, directory / RankPlan.FILE)
    plan = plan_method(model_map, signals, parse_budget(config.budget), **plan_settings(config))
    return replace(plan, head_params=trained.head_params)


def link_run(trained: Path, directory: Path, config: RunConfig) -> None:
    """Give a run directory the files of the run that was trained, with this run's method in its plan and result.

    `run.json` names that run, by its path from here, and has its device, versions and seconds.
    """
    names = [name for name in read_checksums(trained) if name not in REWRITTEN]
    with translate_write_errors(directory):
        for name in names:
            (directory / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(trained / name, directory / name)  # copies: either run can be deleted without the other
    plan = _plan(config, trained)
    write_artifact(plan, directory)
    write_run_pictures(directory, RunData(plan=plan))
    result = read_artifact(RunResult, trained / RunResult.FILE)
    write_artifact(replace(result, method=config.method.name, profile_reused=True), directory)
    same_as = os.path.relpath(trained, directory)
    write_atomic(directory / run_files.CARD, _linked_card(trained, config.method.name, result.method, same_as))
    manifest = read_artifact(RunManifest, directory / RunManifest.FILE)
    trained_manifest = read_artifact(RunManifest, trained / RunManifest.FILE)
    # Device, versions and seconds explain the numbers, so they stay those of the run that was trained.
    about_linking = {key: getattr(manifest, key) for key in ("status", "command", "created", "updated", "pid", "host")}
    write_artifact(replace(trained_manifest, **about_linking, same_as=same_as), directory)


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
