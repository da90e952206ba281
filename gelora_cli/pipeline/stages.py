"""The corridor: the one file that knows the order of the stages (`dry_run.py` walks it for what it would cost).

`run`, `profile`, `evaluate` and `predict` are what the commands call; `main` is what a worker process runs. A run is
composed once, frozen in its directory, and worked on by one process in place or by N workers.
"""

from __future__ import annotations

import os
import shlex
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gelora_cli.allocation.ranks import format_plan
from gelora_cli.config.config import NUMERICS, RunConfig, TaskConfig, complete, read_config, write_config
from gelora_cli.core import rundir
from gelora_cli.core.artifacts import EvalResult, IdProfile, RankPlan, ReloadCheck, RunManifest, RunResult, TrainResult
from gelora_cli.core.codec import read_artifact, to_json
from gelora_cli.core.errors import GeloraError, RunError, StoppedError
from gelora_cli.core.runtime import LOGGER, explained_memory
from gelora_cli.data.protocol import Parts
from gelora_cli.data.sources import Split
from gelora_cli.data.splits import EncodedSplit, draw_rows
from gelora_cli.geometry.states import StateStore
from gelora_cli.launchers.signals import StopRequest, listening
from gelora_cli.launchers.workers import inside_workers, run_workers, with_others, worker
from gelora_cli.models.load import LoadedModel
from gelora_cli.models.locate import ResolvedModel
from gelora_cli.pipeline.card import CardFacts, model_card
from gelora_cli.pipeline.inputs import (
    Prepared,
    check_profile,
    is_profiled,
    prepare,
    profile_directory,
    resolve_start,
    run_directory,
    run_fingerprints,
    whole_profile,
)
from gelora_cli.pipeline.linking import equal_run, link_run
from gelora_cli.pipeline.session import (
    Session,
    close_session,
    only_model,
    open_session,
    plan_for,
    profile_settings,
)
from gelora_cli.plots.run import plot_profile, plot_ranks
from gelora_cli.plots.trajectories import plot_track, read_track

if TYPE_CHECKING:
    from torch import nn

    from gelora_cli.geometry.probe import Tracker
    from gelora_cli.methods.base import Attached
    from gelora_cli.training.checkpoint import TrainState
    from gelora_cli.training.evaluation import Judged

RELOAD_EXAMPLES = 64
RELOAD_TOLERANCE = {"float32": 1e-4, "bf16": 2.0**-7}
"""Of the largest score, or of 1. In bf16 it is a rounding step: the open gates that SoRA saves sum in another order."""
RELOAD_ROUNDING = {"float32": 2.0**-23, "bf16": 2.0**-8}
"""Of the largest score, or of 1: an adapter that changes no score by more has moved nothing that can be seen."""


@dataclass(frozen=True)
class Finished:
    """A run that is done: its directory, its reported metric and value, and whether it was done before.

    `remarks` are what a reader must know beside the value.
    `same_as` is the run that was trained in its stead, if it is linked to one.
    """

    directory: Path
    reported: str
    value: float
    already_done: bool = False
    remarks: tuple[str, ...] = ()
    same_as: Path | None = None


def run(config: RunConfig, command: str, *, measure: bool = True) -> Finished:
    """All stages of one run, or nothing where it is done already; with a finished run's ranks it is linked to that one.

    With `measure` false (`gelora train`) the profile must be there, or a plan given by `ranks.path`.

    Raises:
        GeloraError: anything a user can mend; the run's status then says `failed`.
    """
    prepared = prepare(complete(config))
    config, fingerprints = prepared.config, run_fingerprints(prepared)
    directory = run_directory(prepared, fingerprints)
    if rundir.is_done(directory) and not config.force:
        return _done_before(directory)
    if not measure:
        check_profile(config, profile_directory(prepared, fingerprints))
    rundir.create(directory)
    with rundir.locked(directory, "the run directory"):
        if rundir.is_done(directory) and not config.force:  # another command has ended it since
            return _done_before(directory)
        trained = None if config.force else equal_run(prepared, fingerprints)
        if trained or _starts_anew(directory, config.force, command) or not _resumable(directory, config):
            rundir.clear(directory)
        write_config(replace(config, precision=prepared.precision), directory / rundir.CONFIG)
        with _manifest(directory, prepared, fingerprints, command):
            if trained:
                link_run(trained, directory, config)
            else:
                _work_or_launch(["run", str(directory)], config.launch.processes, lambda: work_run(directory, prepared))
        rundir.mark_done(directory)
    return _finished(directory)


def _done_before(directory: Path) -> Finished:
    rundir.check_intact(directory)
    rundir.remove_finished_work(directory)
    return _finished(directory, already_done=True)


def _finished(directory: Path, *, already_done: bool = False) -> Finished:
    result = read_artifact(RunResult, directory / RunResult.FILE)
    remarks = with_remedies(result, read_config(directory / rundir.CONFIG))
    same_as = read_artifact(RunManifest, directory / RunManifest.FILE).same_as
    trained = None if same_as is None else Path(os.path.normpath(directory / same_as))
    return Finished(directory, result.reported, result.value, already_done, remarks, trained)


def _starts_anew(directory: Path, force: bool, command: str) -> bool:
    """Whether `force=true` drops what is there: not what the same command, with or without it, has left unfinished."""
    if not force:
        return False
    with suppress(GeloraError, ValueError):
        manifest = read_artifact(RunManifest, directory / RunManifest.FILE)
        return rundir.is_done(directory) or _without_force(manifest.command) != _without_force(command)
    return True


def _without_force(command: str) -> list[str]:
    """Return the words of a command but for `force=true`, which changes nothing of an unfinished run."""
    return [word for word in shlex.split(command) if not word.startswith("force=")]


def _resumable(directory: Path, config: RunConfig) -> bool:
    """Whether a training that did not end has left a whole checkpoint there; of what is lost after it, the lines go.

    Raises:
        GeloraError: it was written by another number of processes, whose random states it holds, on another kind of
            device, or with another number of CPU threads; the last goes on with `force=true`, and a warning.
    """
    from gelora_cli.core.runtime import train_machine
    from gelora_cli.training.checkpoint import whole_checkpoint

    state = whole_checkpoint(directory)
    if state is None:
        return False
    processes, anew = config.launch.processes, f"delete {directory / rundir.CHECKPOINTS} to start anew."
    if state.processes != processes:
        raise GeloraError(
            f"{directory} was interrupted at step {state.step} with launch.processes={state.processes}: its checkpoint "
            f"holds the random states of those, and launch.processes={processes} would end with other numbers. Give "
            f"launch.processes={state.processes}, or {anew}"
        )
    here = train_machine()
    if state.machine.split(",")[0] != here.split(",")[0]:
        raise GeloraError(
            f"{directory} was interrupted at step {state.step} on another kind of device ({state.machine}): its "
            f"checkpoint holds that one's random states, and this one ({here}) would end with other numbers. Go on "
            f"there, or {anew}"
        )
    _compare_threads(directory, state, config)
    if state.machine != here:
        LOGGER.warning("begun on %s, goes on on %s: numbers may differ in their last digits", state.machine, here)
    _compare_tracking(directory, config)
    rundir.cut(directory / rundir.METRICS, state.metrics_bytes)
    return True


def _compare_threads(directory: Path, state: TrainState, config: RunConfig) -> None:
    """Refuse to resume with another number of CPU threads than before, which changes the last digits of sums.

    Raises:
        GeloraError: the numbers differ, without `force=true`.
    """
    from gelora_cli.core.runtime import thread_settings, worker_threads

    if not state.threads or not state.machine.startswith("cpu"):
        return
    threads = worker_threads(1 if inside_workers() else config.launch.processes)
    if threads == state.threads:
        return
    before = f"{state.threads} ({state.thread_settings or 'no OMP_NUM_THREADS set'})"
    now = f"{threads} ({thread_settings() or 'no OMP_NUM_THREADS set'})"
    if not config.force:
        raise GeloraError(
            f"{directory} was interrupted at step {state.step}. Its number of CPU threads was {before} and is now "
            f"{now}, which would change last digits. Set OMP_NUM_THREADS={state.threads}, or give force=true to resume "
            "all the same."
        )
    LOGGER.warning("CPU threads were %s, now %s (force=true): numbers may differ in their last digits", before, now)


def _compare_tracking(directory: Path, config: RunConfig) -> None:
    """Warn where `profile.track` is another than in the try before: the course will lack moments."""
    with suppress(GeloraError):  # one that can't be read is written anew
        before, now = read_config(directory / rundir.CONFIG).profile.track, config.profile.track
        if before != now:
            LOGGER.warning("begun with profile.track=%s, goes on with %s: the tracked course has gaps", before, now)


def profile(config: RunConfig) -> tuple[Path, IdProfile]:
    """Stage 1 alone: the shared profile of this model and task, measured unless it is there already.

    Nothing but the text of training is looked at: of `task=text` labels that are missing or wrong are left out.
    """
    prepared = prepare(complete(config), judged=False)
    directory = profile_directory(prepared, prepared.fingerprints)
    rundir.create(directory)
    rundir.check_files(directory)
    if prepared.config.force or not whole_profile(directory / IdProfile.FILE):
        write_config(prepared.config, directory / rundir.CONFIG)
        processes = prepared.config.launch.processes
        _work_or_launch(["profile", str(directory)], processes, lambda: work_profile(directory, prepared))
    else:
        with rundir.waiting_lock(directory, "the profile"):
            StateStore(directory).clear()  # of a process that was killed when the profile was whole
    return directory, read_artifact(IdProfile, directory / IdProfile.FILE)


def evaluate(directory: Path, processes: int) -> tuple[EvalResult, ...]:
    """Score a finished run's adapter again on the task's evaluated splits, from its directory alone."""
    config = _finished_config(directory)
    config = replace(config, launch=replace(config.launch, processes=processes))
    prepared = prepare(config)
    _check_unchanged(directory, prepared)
    with tempfile.TemporaryDirectory(prefix="gelora-") as place:  # nothing is written to the run
        target = Path(place) / "results.json"
        arguments = ["evaluate", str(directory), str(target), str(processes)]
        _work_or_launch(arguments, processes, lambda: work_evaluate(directory, target, prepared))
        return read_artifact(EvaluationReport, target).results


def predict(directory: Path, rows: Callable[[RunConfig], Split]) -> tuple[TaskConfig, Split, list[dict[str, Any]]]:
    """Label rows with a finished run's adapter; `rows` gives them once the task is known.

    Returns:
        The run's task, the rows, and a prediction for each, in their order.
    """
    config = _finished_config(directory)
    split = rows(config)
    return config.task, split, predict_splits(directory, [split])[0]


def predict_splits(directory: Path, splits: Sequence[Split]) -> list[list[dict[str, Any]]]:
    """Label the rows of each split with a finished run's adapter, loaded once."""
    from gelora_cli.training.evaluation import prediction_rows

    prepared = reopened(directory)
    with explained_memory():
        session = only_model(prepared)
        session.open_scale(directory)
        model = session.with_adapter(session.loaded, directory)
        task, encoded = prepared.config.task, (session.encode_aloud(split) for split in splits)
        return [prediction_rows(task, split, session.outputs(model, split)) for split in encoded]


def reopened(directory: Path) -> Prepared:
    """A finished run with its model, in its precision, without rows.

    Raises:
        GeloraError: it is unfinished or damaged, or its model is not there or is another one.
    """
    config = _finished_config(directory)
    resolved, ancestors = resolve_start(config)
    manifest = read_artifact(RunManifest, directory / RunManifest.FILE)
    _check_model(directory, manifest, resolved)
    return Prepared(config, resolved, {}, manifest.precision, ancestors)


def work_run(directory: Path, prepared: Prepared) -> None:
    """All stages of a run, in every process of it; the main one writes."""
    with listening() as stop, explained_memory():
        _work_run(directory, prepared, stop)


def _work_run(directory: Path, prepared: Prepared, stop: StopRequest) -> None:
    session = open_session(prepared, directory / rundir.LOG)
    main = session.accelerator.is_main_process
    LOGGER.info("run directory %s", directory)
    with session.timed("profile"):
        saved, reused = _profile_for(session) if is_profiled(prepared.config) else (None, False)
    plan, train = plan_for(session, saved), session.train_split()
    attached = session.attach(plan, train)
    if main:
        _write_plan(directory, saved, attached.plan)
    with session.timed("train"):
        trained, predictions = _train(session, attached, train, directory, stop)
    check = _save_and_reload(session, attached, directory)
    if main:
        result = _result(session, attached.plan, saved, reused, trained, check)
        _write_result(directory, session, result, attached.plan, predictions)
    session.accelerator.wait_for_everyone()
    close_session(session, directory)


def work_profile(directory: Path, prepared: Prepared) -> None:
    """Stage 1 alone, in every process."""
    with listening(), explained_memory():
        session = open_session(prepared, directory / rundir.LOG)
        _profile_for(session, anew=prepared.config.force)
        session.accelerator.wait_for_everyone()


def work_evaluate(directory: Path, target: Path, prepared: Prepared) -> None:
    """Score the saved adapter, in every process; the main one writes the results to `target`."""
    with explained_memory():
        session = open_session(prepared, None)
        session.open_scale(directory)
        model = session.reloaded(directory)
        results = tuple(session.judge(model, split).result for split in session.reported_splits())
    if session.accelerator.is_main_process:
        rundir.write_atomic(target, to_json(EvaluationReport(results)))
    session.accelerator.wait_for_everyone()


def main(arguments: Sequence[str]) -> None:
    """Entry of a worker process: `COMMAND DIRECTORY [TARGET PROCESSES]`, with the configuration frozen there."""
    command, directory = arguments[0], Path(arguments[1])
    if command == "evaluate":
        config = _own_config(directory)
        config = replace(config, launch=replace(config.launch, processes=int(arguments[3])))
        work_evaluate(directory, Path(arguments[2]), prepare(config))
    else:
        prepared = prepare(read_config(directory / rundir.CONFIG), judged=command == "run")
        (work_run if command == "run" else work_profile)(directory, prepared)


@dataclass(frozen=True)
class EvaluationReport:
    """The results of `gelora evaluate`, handed from the workers to the command that started them."""

    results: tuple[EvalResult, ...]


def _profile_for(session: Session, *, anew: bool = False) -> tuple[IdProfile, bool]:
    """The shared profile and whether it was there before; one process decides, all measure, the main one writes."""
    prepared = session.prepared
    directory = profile_directory(prepared, prepared.fingerprints)
    path = directory / IdProfile.FILE
    if not session.accelerator.is_main_process:
        there = _await_announcement()
        if not there:
            _measure(session, directory)
        session.accelerator.wait_for_everyone()
        return read_artifact(IdProfile, path), there
    rundir.create(directory)
    with rundir.waiting_lock(directory, "the profile", lambda: _announce(None)):
        there = not anew and whole_profile(path)
        _announce(there)
        if not there:
            found = _measure(session, directory)
            plot_profile(found, directory / "profile.png")
            rundir.write_artifact(found, directory)
        StateStore(directory).clear()  # also what a process left that was killed when the profile was whole
    session.accelerator.wait_for_everyone()
    found = read_artifact(IdProfile, path)
    LOGGER.info("profile %s: %s", "reused" if there else f"measured in {found.seconds:.1f} s", path)
    return found, there


def _announce(there: bool | None) -> None:
    """Tell the other processes whether the profile is there; None while another run measures it.

    They hear of it every second, so that a long wait is no silence that ends a process group by its timeout.
    """
    from accelerate.utils import broadcast_object_list

    broadcast_object_list([there])


def _await_announcement() -> bool:
    """What the main process tells in the end."""
    from accelerate.utils import broadcast_object_list

    while (there := broadcast_object_list([None])[0]) is None:
        pass
    return bool(there)


def _measure(session: Session, directory: Path) -> IdProfile:
    from gelora_cli.geometry.profiling import measure
    from gelora_cli.models.block_map import block_modules

    config, prepared, loaded = session.config, session.prepared, session.loaded
    train = prepared.splits["train"]
    store = StateStore(directory)
    measured = measure(
        loaded.model,
        block_modules(loaded.model, loaded.map),
        session.profile_split(),
        profile_settings(config),
        batch_size=config.profile.batch_size,
        pad_token_id=session.pad_token_id,
        accelerator=session.accelerator,
        store=store,
    )
    return measured.profile(
        model=prepared.model_name,
        model_fingerprint=prepared.model.fingerprint,
        task=config.task.name,
        data_fingerprint=train.fingerprint(),
        settings=profile_settings(config),
        examples_seen=len(train),
        model_map=loaded.map if train.labels is not None else replace(loaded.map, head_modules=(), head_params=0),
        seconds=round(store.seconds, 3),
    )


def _write_plan(directory: Path, saved: IdProfile | None, plan: RankPlan) -> None:
    if saved is not None:
        rundir.write_artifact(saved, directory)
        plot_profile(saved, directory / "profile.png")
    rundir.write_artifact(plan, directory)
    if plan.blocks:
        plot_ranks(plan, directory / "ranks.png")
    for line in format_plan(plan).splitlines():
        LOGGER.info("%s", line)


def _train(
    session: Session, attached: Attached, train: EncodedSplit, directory: Path, stop: StopRequest
) -> tuple[TrainResult, list[Judged]]:
    """Fine-tune, and the selected epoch's predictions on each reported split."""
    from gelora_cli.training.checkpoint import Checkpoints
    from gelora_cli.training.loop import fine_tune

    config, accelerator, settings = session.config, session.accelerator, session.settings()
    splits = session.eval_splits()
    latest: list[Judged] = []
    kept: list[Judged] = []

    def evaluate_epoch(_: int) -> tuple[EvalResult, ...]:
        with stop.deferred(False):
            latest[:] = [session.judge(attached.model, split) for split in splits]
        return tuple(found.result for found in latest)

    def record(values: dict[str, Any]) -> None:
        if accelerator.is_main_process:
            rundir.append_line(directory / rundir.METRICS, values)

    shown = (train.describe(), settings.total_steps(len(train)), settings.batch_size, config.preset_source)
    LOGGER.info("training: %s; %d steps of %d, %s", *shown)
    with stop.deferred():
        trained = fine_tune(
            replace(attached, observe=_observer(session, attached, stop, record)),
            train,
            settings,
            pad_token_id=session.pad_token_id,
            accelerator=accelerator,
            evaluate=evaluate_epoch,
            select=lambda: kept.__setitem__(slice(None), latest),
            record=record,
            checkpoints=Checkpoints(directory, config.train.checkpoint_steps, config.train.checkpoint_seconds),
            stop=lambda: stop.requested,
        )
    # The selected epoch was evaluated before the run was resumed: its weights are back, so its predictions are, too.
    judged = kept or [session.judge(attached.model, split) for split in splits]
    return trained, [found for found in judged if found.result.split in session.parts.reported]


def _observer(
    session: Session, attached: Attached, stop: StopRequest, record: Callable[[dict[str, Any]], None]
) -> Callable[[int, int], None]:
    """What looks at the model before the first step and after every evaluation: the main process, if asked to."""
    if not session.config.profile.track:
        return lambda step, epoch: None
    accelerator = session.accelerator
    tracker = _tracker(session, attached)

    def observe(step: int, epoch: int) -> None:
        if accelerator.is_main_process:
            start = time.perf_counter()
            with stop.deferred(False):
                found = tracker.measure()
            record({"step": step, "epoch": epoch, "track": found, "seconds": round(time.perf_counter() - start, 3)})
        accelerator.wait_for_everyone()

    return observe


def _tracker(session: Session, attached: Attached) -> Tracker:
    """The tracker on the probe: rows of the train split drawn with the profile's seed, whatever part trains."""
    from gelora_cli.data.collate import collate
    from gelora_cli.geometry.probe import Tracker, probe_places
    from gelora_cli.geometry.profiling import pooled_states
    from gelora_cli.geometry.twonn import estimate_idim
    from gelora_cli.methods.base import plain_model
    from gelora_cli.models.block_map import block_modules

    given, rows, pad = session.config.profile, session.prepared.splits["train"], session.pad_token_id
    device, model_map = session.accelerator.device, session.loaded.map
    drawn = session.encode(rows.take(draw_rows(len(rows), given.track_examples, given.seed)))
    split = drawn.take(drawn.distinct_rows()[: given.track_examples])
    model = plain_model(attached.model)
    blocks = block_modules(model, model_map)
    shared: dict[str, Any] = {"batch_size": given.batch_size, "pad_token_id": pad, "accelerator": session.accelerator}
    places = probe_places(split.lengths, given.track_tokens)
    return Tracker(
        model=attached.model,
        body=model.base_model,
        blocks=blocks,
        states=lambda: pooled_states(model, blocks, split, given.pooling, **shared),
        estimate=partial(estimate_idim, estimator=given.estimator, discard=given.discard, seed=given.seed),
        probes=[(collate(split, np.array([row]), pad, device).inputs, token) for row, token in places],
        updates=attached.updates,
        linears=[[linear.name for linear in block.linears] for block in model_map.blocks],
    )


def _save_and_reload(session: Session, attached: Attached, directory: Path) -> ReloadCheck:
    """Save the adapter, load it into a fresh base model, and compare scores on 64 examples.

    They must be nearer to the trained model's than half of what the adapter changes, which is measured too: by the base
    model with the trained head alone. An adapter that changes nothing (a very low learning rate, a single step of
    warm-up) is a finding and not a failure: the result then has a warning.

    Raises:
        RunError: other scores.
    """
    with session.timed("reload"):
        if session.accelerator.is_main_process:
            with rundir.writing(directory / rundir.ADAPTER):
                attached.save(directory / rundir.ADAPTER)
                describe_adapter(directory / rundir.ADAPTER, session.prepared, directory)
        session.accelerator.wait_for_everyone()
        split = session.prepared.splits[session.config.task.eval_splits[0]]
        probe = session.encode(split.take(draw_rows(len(split), RELOAD_EXAMPLES, 0)))
        trained = session.scores(attached.model, probe)
        fresh = session.fresh_model()
        with session.accelerator.autocast():  # as the others are scored, so that rounding is no effect
            base = session.scores(_with_head(fresh, attached), probe)
        again = session.scores(session.with_adapter(fresh, directory), probe)
    empty = attached.ranks()[1] == 0  # a pruning method may have nothing left, which is then all there is to reload
    check = compare_scores(trained, again, base, session.prepared.precision, empty=empty)
    if not check.passed:
        raise RunError(
            f"reload check: the reloaded adapter gives other scores ({check}). The adapter in {directory} is not to be "
            "used."
        )
    LOGGER.info(
        "reload check: the saved adapter, loaded again, gives the same scores to %.2g; without it they differ by %.2g",
        check.largest_difference,
        check.adapter_effect,
    )
    return check


def compare_scores(
    trained: NDArray[np.float32], again: NDArray[np.float32], base: NDArray[np.float32], precision: str, *, empty: bool
) -> ReloadCheck:
    """Compare scores (n, ...) of the trained model, of the reloaded adapter, and of base model and head alone.

    `empty`: a pruning method has left nothing of the adapter, so that there is no effect to see.
    """
    difference, effect = float(abs(again - trained).max()), float(abs(base - trained).max())
    largest = max(1.0, float(abs(trained).max()))
    tolerance = RELOAD_TOLERANCE[precision] * largest
    unmoved = effect <= RELOAD_ROUNDING[precision] * largest
    warning = ""
    if unmoved and not empty:
        warning = (
            f"the adapter moved nothing: without it no score of {len(trained)} examples differs by more than rounding "
            f"({effect:.2g}), so the value is that of the base model and its trained head; raise "
            "train.learning_rate or train for more steps"
        )
    allowed = tolerance if empty or unmoved else min(tolerance, effect / 2)
    return ReloadCheck(len(trained), difference, tolerance, effect, difference <= allowed, warning)


def _with_head(fresh: LoadedModel, attached: Attached) -> nn.Module:
    """The base model with the trained head."""
    from gelora_cli.methods.base import head_state

    fresh.model.load_state_dict(head_state(attached.model, fresh.map.head_modules), strict=False)
    return fresh.model


def _result(
    session: Session,
    plan: RankPlan,
    saved: IdProfile | None,
    reused: bool,
    trained: TrainResult,
    check: ReloadCheck,
) -> RunResult:
    from gelora_cli.training.loop import best_epoch

    config, parts = session.config, session.parts
    results = _reported(parts, trained.evaluations[trained.selected_epoch - 1])
    first = trained.settled_epoch - 1
    best, best_value = best_epoch(trained.evaluations[first:])
    return RunResult(
        task=config.task.name,
        model=session.prepared.model_name,
        method=config.method.name,
        budget=plan.budget,
        seed=config.seed,
        protocol=config.protocol,
        selection=parts.rule.format(epoch=trained.selected_epoch),
        reported=config.task.reported,
        value=results[0].value,
        results=results,
        last_value=_reported(parts, trained.evaluations[-1])[0].value,
        best_value=best_value,
        best_epoch=best + first,
        ranks=plan.ranks,
        effective_ranks=trained.effective_ranks,
        adapter_params=trained.adapter_params,
        trained_params=plan.trained_params,
        head_params=plan.head_params,
        collapsed=any(result.collapsed for result in results) or trained.adapter_params == 0,
        reload_check=check,
        train=trained,
        profile_seconds=saved.seconds if saved else 0.0,
        profile_reused=reused,
        attach_seconds=round(session.seconds["attach"], 3),
        train_seconds=trained.seconds,
        smoke=config.smoke,
        scale=session.scale,
    )


def _reported(parts: Parts, results: Sequence[EvalResult]) -> tuple[EvalResult, ...]:
    return tuple(result for result in results if result.split in parts.reported)


def _write_result(directory: Path, session: Session, result: RunResult, plan: RankPlan, judged: list[Judged]) -> None:
    lines = "".join(rundir.json_text(row) + "\n" for found in judged for row in found.rows)
    rundir.write_atomic(directory / rundir.PREDICTIONS, lines)
    for name in judged[0].files:
        content = {key: value for found in judged for key, value in found.files[name].items()}
        rundir.write_atomic(directory / name, rundir.json_text(content, indent=1) + "\n")
    rundir.write_artifact(result, directory)
    if moments := read_track(directory / rundir.METRICS):
        plot_track(moments, result, directory / rundir.TRACK)
    facts = card_facts(directory, session.prepared, session.loaded)
    rundir.write_atomic(directory / rundir.CARD, model_card(result, plan, facts))
    LOGGER.info("%s: %.4f", result.reported, result.value)
    for remark in with_remedies(result, session.config):
        LOGGER.warning("%s", remark)


def with_remedies(result: RunResult, config: RunConfig) -> tuple[str, ...]:
    """The remarks on a run, with what to try where it has collapsed."""
    if not result.collapsed or result.reload_check.warning:
        return result.remarks
    tries = [f"train.learning_rate={(config.train.learning_rate or 0) / 10:.3g} (a tenth)", "more train.epochs"]
    if config.task.kind == "regression" and result.scale is None:
        tries.insert(0, "task.standardize=true")
    if config.protocol == "last":
        tries.append("protocol=split (the best epoch)")
    if config.task.kind == "classification" and config.task.metric != "mcc":
        tries.append("task.metric=mcc, which is 0 for one label")
    return (*result.remarks, f"what may help: {', '.join(tries)}")


def card_facts(directory: Path, prepared: Prepared, loaded: LoadedModel, target: Path | None = None) -> CardFacts:
    """What the card of a run, or of what is exported of it to `target`, says of its surroundings."""
    return CardFacts(
        config=prepared.config,
        command=read_artifact(RunManifest, directory / RunManifest.FILE).command,
        base=base_name(prepared, target or directory),
        peft=(directory / rundir.ADAPTER / rundir.PEFT_CONFIG).exists(),
        arguments=loaded.arguments,
        starts_from=tuple(str(ancestor.directory) for ancestor in prepared.ancestors),
    )


def base_name(prepared: Prepared, directory: Path) -> str:
    """The base model's hub id, or the way to it from a directory, in which code then finds it."""
    model = prepared.config.model
    if model.path is None:
        return model.hub or prepared.model.source
    return rundir.relative_to(Path(model.path), directory) if Path(model.path).is_absolute() else model.path


def describe_adapter(adapter: Path, prepared: Prepared, directory: Path) -> None:
    """Note beside an adapter of PEFT's what it belongs on, seen from `directory`, and the kind of its task.

    With the adapters of earlier runs in its base that is no name that can be loaded: nobody puts it on the bare one.
    """
    from gelora_cli.methods.saved import describe_peft

    ancestors = [rundir.relative_to(ancestor.adapter, directory) for ancestor in prepared.ancestors]
    answers = prepared.config.task.kind == "question_answering"
    describe_peft(
        adapter,
        base=" + ".join((base_name(prepared, directory), *ancestors)),
        task_type="QUESTION_ANS" if answers else "SEQ_CLS",
    )


@contextmanager
def _manifest(directory: Path, prepared: Prepared, fingerprints: dict[str, str], command: str) -> Iterator[None]:
    """Keep run.json true: `running` until the work ends, then `done`, `failed` or `interrupted` with the error."""
    manifest = _new_manifest(prepared, fingerprints, command)
    with suppress(GeloraError):  # of a run that goes on; a new one has none
        manifest = replace(manifest, created=read_artifact(RunManifest, directory / RunManifest.FILE).created)
    rundir.write_artifact(manifest, directory)
    try:
        yield
    except BaseException as error:
        interrupted = isinstance(error, KeyboardInterrupt | SystemExit | StoppedError)
        if isinstance(error, GeloraError):
            error.directory = str(directory)
        with suppress(GeloraError):  # a full disk refuses this too; the first error is the one to show
            _end_manifest(directory, "interrupted" if interrupted else "failed", str(error) or type(error).__name__)
        raise
    _end_manifest(directory, "done", None)


def _new_manifest(prepared: Prepared, fingerprints: dict[str, str], command: str) -> RunManifest:
    import torch

    from gelora_cli.core.runtime import device_name, git_commit, versions

    config = prepared.config
    return RunManifest(
        status="running",
        command=command,
        created=rundir.now(),
        updated=rundir.now(),
        pid=os.getpid(),
        host=socket.gethostname(),
        processes=config.launch.processes,
        device=device_name(torch.device("cuda" if torch.cuda.is_available() else "cpu")),
        precision=prepared.precision,
        versions=versions(),
        git_commit=git_commit(),
        fingerprints=fingerprints,
        seconds={},
        peak_bytes=None,
        error=None,
        numerics=NUMERICS,
    )


def _end_manifest(directory: Path, status: str, error: str | None) -> None:
    manifest = read_artifact(RunManifest, directory / RunManifest.FILE)
    rundir.write_artifact(replace(manifest, status=status, updated=rundir.now(), error=error), directory)


def _work_or_launch(arguments: list[str], processes: int, work: Callable[[], None]) -> None:
    """Work in this process, or start N workers; where an outer launcher already did, this one leads them."""
    from gelora_cli.core.runtime import offline_workers, share_of_cores

    if inside_workers():
        with with_others(arguments):
            work()
        return
    if processes == 1:
        work()
        return
    with share_of_cores(processes), offline_workers():
        run_workers(arguments, processes)


def _finished_config(directory: Path) -> RunConfig:
    if not rundir.is_done(directory):
        raise GeloraError(f"{directory} is not a finished run (no DONE in it); gelora ls shows the runs there are.")
    rundir.check_intact(directory)
    rundir.remove_finished_work(directory)
    return _own_config(directory)


def _own_config(directory: Path) -> RunConfig:
    """A run's frozen configuration, in the precision that the run had."""
    precision = read_artifact(RunManifest, directory / RunManifest.FILE).precision
    return replace(read_config(directory / rundir.CONFIG), precision=precision)


def _check_unchanged(directory: Path, prepared: Prepared) -> None:
    manifest = read_artifact(RunManifest, directory / RunManifest.FILE)
    _check_model(directory, manifest, prepared.model)
    for name, digest in prepared.fingerprints.items():
        if manifest.fingerprints.get(name) != digest:
            raise GeloraError(f"the split {name} is not the one that {directory} was run on; restore that data")


def _check_model(directory: Path, manifest: RunManifest, resolved: ResolvedModel) -> None:
    if manifest.fingerprints.get("model") != resolved.fingerprint:
        raise GeloraError(f"{resolved.source} is not the model that {directory} was trained on; restore that model")


if __name__ == "__main__":
    worker(main, sys.argv[1:])
