"""One run from its command to DONE: what is there already, the lock, the manifest, the work, the marker.

A run is composed once, frozen in its directory, and worked on by one process in place or by N workers.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

from gelora_cli.archive.reading import find_done
from gelora_cli.config.complete import complete
from gelora_cli.config.files import config_of, write_config
from gelora_cli.config.schema import RunConfig
from gelora_cli.core import run_files
from gelora_cli.core.artifacts.manifest import RunManifest
from gelora_cli.core.artifacts.plan import PlanStability, RankPlan
from gelora_cli.core.artifacts.result import RunResult
from gelora_cli.core.codec import read_artifact
from gelora_cli.core.directories import create_directory
from gelora_cli.core.done import clean_finished_run, clear_run, is_done, mark_done
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.locks import lock_directory
from gelora_cli.core.run_reader import RunDirectory, RunFiles, artifact_of
from gelora_cli.pipeline.baseline import constant_baseline
from gelora_cli.pipeline.dispatch import work_or_launch
from gelora_cli.pipeline.inputs import resolve_inputs
from gelora_cli.pipeline.linking import find_equal_run, link_run
from gelora_cli.pipeline.locations import check_signals, run_directory, run_fingerprints
from gelora_cli.pipeline.manifest import recorded_manifest
from gelora_cli.pipeline.result import with_remedies
from gelora_cli.pipeline.resume import is_resumable
from gelora_cli.pipeline.stages import work_run


@dataclass(frozen=True)
class FinishedRun:
    """A run that is done, with what a command says of it.

    Attributes:
        directory: where it is; of a packed run the archive's path with the run's path in it.
        config: its frozen configuration, with the directory of runs that it was found in.
        result: its values.
        baseline: the value of one prediction for every row; None where the kind of task has none.
        seconds: how long each stage took, by name, in the order of the stages.
        remarks: what a reader must know beside the value.
        stability: whether its plan would be the same with another sample; None where nothing decides it.
        already_done: whether it was done before, so that nothing was done now.
        same_as: the run that was trained in its place; None for a run that was trained itself.
        spent: seconds of the command that linked it; None for a run that was trained itself or was there before.
        is_packed: whether it lies in an archive, without its adapter.
    """

    directory: Path
    config: RunConfig
    result: RunResult
    baseline: float | None
    seconds: dict[str, float]
    remarks: tuple[str, ...] = ()
    stability: PlanStability | None = None
    already_done: bool = False
    same_as: Path | None = None
    spent: float | None = None
    is_packed: bool = False


def run(config: RunConfig, command: str, *, measure: bool = True) -> FinishedRun:
    """Do all stages of one run, or nothing where it is done; with the ranks of a finished run it is linked to that one.

    With `measure` false (`gelora train`) the profile must be there, or a plan given by `ranks.path`.

    Raises:
        GeloraError: anything a user can fix; the run's status then says `failed`.
    """
    started = time.perf_counter()
    inputs = resolve_inputs(complete(config))
    config, fingerprints = inputs.config, run_fingerprints(inputs)
    directory = run_directory(inputs, fingerprints)
    # Before the lock: a finished run is read, also from an archive, or a directory that can't be written to.
    done = None if config.force else find_done(directory, config.archives)
    if done is not None:
        return _done_before(done, config.runs_dir)
    if not measure:
        check_signals(inputs, fingerprints)  # before the directory is made: a refused command leaves nothing behind
    create_directory(directory)
    with lock_directory(directory, "the run directory"):
        if is_done(directory) and not config.force:  # another command has ended it since
            return _done_before(RunDirectory(directory), config.runs_dir)
        trained = None if config.force else find_equal_run(inputs, fingerprints)
        repeats = is_done(directory)  # only with force=true, which drops nothing of an unfinished run
        if trained or repeats or not is_resumable(directory, config):
            clear_run(directory, trackers=repeats)
        # Written only now: `is_resumable` compares with the config.yaml of the previous attempt.
        write_config(replace(config, precision=inputs.precision), directory / run_files.CONFIG)
        frozen = (directory / run_files.CONFIG).read_bytes()
        with recorded_manifest(directory, inputs, fingerprints, command):
            if trained is None:
                work_or_launch(["run", str(directory)], config.launch.processes, lambda: work_run(directory, inputs))
                if not (directory / RunResult.FILE).exists():  # its plan turned out to be that of a finished run
                    plan = read_artifact(RankPlan, directory / RankPlan.FILE)
                    trained = find_equal_run(inputs, fingerprints, plan)
            if trained is not None:
                link_run(trained, directory, inputs, fingerprints)
            check_still_there(directory, frozen)
        mark_done(directory)  # last, after run.json says `done`: it holds the checksums of all files
    finished = _finished(RunDirectory(directory), config.runs_dir)
    return finished if trained is None else replace(finished, spent=time.perf_counter() - started)


def check_still_there(directory: Path, frozen: bytes) -> None:
    """Refuse to call a run done whose files were taken away or whose configuration was changed while it worked.

    `run.json` is looked at by whoever ends it.

    Raises:
        GeloraError: naming the file.
    """
    for name in run_files.REQUIRED_FILES:
        path = directory / name
        if path.is_file() and (name != run_files.CONFIG or path.read_bytes() == frozen):
            continue
        how = "was changed" if path.is_file() else "was removed"
        raise GeloraError(
            f"{path} {how} while the run worked; leave its directory alone and run the same command again"
        )


def _done_before(files: RunFiles, runs_dir: str) -> FinishedRun:
    """Return a run that was finished before, once its files are seen to be intact."""
    files.verify()
    if isinstance(files, RunDirectory):
        clean_finished_run(files.place)
    return _finished(files, runs_dir, already_done=True)


def _finished(files: RunFiles, runs_dir: str, *, already_done: bool = False) -> FinishedRun:
    """Return what a finished run's files say of it; `runs_dir` is where it was found."""
    config = replace(config_of(files), runs_dir=runs_dir)  # a directory of runs may have been moved since
    result, manifest = artifact_of(RunResult, files), artifact_of(RunManifest, files)
    trained = None if manifest.same_as is None else Path(os.path.normpath(files.place / manifest.same_as))
    return FinishedRun(
        directory=files.place,
        config=config,
        result=result,
        baseline=constant_baseline(files, config.task, result),
        seconds=manifest.seconds,
        remarks=with_remedies(result, config),
        stability=artifact_of(RankPlan, files).stability,
        already_done=already_done,
        same_as=trained,
        is_packed=not isinstance(files, RunDirectory),
    )
