"""The corridor: the one file that knows the order of the stages.

`run`, `profile`, `evaluate` and `predict` are what the commands call; `main` is what a worker process runs. A run is
composed once, frozen in its directory, and worked on by one process in place or by N workers.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gelora_cli import rundir
from gelora_cli.artifacts import (
    Estimate,
    EvalResult,
    GeloraError,
    IdProfile,
    LayerIdim,
    ModelMap,
    ProfileSettings,
    RankPlan,
    ReloadCheck,
    RunError,
    RunManifest,
    RunResult,
    StoppedError,
    TrainResult,
    read_artifact,
    to_json,
)
from gelora_cli.budget import parse_budget
from gelora_cli.config import (
    RunConfig,
    TaskConfig,
    complete,
    identity_hash,
    list_problems,
    plan_settings,
    profile_hash,
    read_config,
    write_config,
)
from gelora_cli.data.parts import Parts, parts_of
from gelora_cli.data.sources import Split, completed_task, task_split, text_only
from gelora_cli.data.splits import EncodedSplit, TextSplit, draw_rows, epoch_batches, sorted_batches
from gelora_cli.launch import inside_workers, run_workers, with_others, worker
from gelora_cli.lineage import Ancestor, find_lineage, load_start
from gelora_cli.models import LoadedModel, ResolvedModel, check_length, resolve_model
from gelora_cli.planning import EXEMPT, needs_profile, plan_method
from gelora_cli.ranks import EXEMPT_BUDGET, format_plan
from gelora_cli.report.card import CardFacts, model_card
from gelora_cli.report.courses import plot_track, read_track
from gelora_cli.report.plots import plot_profile, plot_ranks
from gelora_cli.runtime import LOGGER, explained_memory, setup_logging
from gelora_cli.states import StateStore
from gelora_cli.stopping import StopRequest, listening

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator
    from torch import nn
    from transformers import PreTrainedTokenizerBase

    from gelora_cli.evaluation import Judged
    from gelora_cli.methods.base import Attached
    from gelora_cli.tracking import Tracker
    from gelora_cli.train import TrainSettings

RELOAD_EXAMPLES = 64
ESTIMATE_STEPS = 4
PROBE_EXAMPLES = 8


@dataclass(frozen=True)
class Prepared:
    """Everything a run depends on, found and checked before any work: files, rows and their fingerprints.

    `model` is what the run starts from: the base model with the adapters of its `ancestors` (`init_from`) merged.
    """

    config: RunConfig
    model: ResolvedModel
    splits: dict[str, Split]
    precision: str
    ancestors: tuple[Ancestor, ...] = ()

    @property
    def model_name(self) -> str:
        """The model's name and the tasks that it was tuned on before, as `minilm+sst2`."""
        return "+".join((self.config.model.name, *(ancestor.config.task.name for ancestor in self.ancestors)))

    @property
    def fingerprints(self) -> dict[str, str]:
        """Content hashes of the model and of every split."""
        return {"model": self.model.fingerprint} | {name: split.fingerprint() for name, split in self.splits.items()}


@dataclass(frozen=True)
class Outcome:
    """What a command did with a run: its directory, its reported metric and value, and whether it was done before."""

    directory: Path
    reported: str
    value: float
    already_done: bool = False


def run(config: RunConfig, command: str, *, measure: bool = True) -> Outcome:
    """All stages of one run, or nothing where it is done already.

    With `measure` false (`gelora train`) the profile must be there, or a plan given by `ranks.path`.

    Raises:
        GeloraError: anything a user can mend; the run's status then says `failed`.
    """
    prepared = prepare(complete(config))
    config, fingerprints = prepared.config, prepared.fingerprints
    directory = _directory(prepared, fingerprints)
    if rundir.is_done(directory) and not config.force:
        return _done_before(directory)
    profile_directory = _profile_directory(prepared, fingerprints)
    if not measure:
        _check_profile(config, profile_directory)
    rundir.create(directory)
    with rundir.locked(directory, "the run directory"):
        if rundir.is_done(directory) and not config.force:  # another command has ended it since
            return _done_before(directory)
        if _starts_anew(directory, config.force, command) or not _resumable(directory, config.launch.processes):
            rundir.clear(directory)
        write_config(config, directory / rundir.CONFIG)
        with _manifest(directory, prepared, fingerprints, command):
            _work_or_launch(["run", str(directory)], config.launch.processes, lambda: work_run(directory, prepared))
        rundir.mark_done(directory)
    return _outcome(directory)


def _check_profile(config: RunConfig, directory: Path) -> None:
    """Refuse to go on without a profile that is needed and not there."""
    if _profiles(config) and not (directory / IdProfile.FILE).exists():
        raise GeloraError(
            f"no saved profile in {directory}: gelora train measures none. Run `gelora profile` with the same task, "
            "model and profile settings first, or give ranks.path=RUN, or use gelora run."
        )


def _done_before(directory: Path) -> Outcome:
    rundir.check_intact(directory)
    return _outcome(directory, already_done=True)


def _outcome(directory: Path, *, already_done: bool = False) -> Outcome:
    result = read_artifact(RunResult, directory / RunResult.FILE)
    return Outcome(directory, result.reported, result.value, already_done)


def estimate(config: RunConfig, *, measure: bool = True) -> tuple[str, Estimate]:
    """What a run would cost: its plan as text with parameters, memory and time from a few real steps; writes nothing.

    With `measure` false (`gelora train`) the profile must be there.

    Raises:
        GeloraError: what `run` would refuse before any work, or a budget that the method can't meet.
    """
    prepared = prepare(complete(config))
    config, fingerprints = prepared.config, prepared.fingerprints
    directory = _directory(prepared, fingerprints)
    rundir.check_free(directory)
    profile_path = _profile_directory(prepared, fingerprints) / IdProfile.FILE
    there = _whole_profile(profile_path)
    if not measure:
        _check_profile(config, profile_path.parent)
    session = _open_session(prepared, None)
    measured = _profiles(config) and not there
    saved = read_artifact(IdProfile, profile_path) if there else _flat_profile(session) if measured else None
    plan, train = _plan(session, saved), session.train_split()
    shown = _unmeasured_plan(plan, config) if measured else format_plan(plan)
    profile_seconds = _profile_cost(session) if measured else 0.0
    training, evaluation = _training_cost(session, session.attach(plan, train), train)
    found = Estimate(
        train_seconds=training,
        evaluation_seconds=evaluation,
        attach_seconds=session.seconds["attach"],
        profile_seconds=profile_seconds,
        profile=str(profile_path.parent) if measured else None,
        peak_bytes=_peak(session),
        processes=config.launch.processes,
        done=rundir.is_done(directory),
    )
    return "\n".join([f"run directory: {directory}", shown, _cost_text(session, found, len(train))]), found


def _flat_profile(session: _Session) -> IdProfile:
    """A stand-in for a profile that is not measured: no growth anywhere, so that ranks are even."""
    model_map = session.loaded.map
    layers = tuple(LayerIdim(i, 1.0, 1.0, 1.0, None, None, 0, 0, 0, False) for i in range(len(model_map.blocks) + 1))
    settings, name = _profile_settings(session.config), session.prepared.model_name
    return IdProfile(name, "", session.config.task.name, "", settings, 0, 0, 0, 0, layers, model_map, 0.0)


def _unmeasured_plan(plan: RankPlan, config: RunConfig) -> str:
    """What can be said of a plan before its profile is measured; `plan` is one of a flat profile."""
    budget = f"at the most the budget's {plan.budget_params:,}" if plan.budget_params else "what the rule gives"
    uniform = config.method.name == "lora" and plan.budget_params
    ranks = " ".join(map(str, plan.ranks)) if uniform else "unknown before the profile is measured"
    unit = sum(row.params // row.rank for row in plan.blocks if row.rank)
    return (
        f"ranks of the {len(plan.blocks)} blocks: {ranks}\n"
        f"adapter: {budget} parameters; one rank more in every block costs {unit:,} (method.modules="
        f"{config.method.modules})\nhead {plan.head_params:,}, backbone {plan.backbone_params:,}"
    )


def _profile_cost(session: _Session) -> float:
    """Seconds of forward passes over the profile's examples, from a few of its batches; no neighbour search."""
    import torch

    from gelora_cli.data.collate import collate
    from gelora_cli.train import padded_tokens

    config = session.config
    train = session.prepared.splits["train"]
    rows = draw_rows(len(train), config.profile.max_examples, config.profile.seed)
    split = _sample(session.encode(train.take(rows)), config)
    batches = sorted_batches(split.lengths, config.profile.batch_size)
    tried = batches[:: max(1, len(batches) // ESTIMATE_STEPS)][:ESTIMATE_STEPS]
    body = session.loaded.model.base_model
    start = time.perf_counter()
    with torch.inference_mode():
        for batch in tried:
            body(**collate(split, batch, session.pad_token_id, session.accelerator.device).inputs)
    return (time.perf_counter() - start) * padded_tokens(split, batches) / padded_tokens(split, tried)


def _training_cost(session: _Session, attached: Attached, train: EncodedSplit) -> tuple[float, float]:
    """Seconds of training and of all its evaluations, from a few steps and batches."""
    from gelora_cli.train import padded_tokens, time_steps

    settings, config = session.settings(), session.config
    shared: dict[str, Any] = {"pad_token_id": session.pad_token_id, "accelerator": session.accelerator}
    times = time_steps(attached, train, settings, steps=ESTIMATE_STEPS + 1, **shared)
    timed = times[1:] or times  # the first step warms up
    total = padded_tokens(train, epoch_batches(train.lengths, settings.batch_size, settings.seed, 1))
    steps_per_epoch = -(-len(train) // settings.batch_size)
    share = settings.total_steps(len(train)) / steps_per_epoch
    training = share * total * sum(seconds for _, seconds in timed) / sum(tokens for tokens, _ in timed)
    evaluation = 0.0
    for split in session.eval_splits():
        batches = sorted_batches(split.lengths, config.train.eval_batch_size)
        tried = np.concatenate(batches[:: max(1, len(batches) // ESTIMATE_STEPS)][:ESTIMATE_STEPS])
        start = time.perf_counter()
        session.forward(attached.model, split.take(tried))
        seconds = time.perf_counter() - start
        evaluation += seconds * len(split) / len(tried) * -(-settings.total_steps(len(train)) // steps_per_epoch)
    return training, evaluation


def _peak(session: _Session) -> int:
    from gelora_cli.runtime import peak_bytes

    return peak_bytes(session.accelerator.device)


def _cost_text(session: _Session, found: Estimate, examples: int) -> str:
    config, settings = session.config, session.settings()
    profile = f"about {found.profile_seconds:.0f} s and the neighbour search" if found.profile else "nothing to measure"
    lines = [
        f"profile: {profile}",
        f"training: {settings.total_steps(examples)} steps of {settings.batch_size}, about {found.train_seconds:.0f} s",
        f"evaluation: about {found.evaluation_seconds:.0f} s in all; attaching: {found.attach_seconds:.1f} s",
        f"memory: {found.peak_bytes / 1e9:.2f} GB at the most in these steps, by each process",
        f"settings: {config.preset_source}",
    ]
    if config.launch.processes > 1:
        lines.append(f"Seconds are those of one process; {config.launch.processes} share them.")
    if config.profile.track:
        lines.append("What profile.track=true measures is not counted.")
    if found.done:
        lines.append("This run is done: nothing would be done again.")
    return "\n".join(lines)


def _starts_anew(directory: Path, force: bool, command: str) -> bool:
    """Whether `force=true` drops what is there: not what the very same command has left when it was interrupted."""
    if not force:
        return False
    with suppress(GeloraError):
        manifest = read_artifact(RunManifest, directory / RunManifest.FILE)
        return rundir.is_done(directory) or manifest.command != command
    return True


def _resumable(directory: Path, processes: int) -> bool:
    """Whether a training that did not end has left a whole checkpoint there; of what is lost after it, the lines go.

    Raises:
        GeloraError: it was written by another number of processes, whose random states it holds.
    """
    from gelora_cli.checkpoint import whole_checkpoint
    from gelora_cli.runtime import train_machine

    state = whole_checkpoint(directory)
    if state is None:
        return False
    if state.processes != processes:
        raise GeloraError(
            f"{directory} was interrupted at step {state.step} with launch.processes={state.processes}: its checkpoint "
            f"holds the random states of those, and launch.processes={processes} would end with other numbers. Give "
            f"launch.processes={state.processes}, or force=true to start anew."
        )
    here = train_machine()
    if state.machine.split(",")[0] != here.split(",")[0]:
        raise GeloraError(
            f"{directory} was interrupted at step {state.step} on another kind of device ({state.machine}): its "
            f"checkpoint holds that one's random states, and this one ({here}) would end with other numbers. Go on "
            "there, or give force=true to start anew."
        )
    if state.machine != here:
        LOGGER.warning("begun on %s, goes on on %s: numbers may differ in their last digits", state.machine, here)
    rundir.cut(directory / rundir.METRICS, state.metrics_bytes)
    return True


def profile(config: RunConfig) -> tuple[Path, IdProfile]:
    """Stage 1 alone: the shared profile of this model and task, measured unless it is there already.

    Nothing but the text of training is looked at; of `task=text` it may lack labels.
    """
    prepared = prepare(complete(config), judged=False)
    directory = _profile_directory(prepared, prepared.fingerprints)
    rundir.create(directory)
    if prepared.config.force or not _whole_profile(directory / IdProfile.FILE):
        write_config(prepared.config, directory / rundir.CONFIG)
        processes = prepared.config.launch.processes
        _work_or_launch(["profile", str(directory)], processes, lambda: work_profile(directory, prepared))
    return directory, read_artifact(IdProfile, directory / IdProfile.FILE)


def evaluate(directory: Path, processes: int) -> tuple[EvalResult, ...]:
    """Score a finished run's adapter again on the task's evaluated splits, from its directory alone."""
    config = _finished_config(directory)
    config = replace(config, launch=replace(config.launch, processes=processes))
    prepared = prepare(config)
    _check_unchanged(directory, prepared)
    target = directory / f".evaluate-{os.getpid()}.json"
    try:
        arguments = ["evaluate", str(directory), str(target), str(processes)]
        _work_or_launch(arguments, processes, lambda: work_evaluate(directory, target, prepared))
        return read_artifact(EvaluationReport, target).results
    finally:
        target.unlink(missing_ok=True)


def predict(directory: Path, rows: Callable[[RunConfig], Split]) -> list[dict[str, Any]]:
    """Label rows with a finished run's adapter; `rows` gives them once the task is known."""
    return predict_splits(directory, [rows(_finished_config(directory))])[0]


def predict_splits(directory: Path, splits: Sequence[Split]) -> list[list[dict[str, Any]]]:
    """Label the rows of each split with a finished run's adapter, loaded once."""
    from gelora_cli.evaluation import prediction_rows

    prepared = reopened(directory)
    with explained_memory():
        session = only_model(prepared)
        model = session.with_adapter(session.loaded, directory)
        task, encoded = prepared.config.task, (session.encode(split) for split in splits)
        return [prediction_rows(task, split, session.forward(model, split)) for split in encoded]


def reopened(directory: Path) -> Prepared:
    """A finished run with its model, in its precision, without rows.

    Raises:
        GeloraError: it is unfinished or damaged, or its model is not there or is another one.
    """
    config = _finished_config(directory)
    resolved, ancestors = _resolve_model(config)
    manifest = read_artifact(RunManifest, directory / RunManifest.FILE)
    _check_model(directory, manifest, resolved)
    return Prepared(config, resolved, {}, manifest.precision, ancestors)


def only_model(prepared: Prepared) -> _Session:
    """Model, tokenizer and accelerator in this process, without a log."""
    from gelora_cli.runtime import make_accelerator

    return _Session(prepared, make_accelerator(prepared.precision))


def prepare(config: RunConfig, *, judged: bool = True) -> Prepared:
    """Find and check everything before work begins; with `judged` false only what a profile needs.

    Raises:
        GeloraError: too many processes, no such model or data, or rows that don't fit the task.
    """
    from gelora_cli.runtime import check_processes, resolve_precision

    problems: list[str] = []
    with collected(problems):
        if not inside_workers():
            check_processes(config.launch.processes)
    splits: dict[str, Split] = {}
    with collected(problems):
        config = replace(config, task=_completed(config, judged))
        for name in ("train", *(config.task.eval_splits if judged else ())):
            with collected(problems):
                splits[name] = _labelled_split(config, name) if judged else _text_split(config, name)
    with collected(problems):
        model, ancestors = _resolve_model(config)
        check_length(model, config.task.max_length)
    with collected(problems):
        precision = resolve_precision(config.precision)
    if judged and not problems:
        with collected(problems):
            parts_of(config.task, config.protocol, splits)
    if problems:
        raise GeloraError(list_problems(list(dict.fromkeys(problems))))
    return Prepared(config, model, splits, precision, ancestors)


@contextmanager
def collected(problems: list[str]) -> Iterator[None]:
    """Keep a refusal's message, so that all of them are shown together."""
    try:
        yield
    except GeloraError as error:
        problems.append(str(error))


def _completed(config: RunConfig, judged: bool) -> TaskConfig:
    found = completed_task(config.task if judged else text_only(config.task), config.data)
    return replace(config.task, labels=found.labels)


def _text_split(config: RunConfig, name: str) -> Split:
    return task_split(text_only(config.task), config.data, name)


def _labelled_split(config: RunConfig, name: str) -> Split:
    split = task_split(config.task, config.data, name)
    if split.labels is None:
        raise GeloraError(f"task={config.task.name}: split {name} has no labels")
    return split


def work_run(directory: Path, prepared: Prepared) -> None:
    """All stages of a run, in every process of it; the main one writes."""
    with listening() as stop, explained_memory():
        _work_run(directory, prepared, stop)


def _work_run(directory: Path, prepared: Prepared, stop: StopRequest) -> None:
    session = _open_session(prepared, directory / rundir.LOG)
    main = session.accelerator.is_main_process
    LOGGER.info("run directory %s", directory)
    with session.timed("profile"):
        saved, reused = _profile_for(session) if _profiles(prepared.config) else (None, False)
    plan, train = _plan(session, saved), session.train_split()
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
    _close_session(session, directory)


def work_profile(directory: Path, prepared: Prepared) -> None:
    """Stage 1 alone, in every process."""
    with listening(), explained_memory():
        session = _open_session(prepared, directory / rundir.LOG)
        _profile_for(session, anew=prepared.config.force)
        session.accelerator.wait_for_everyone()


def work_evaluate(directory: Path, target: Path, prepared: Prepared) -> None:
    """Score the saved adapter, in every process; the main one writes the results to `target`."""
    with explained_memory():
        session = _open_session(prepared, None)
        model = session.reloaded(directory)
        results = tuple(session.judge(model, split).result for split in session.reported_splits())
    if session.accelerator.is_main_process:
        rundir.write_atomic(target, to_json(EvaluationReport(results)))
    session.accelerator.wait_for_everyone()


def main(arguments: Sequence[str]) -> None:
    """Entry of a worker process: `COMMAND DIRECTORY [TARGET PROCESSES]`, with the configuration frozen there."""
    command, directory = arguments[0], Path(arguments[1])
    config = read_config(directory / rundir.CONFIG)
    if command == "evaluate":
        config = replace(config, launch=replace(config.launch, processes=int(arguments[3])))
        work_evaluate(directory, Path(arguments[2]), prepare(config))
    else:
        prepared = prepare(config, judged=command == "run")
        (work_run if command == "run" else work_profile)(directory, prepared)


@dataclass(frozen=True)
class EvaluationReport:
    """The results of `gelora evaluate`, handed from the workers to the command that started them."""

    results: tuple[EvalResult, ...]


class _Session:
    """One process's model, tokenizer and accelerator, loaded once and shared by the stages."""

    def __init__(self, prepared: Prepared, accelerator: Accelerator) -> None:
        from gelora_cli.models import check_vocabulary, load_tokenizer

        self.prepared, self.accelerator, self.config = prepared, accelerator, prepared.config
        self.seconds: dict[str, float] = {}
        with self.timed("model"):
            self.loaded = self.fresh_model()
            self.tokenizer: PreTrainedTokenizerBase = load_tokenizer(prepared.model, self.loaded.map.kind)
        check_vocabulary(self.tokenizer, self.loaded.model)
        self.pad_token_id = int(self.tokenizer.pad_token_id or 0)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the seconds of a stage."""
        start = time.perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start

    def fresh_model(self) -> LoadedModel:
        """The pretrained model, or what `init_from` makes of it, with the task's new head, on this process's device."""
        loaded = load_start(self.prepared.model, self.config, self.prepared.ancestors)
        loaded.model.to(self.accelerator.device)
        return loaded

    def encode(self, split: Split) -> EncodedSplit:
        """Token sequences of a split."""
        return split.encoded(self.tokenizer, self.config.task)

    @cached_property
    def parts(self) -> Parts:
        """What the protocol trains on, selects by and reports."""
        return parts_of(self.config.task, self.config.protocol, self.prepared.splits)

    def eval_splits(self) -> list[EncodedSplit]:
        """The evaluated splits, the deciding one first."""
        with self.timed("data"):
            return [self.encode(split) for split in self.parts.evaluated]

    def reported_splits(self) -> list[EncodedSplit]:
        """Those of them that are reported."""
        with self.timed("data"):
            return [self.encode(split) for split in self.parts.evaluated if split.name in self.parts.reported]

    def forward(self, model: nn.Module, split: EncodedSplit) -> Any:
        """What the task keeps of the model's outputs on a split, a row per sequence, on every process."""
        from gelora_cli.evaluation import forward

        return forward(
            model,
            split,
            self.config.task,
            batch_size=self.config.train.eval_batch_size,
            pad_token_id=self.pad_token_id,
            accelerator=self.accelerator,
        )

    def scores(self, model: nn.Module, split: EncodedSplit) -> Any:
        """The numbers by which two models are compared on a split."""
        from gelora_cli.evaluation import comparable

        return comparable(self.config.task, self.forward(model, split))

    def judge(self, model: nn.Module, split: EncodedSplit) -> Judged:
        """Metrics, prediction rows and the task's own files of a split."""
        from gelora_cli.evaluation import judge

        started = time.perf_counter()
        return judge(self.config.task, split, self.forward(model, split), started)

    def train_split(self) -> EncodedSplit:
        """The training rows of this run."""
        with self.timed("data"):
            train, config = self.parts.train, self.config
            return self.encode(train.take(draw_rows(len(train), config.data.max_train_examples, config.seed)))

    def settings(self) -> TrainSettings:
        """What fine-tuning depends on, of the configuration."""
        from gelora_cli.train import TrainSettings

        config = self.config
        aside = ("eval_batch_size", "checkpoint_steps", "checkpoint_seconds")
        given = {key: value for key, value in asdict(config.train).items() if key not in aside}
        return TrainSettings(**given, seed=config.seed, protocol=config.protocol, loss=config.task.kind)

    def attach(self, plan: RankPlan, train: EncodedSplit) -> Attached:
        """The method on the model; its outputs are compared with the base model's before anything is trained."""
        from gelora_cli.methods import METHODS, AttachRequest

        split, model = self.prepared.splits["train"], self.loaded.model
        probe = self.encode(split.take(draw_rows(len(split), PROBE_EXAMPLES, 0)))
        before = self.scores(model, probe)
        request = AttachRequest(
            model,
            self.loaded.map,
            plan,
            self.config.method,
            self.config.seed,
            total_steps=self.settings().total_steps(len(train)),
            keep_start=self.config.profile.track,
            batches=lambda tokens: EpochInputs(
                train, self.settings(), self.pad_token_id, self.accelerator.device, tokens
            ),
            once=self._once,
        )
        with self.timed("attach"):
            attached = METHODS[self.config.method.name](request)
        difference = float(abs(self.scores(attached.model, probe) - before).max())
        if not difference <= 1e-5 * max(1.0, float(abs(before).max())):
            raise RunError(f"the outputs differ from the base model's by {difference:.3g} before the first step")
        return attached

    def _once(self, compute: Callable[[], Any]) -> Any:
        """What `compute` gives on the main process, on every process."""
        from accelerate.utils import broadcast_object_list

        return broadcast_object_list([compute() if self.accelerator.is_main_process else None])[0]

    def reloaded(self, directory: Path) -> nn.Module:
        """The saved adapter in a fresh base model, in the run's precision."""
        return self.with_adapter(self.fresh_model(), directory)

    def with_adapter(self, base: LoadedModel, directory: Path) -> nn.Module:
        """The saved adapter in this base model, in the run's precision."""
        from gelora_cli.methods import load_adapter

        model = load_adapter(base.model, directory / rundir.ADAPTER).to(self.accelerator.device)
        prepared: nn.Module = self.accelerator.prepare_model(model, evaluation_mode=True)
        return prepared


class EpochInputs:
    """The model's inputs of the first epoch's global batches, or of larger ones of `tokens`, made when asked for."""

    def __init__(
        self, split: EncodedSplit, settings: TrainSettings, pad_token_id: int, device: torch.device, tokens: int = 0
    ) -> None:
        examples = max(settings.batch_size, -(-tokens // int(split.lengths.mean())))
        self.batches = epoch_batches(split.lengths, examples, settings.seed, 1)
        self.split, self.pad_token_id, self.device = split, pad_token_id, device

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        from gelora_cli.data.collate import collate

        for rows in self.batches:
            yield collate(self.split, rows, self.pad_token_id, self.device).inputs


def _profiles(config: RunConfig) -> bool:
    """Whether this run's plan needs a profile that is measured or there."""
    return config.ranks.path is None and needs_profile(config.method.name, parse_budget(config.budget))


def _open_session(prepared: Prepared, log: Path | None) -> _Session:
    from gelora_cli.runtime import device_name, make_accelerator

    accelerator = make_accelerator(prepared.precision)
    setup_logging(log, main=accelerator.is_main_process)
    config = prepared.config
    LOGGER.info("%s on %s", prepared.model.source, device_name(accelerator.device))
    shown = (config.task.name, config.method.name, _budget_name(config) or EXEMPT_BUDGET, config.seed)
    LOGGER.info("task %s, method %s, budget %s, seed %d", *shown)
    LOGGER.info("precision %s, processes %d", prepared.precision, accelerator.num_processes)
    for split in prepared.splits.values():
        if isinstance(split, TextSplit) and split.note:
            LOGGER.info("%s: %s", split.name, split.note)
    return _Session(prepared, accelerator)


def _close_session(session: _Session, directory: Path) -> None:
    """Write the seconds and the peak memory (the largest of all processes) to run.json."""
    import torch

    from gelora_cli.runtime import gather_rows, peak_bytes

    device = session.accelerator.device
    peaks = gather_rows(session.accelerator, torch.tensor([peak_bytes(device)], device=device))
    if session.accelerator.is_main_process:
        manifest = read_artifact(RunManifest, directory / RunManifest.FILE)
        seconds = {stage: round(value, 3) for stage, value in session.seconds.items()}
        rundir.write_artifact(replace(manifest, seconds=seconds, peak_bytes=int(peaks.max())), directory)


def _profile_for(session: _Session, *, anew: bool = False) -> tuple[IdProfile, bool]:
    """The shared profile and whether it was there before; one process decides, all measure, the main one writes."""
    prepared = session.prepared
    directory = _profile_directory(prepared, prepared.fingerprints)
    path = directory / IdProfile.FILE
    if not session.accelerator.is_main_process:
        there = _heard()
        if not there:
            _measure(session, directory)
        session.accelerator.wait_for_everyone()
        return read_artifact(IdProfile, path), there
    rundir.create(directory)
    with rundir.waiting_lock(directory, "the profile", lambda: _tell(None)):
        there = not anew and _whole_profile(path)
        _tell(there)
        if not there:
            found = _measure(session, directory)
            plot_profile(found, directory / "profile.png")
            rundir.write_artifact(found, directory)
            StateStore(directory).clear()
    session.accelerator.wait_for_everyone()
    found = read_artifact(IdProfile, path)
    LOGGER.info("profile %s: %s", "reused" if there else f"measured in {found.seconds:.1f} s", path)
    return found, there


def _tell(there: bool | None) -> None:
    """Tell the other processes whether the profile is there; None while another run measures it.

    They hear of it every second, so that a long wait is no silence that ends a process group by its timeout.
    """
    from accelerate.utils import broadcast_object_list

    broadcast_object_list([there])


def _heard() -> bool:
    """What the main process tells in the end."""
    from accelerate.utils import broadcast_object_list

    while (there := broadcast_object_list([None])[0]) is None:
        pass
    return bool(there)


def _whole_profile(path: Path) -> bool:
    """Whether there is a profile that can be read; a damaged one is named in the log, and measured again."""
    try:
        return path.exists() and bool(read_artifact(IdProfile, path))
    except GeloraError as error:
        LOGGER.warning("measured again: %s", error)
        return False


def _measure(session: _Session, directory: Path) -> IdProfile:
    from gelora_cli.models import block_modules
    from gelora_cli.profiling import measure

    config, prepared, loaded = session.config, session.prepared, session.loaded
    train = prepared.splits["train"]
    rows = draw_rows(len(train), config.profile.max_examples, config.profile.seed)
    start = time.perf_counter()
    measured = measure(
        loaded.model,
        block_modules(loaded.model, loaded.map),
        _sample(session.encode(train.take(rows)), config),
        _profile_settings(config),
        batch_size=config.profile.batch_size,
        pad_token_id=session.pad_token_id,
        accelerator=session.accelerator,
        store=StateStore(directory),
    )
    return measured.profile(
        model=prepared.model_name,
        model_fingerprint=prepared.model.fingerprint,
        task=config.task.name,
        data_fingerprint=train.fingerprint(),
        settings=_profile_settings(config),
        examples_seen=len(train),
        model_map=loaded.map if train.labels is not None else replace(loaded.map, head_modules=(), head_params=0),
        seconds=round(time.perf_counter() - start, 3),
    )


def _sample(split: EncodedSplit, config: RunConfig) -> EncodedSplit:
    """At most `profile.max_examples` sequences: of question answering one for each of the drawn windows."""
    return split.take(draw_rows(len(split), config.profile.max_examples, config.profile.seed))


def _profile_settings(config: RunConfig) -> ProfileSettings:
    given, windows = config.profile, config.task.kind == "question_answering"
    return ProfileSettings(
        pooling=given.pooling,
        estimator=given.estimator,
        discard=given.discard,
        max_examples=given.max_examples,
        max_length=config.task.max_length,
        seed=given.seed,
        stride=config.task.stride if windows else None,
        max_question_length=config.task.max_question_length if windows else None,
    )


def _plan(session: _Session, saved: IdProfile | None) -> RankPlan:
    """The method's plan, from the profile where it needs one; or a saved plan once it is seen to fit this model."""
    config, model_map = session.config, session.loaded.map
    if config.ranks.path is not None:
        return saved_plan(Path(config.ranks.path), model_map)
    # The profile is that of the model at hand, but it may have been measured under another task's head.
    own = saved and replace(saved, model_map=model_map)
    return plan_method(model_map, own, parse_budget(config.budget), **plan_settings(config))


def saved_plan(path: Path, model_map: ModelMap) -> RankPlan:
    """The plan in a `ranks.json` or a run directory, checked against the model's modules.

    Raises:
        GeloraError: no such plan, or one for another model.
    """
    plan = read_artifact(RankPlan, path / RankPlan.FILE if path.is_dir() else path)
    known = {linear.name for block in model_map.blocks for linear in block.linears}
    unknown = sorted(set(plan.rank_pattern) - known)
    if unknown:
        raise GeloraError(f"ranks.path={path} is a plan for another model: no module {unknown[0]} here. Plan again.")
    return replace(plan, head_params=model_map.head_params)


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
    session: _Session, attached: Attached, train: EncodedSplit, directory: Path, stop: StopRequest
) -> tuple[TrainResult, list[Judged]]:
    """Fine-tune, and the selected epoch's predictions on each reported split."""
    from gelora_cli.checkpoint import Checkpoints
    from gelora_cli.train import fine_tune

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
    session: _Session, attached: Attached, stop: StopRequest, record: Callable[[dict[str, Any]], None]
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


def _tracker(session: _Session, attached: Attached) -> Tracker:
    """The tracker on the probe: rows of the train split drawn with the profile's seed, whatever part trains."""
    from gelora_cli.data.collate import collate
    from gelora_cli.methods.base import plain_model
    from gelora_cli.models import block_modules
    from gelora_cli.profiling import pooled_states
    from gelora_cli.tracking import Tracker, probe_places
    from gelora_cli.twonn import estimate_idim

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


def _save_and_reload(session: _Session, attached: Attached, directory: Path) -> ReloadCheck:
    """Save the adapter, load it into a fresh base model, and compare scores on 64 examples.

    They must be nearer to the trained model's than half of what the adapter changes, which is measured too: by the base
    model with the trained head alone.

    Raises:
        RunError: other scores, or an adapter that changes nothing.
    """
    with session.timed("reload"):
        if session.accelerator.is_main_process:
            with rundir.writing(directory / rundir.ADAPTER):
                attached.save(directory / rundir.ADAPTER)
        session.accelerator.wait_for_everyone()
        split = session.prepared.splits[session.config.task.eval_splits[0]]
        probe = session.encode(split.take(draw_rows(len(split), RELOAD_EXAMPLES, 0)))
        trained = session.scores(attached.model, probe)
        fresh = session.fresh_model()
        base = session.scores(_with_head(fresh, attached), probe)
        again = session.scores(session.with_adapter(fresh, directory), probe)
    difference, effect = float(abs(again - trained).max()), float(abs(base - trained).max())
    tolerance = 1e-4 * max(1.0, float(abs(trained).max()))
    empty = attached.ranks()[1] == 0  # a pruning method may have nothing left, which is then all there is to reload
    passed = difference <= tolerance if empty else difference <= min(tolerance, effect / 2) and effect > 0
    check = ReloadCheck(len(probe), difference, tolerance, effect, passed)
    if not passed:
        reason = "the reloaded adapter gives other scores" if effect else "the adapter changes nothing"
        raise RunError(f"reload check: {reason} ({check}). The adapter in {directory} is not to be used.")
    LOGGER.info("reload check: largest difference %.2g, without the adapter %.2g", difference, effect)
    return check


def _with_head(fresh: LoadedModel, attached: Attached) -> nn.Module:
    """The base model with the trained head."""
    from gelora_cli.methods.base import head_state

    fresh.model.load_state_dict(head_state(attached.model, fresh.map.head_modules), strict=False)
    return fresh.model


def _result(
    session: _Session,
    plan: RankPlan,
    saved: IdProfile | None,
    reused: bool,
    trained: TrainResult,
    check: ReloadCheck,
) -> RunResult:
    from gelora_cli.train import best_epoch

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
    )


def _reported(parts: Parts, results: Sequence[EvalResult]) -> tuple[EvalResult, ...]:
    return tuple(result for result in results if result.split in parts.reported)


def _write_result(directory: Path, session: _Session, result: RunResult, plan: RankPlan, judged: list[Judged]) -> None:
    lines = "".join(rundir.json_text(row) + "\n" for found in judged for row in found.rows)
    rundir.write_atomic(directory / rundir.PREDICTIONS, lines)
    for name in judged[0].files:
        content = {key: value for found in judged for key, value in found.files[name].items()}
        rundir.write_atomic(directory / name, rundir.json_text(content, indent=1) + "\n")
    rundir.write_artifact(result, directory)
    if moments := read_track(directory / rundir.METRICS):
        plot_track(moments, result, directory / rundir.TRACK)
    facts = card_facts(directory, session.prepared, session.loaded.key_mapping)
    rundir.write_atomic(directory / rundir.CARD, model_card(result, plan, facts))


def card_facts(directory: Path, prepared: Prepared, key_mapping: dict[str, str] | None) -> CardFacts:
    """What the card of a run says of its surroundings."""
    model = prepared.config.model
    return CardFacts(
        config=prepared.config,
        command=read_artifact(RunManifest, directory / RunManifest.FILE).command,
        base=model.path or model.hub or prepared.model.source,
        peft=(directory / rundir.ADAPTER / rundir.PEFT_CONFIG).exists(),
        key_mapping=key_mapping,
        starts_from=tuple(str(ancestor.directory) for ancestor in prepared.ancestors),
    )


def _directory(prepared: Prepared, fingerprints: dict[str, str]) -> Path:
    config = prepared.config
    if config.ranks.path is not None:
        path = Path(config.ranks.path)
        plan = read_artifact(RankPlan, path / RankPlan.FILE if path.is_dir() else path)
        fingerprints = fingerprints | {"plan": repr(plan.rank_pattern)}
    return rundir.run_path(
        Path(config.runs_dir),
        task=config.task.name,
        model=config.model.name,
        method=config.method.name,
        budget=_budget_name(config),
        seed=config.seed,
        digits=identity_hash(replace(config, precision=prepared.precision), fingerprints),
    )


def _budget_name(config: RunConfig) -> str | None:
    """The canonical budget; None of a method that is exempt from it."""
    return None if config.method.name in EXEMPT else parse_budget(config.budget).name


def _profile_directory(prepared: Prepared, fingerprints: dict[str, str]) -> Path:
    digits = profile_hash(prepared.config, fingerprints["model"], fingerprints["train"])
    return rundir.profile_path(Path(prepared.config.runs_dir), digits)


def _resolve_model(config: RunConfig) -> tuple[ResolvedModel, tuple[Ancestor, ...]]:
    """The model that a run starts from, and the earlier runs that are merged into its base for it."""
    model = config.model
    base = resolve_model(
        hub=model.hub, path=model.path, revision=model.revision, package=model.package, sha256=model.sha256
    )
    return find_lineage(base, config.init_from)


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

    from gelora_cli.runtime import device_name, git_commit, versions

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
    )


def _end_manifest(directory: Path, status: str, error: str | None) -> None:
    manifest = read_artifact(RunManifest, directory / RunManifest.FILE)
    rundir.write_artifact(replace(manifest, status=status, updated=rundir.now(), error=error), directory)


def _work_or_launch(arguments: list[str], processes: int, work: Callable[[], None]) -> None:
    """Work in this process, or start N workers; where an outer launcher already did, this one leads them."""
    from gelora_cli.runtime import offline_workers, share_of_cores

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
    return read_config(directory / rundir.CONFIG)


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
