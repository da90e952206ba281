"""The signals that a plan needs, such as the idim profile: each measured once, shared by all runs with equal inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TypeVar, cast

from gelora_cli.allocation.base import IDIM, SignalArtifact, total_operations
from gelora_cli.config.complete import complete
from gelora_cli.config.files import write_config
from gelora_cli.config.keys import declared_keys
from gelora_cli.config.schema import ProfileConfig, RunConfig
from gelora_cli.core import run_files
from gelora_cli.core.artifacts.profile import IdProfile
from gelora_cli.core.codec import from_json, read_artifact, to_json, write_artifact
from gelora_cli.core.directories import check_files, create_directory
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.files import write_atomic
from gelora_cli.core.locks import wait_for_lock
from gelora_cli.core.logs import LOGGER
from gelora_cli.core.memory import translate_oom
from gelora_cli.core.messages import first_line, join_names, quote
from gelora_cli.core.registries import SIGNALS
from gelora_cli.data.splits import sha256_of
from gelora_cli.geometry.states import StateStore
from gelora_cli.launchers.signals import handle_signals
from gelora_cli.models.recompute import recomputing
from gelora_cli.models.tokenizer import special_ids
from gelora_cli.pipeline.dispatch import work_or_launch
from gelora_cli.pipeline.inputs import ResolvedInputs, resolve_inputs
from gelora_cli.pipeline.locations import load_valid_signal, signal_directory
from gelora_cli.pipeline.session import Session, open_session
from gelora_cli.plots.base import RunData, write_run_pictures
from gelora_cli.signals.base import Signal, SignalContext

ArtifactT = TypeVar("ArtifactT", bound=SignalArtifact)

NOT_COLLECTED = (run_files.LOCK, run_files.CONFIG, run_files.LOG)
"""Files of a shared directory that belong to it alone."""


@dataclass(frozen=True)
class MeasuredSignals:
    """The signals that a run's plan reads.

    Attributes:
        artifacts: the signals, by name.
        reused: whether all of them had been measured before.
        config: the resolved configuration that they belong to.
    """

    artifacts: Mapping[str, SignalArtifact]
    reused: bool
    config: RunConfig

    @property
    def profile(self) -> IdProfile | None:
        """Return the idim profile, where the plan reads it."""
        return cast("IdProfile | None", self.artifacts.get(IDIM))

    @property
    def seconds(self) -> float:
        """Return the seconds of all the measurements."""
        return sum((artifact.seconds for artifact in self.artifacts.values()), 0.0)

    @property
    def operations(self) -> int | None:
        """Return the floating-point operations of all the measurements; None where one of them has no count."""
        return total_operations(self.artifacts.values())


def measure_signals(config: RunConfig, names: Sequence[str]) -> tuple[Path, MeasuredSignals]:
    """Measure the shared signals of a model and a task that are not there already, with one model for all.

    Of the data only the training rows are looked at, and of `task=text` labels that are missing or wrong are left out
    unless a signal needs them.

    Args:
        config: the composed configuration.
        names: the signals, each once.

    Returns:
        A directory with the files of all of them, and the signals. The directory is the shared one of a single signal;
        of several it holds copies of their files.

    Raises:
        GeloraError: what is wrong with model or data, before any work.
    """
    inputs = resolve_inputs(complete(config), signals=names)
    shared = {name: signal_directory(SIGNALS.get(name), inputs, inputs.fingerprints) for name in names}
    directory = collection_directory(shared)
    for path in {directory, *shared.values()}:
        create_directory(path)
        check_files(path)  # before config.yaml is written below: nothing of another program's is overwritten
    saved = {name: load_valid_signal(SIGNALS.get(name), path) for name, path in shared.items()}
    reused = not inputs.config.force and None not in saved.values()
    if reused:
        for name, path in shared.items():
            with wait_for_lock(path, f"the {SIGNALS.get(name).title}"):
                StateStore(path).clear()  # left by a process that was killed after the artifact was written
    else:
        write_config(inputs.config, directory / run_files.CONFIG)  # workers read their configuration from here
        arguments, processes = ["profile", str(directory), *names], inputs.config.launch.processes
        work_or_launch(arguments, processes, lambda: work_signals(directory, inputs, names))
    if len(names) > 1:
        collect_signals(shared, directory)
    artifacts = {name: read_artifact(SIGNALS.get(name).artifact, directory / _file(name)) for name in names}
    return directory, MeasuredSignals(artifacts, reused, inputs.config)


def work_signals(directory: Path, inputs: ResolvedInputs, names: Sequence[str]) -> None:
    """Measure signals in every process; `directory` gets the log."""
    with handle_signals(), translate_oom():
        session = open_session(inputs, directory / run_files.LOG)
        shared_signals(session, names, from_scratch=inputs.config.force)
        session.accelerator.wait_for_everyone()


def collection_directory(shared: Mapping[str, Path]) -> Path:
    """Return the directory with the files of these signals: that of a single one, else one that is named by all."""
    paths = sorted(shared.values())
    if len(paths) == 1:
        return paths[0]
    return paths[0].parent / sha256_of([path.name for path in paths])[:16]


def collect_signals(shared: Mapping[str, Path], directory: Path) -> None:
    """Copy the files of several signals, with their pictures, into one directory; equal files are left alone."""
    with wait_for_lock(directory, "the directory of the signals"):
        for name, path in shared.items():
            files = [file for file in path.iterdir() if file.is_file() and file.name not in NOT_COLLECTED]
            # The artifact last: a directory with the artifact is complete.
            for file in sorted(files, key=lambda file: file.name == _file(name)):
                target, content = directory / file.name, file.read_bytes()
                if not target.is_file() or target.read_bytes() != content:
                    write_atomic(target, content)


def _file(name: str) -> str:
    """Return the name of the file of a signal."""
    file: str = SIGNALS.get(name).artifact.FILE
    return file


def shared_signals(session: Session, names: Sequence[str], *, from_scratch: bool = False) -> MeasuredSignals:
    """Return signals, measured now where no command has measured them before."""
    warn_unread(session.config, names)
    artifacts: dict[str, SignalArtifact] = {}
    reused = True
    for name in names:
        signal = SIGNALS.get(name)
        LOGGER.info("%s: %s", signal.title, signal.description)
        artifacts[name], was_reused = shared_signal(session, signal, from_scratch=from_scratch)
        reused = reused and was_reused
    return MeasuredSignals(artifacts, reused and bool(artifacts), session.config)  # nothing measured: nothing reused


def warn_unread(config: RunConfig, names: Sequence[str]) -> None:
    """Warn of the keys of `profile.` that no measurement reads, in one line."""
    if unread := unread_keys(config, names):
        LOGGER.warning("%s: of no effect; %s reads other keys", ", ".join(unread), join_names(names))


def unread_keys(config: RunConfig, names: Sequence[str]) -> list[str]:
    """Return the keys of `profile.` that have another value than their default, and that no measurement reads."""
    measured = {*names, IDIM} if config.profile.track else set(names)  # tracking measures idim, too
    read = {setting for name in measured for setting in SIGNALS.get(name).settings}
    own = [key for key in declared_keys(ProfileConfig, prefix="profile.") if not key.last.startswith("track")]
    changed = [key for key in own if key.value_in(config) != key.default]
    return [f"{key.name}={key.value_in(config)}" for key in changed if names and key.name not in read]


def shared_signal(session: Session, signal: Signal[ArtifactT], *, from_scratch: bool = False) -> tuple[ArtifactT, bool]:
    """Return the shared artifact of a signal, and whether it had been measured before.

    The main process holds the lock, decides and writes; all processes measure.
    """
    inputs = session.inputs
    directory = signal_directory(signal, inputs, inputs.fingerprints)
    path = directory / signal.artifact.FILE
    if not session.accelerator.is_main_process:
        reused = _await_announcement()
        if not reused:
            _measure(session, signal, signal_context(session, directory))
        session.accelerator.wait_for_everyone()
        return read_artifact(signal.artifact, path), reused
    create_directory(directory)
    with wait_for_lock(directory, f"the {signal.title}", lambda: _announce(None)):
        # Decided under the lock: the run that this one waited for may have measured the signal.
        reused = not from_scratch and load_valid_signal(signal, directory) is not None
        _announce(reused)
        if not reused:
            context = signal_context(session, directory)
            artifact = _measure(session, signal, context)
            if "operations" in getattr(artifact, "__dataclass_fields__", ()):
                artifact = replace(artifact, operations=signal.operations(context))
            _check_measured(signal, artifact)
            measured = MeasuredSignals({signal.name: artifact}, reused=False, config=session.config)
            write_run_pictures(directory, RunData(profile=measured.profile, signals=measured.artifacts))
            write_artifact(artifact, directory)  # last: a directory with the artifact is complete
        StateStore(directory).clear()  # also what a process left that was killed after the artifact was written
    session.accelerator.wait_for_everyone()
    artifact = read_artifact(signal.artifact, path)
    LOGGER.info("%s %s: %s", signal.title, "reused" if reused else f"measured in {artifact.seconds:.1f} s", path)
    return artifact, reused


def _check_measured(signal: Signal[ArtifactT], artifact: object) -> None:
    """Refuse what a later run could not read again.

    Raises:
        GeloraError: it is no artifact of this signal, or a value is of another type than it declares.
    """
    if not isinstance(artifact, signal.artifact):
        expected = signal.artifact.__name__
        raise GeloraError(f"{signal.title}: measure() returned {quote(artifact)}; accepted: an object of {expected}")
    try:
        from_json(signal.artifact, to_json(artifact), f"what {signal.title} measured")
    except (TypeError, ValueError) as error:
        raise GeloraError(
            f"{signal.title}: what it measured can't be written as JSON: {first_line(error)}. Take Python's own "
            "numbers, such as float(value), and no NaN"
        ) from error


def _measure(session: Session, signal: Signal[ArtifactT], context: SignalContext) -> ArtifactT:
    """Return what a signal measures, with the memory that `train.gradient_checkpointing` leaves to gradients."""
    with recomputing(session.recomputed_blocks()):
        return signal.measure(context)


def _announce(reused: bool | None) -> None:
    """Tell the other processes whether the signal is there; None while another run measures it.

    They hear of it every second, so that a long wait is no silence that ends a process group by its timeout.
    """
    from accelerate.utils import broadcast_object_list

    broadcast_object_list([reused])


def _await_announcement() -> bool:
    """Return what the main process announces once it holds the lock."""
    from accelerate.utils import broadcast_object_list

    while (reused := broadcast_object_list([None])[0]) is None:
        pass
    return bool(reused)


def signal_context(session: Session, directory: Path) -> SignalContext:
    """Return what a signal may measure of this session; the clock of its seconds starts here."""
    config, inputs, loaded = session.config, session.inputs, session.loaded
    train = inputs.splits["train"]
    has_head = train.labels is not None  # without labels nothing says how large a head is
    return SignalContext(
        model=loaded.model,
        model_map=loaded.map if has_head else replace(loaded.map, head_modules=(), head_params=0),
        model_name=inputs.model_name,
        task=config.task,
        profile=config.profile,
        fingerprints={"model": inputs.model.fingerprint, "train": train.fingerprint()},
        rows=len(train),
        examples=cache(session.profile_split),  # encoded once, also where the operations are counted
        pad_token_id=session.pad_token_id,
        accelerator=session.accelerator,
        store=StateStore(directory),
        special_ids=special_ids(session.tokenizer),
        head=session.profile_head,
        loss=session.signal_loss if has_head else None,
        dtype=config.model.dtype,
    )
