"""The order of the stages of one run, the one file that knows it (`dry_run.py` walks it for what it would cost)."""

from __future__ import annotations

from pathlib import Path

from gelora_cli.allocation.formatting import format_plan
from gelora_cli.core import run_files
from gelora_cli.core.artifacts.manifest import RunManifest
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.budget import parse_budget
from gelora_cli.core.codec import read_artifact, write_artifact
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.logs import LOGGER
from gelora_cli.core.memory import translate_oom
from gelora_cli.launchers.signals import handle_signals
from gelora_cli.pipeline.attach_stage import attach_method
from gelora_cli.pipeline.costs import run_costs
from gelora_cli.pipeline.inputs import ResolvedInputs, needed_signals
from gelora_cli.pipeline.linking import find_equal_run
from gelora_cli.pipeline.locations import run_fingerprints
from gelora_cli.pipeline.plan_stage import make_plan
from gelora_cli.pipeline.reload_check import save_and_reload
from gelora_cli.pipeline.result import make_result, write_result
from gelora_cli.pipeline.session import close_session, open_session
from gelora_cli.pipeline.signal_stage import MeasuredSignals, shared_signals
from gelora_cli.pipeline.stored_start import start_differences
from gelora_cli.pipeline.train_stage import train_stage
from gelora_cli.plots.base import RunData, write_run_pictures
from gelora_cli.trackers.opening import open_trackers


def work_run(directory: Path, inputs: ResolvedInputs) -> None:
    """Do all stages of a run, in every process of it; the main one writes."""
    with handle_signals() as stop, translate_oom():
        session = open_session(inputs, directory / run_files.LOG)
        is_main = session.accelerator.is_main_process
        LOGGER.info("head: %s", session.loaded.head_origin)
        LOGGER.info("run directory: %s", directory)
        with session.timed("profile"):
            if needed_signals(inputs.config) and parse_budget(inputs.config.budget).name != "auto":
                make_plan(session, {}, assume_even=True)  # refuses an impossible budget before minutes of measuring
            # Of the model as it was loaded, so before a method is attached.
            signals = shared_signals(session, needed_signals(inputs.config))
        plan = make_plan(session, signals.artifacts)
        _check_unchanged(directory, inputs)
        if session.compute_once(lambda: _has_equal_run(inputs, plan)):
            if is_main:
                _write_plan(directory, signals, plan)
            session.accelerator.wait_for_everyone()
            close_session(session, directory)
            return  # without a result: the command links it to that run
        train = session.train_split()
        session.start_differences = session.compute_once(lambda: start_differences(session, train))
        attached = attach_method(session, plan, train)
        if is_main:
            _write_plan(directory, signals, attached.plan)  # as attached: a method may change its plan
        tracker_settings = {name: inputs.config.tracker[name] for name in inputs.config.trackers}
        with open_trackers(directory, tracker_settings, is_main_process=is_main) as trackers:
            with session.timed("train"):
                trained, predictions = train_stage(session, attached, train, directory, trackers, stop)
            if is_main:  # after the training, whose first step would wait for the library that draws
                drawn = RunData(profile=signals.profile, signals=signals.artifacts, plan=attached.plan)
                write_run_pictures(directory, drawn)
            check = save_and_reload(session, attached, directory)
            if is_main:
                # Only after the reload check: a result.json belongs to an adapter that can be loaded again.
                costs = run_costs(
                    session,
                    attached.plan,
                    train,
                    trained,
                    signal_flops=signals.operations,
                    attach_flops=attached.attach_operations,
                )
                result = make_result(session, attached.plan, signals, trained, check, costs)
                write_result(directory, session, result, attached.plan, predictions)
        session.accelerator.wait_for_everyone()
        close_session(session, directory)


def _check_unchanged(directory: Path, inputs: ResolvedInputs) -> None:
    """Check that this process has read what the run is named by: model, rows, plug-ins, and files that give ranks.

    The command reads them for the name of the directory. A process of its own reads all of them again, and every
    process reads files of ranks again for its plan.

    Raises:
        GeloraError: something was changed in between.
    """
    before = read_artifact(RunManifest, directory / RunManifest.FILE).fingerprints
    now = run_fingerprints(inputs)
    changed = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    if changed:
        names = ", ".join(changed)
        raise GeloraError(
            f"changed since this run began: {names} (model, rows, plug-ins, or the file of ranks that method.path or "
            "ranks.path names). Give the same command again"
        )


def _has_equal_run(inputs: ResolvedInputs, plan: RankPlan) -> bool:
    """Return whether a finished run has this plan and all other settings, so that nothing has to be trained."""
    return not inputs.config.force and find_equal_run(inputs, run_fingerprints(inputs), plan) is not None


def _write_plan(directory: Path, signals: MeasuredSignals, plan: RankPlan) -> None:
    """Write the signals and the plan as it was attached."""
    for artifact in signals.artifacts.values():
        write_artifact(artifact, directory)
    write_artifact(plan, directory)
    lines = format_plan(plan).splitlines()
    table_length = len(plan.blocks) + 1 if plan.blocks else 0  # a header, and a line for each block
    if table_length:
        LOGGER.info("ranks: what each block gets\n%s", "\n".join(lines[:table_length]))
    for line in lines[table_length:]:
        LOGGER.info("%s", line)
