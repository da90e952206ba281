"""The profile of a model and a task: measured once, shared by all runs that need it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from gelora_cli.config.complete import complete
from gelora_cli.config.files import write_config
from gelora_cli.config.schema import RunConfig
from gelora_cli.core import run_files
from gelora_cli.core.artifacts.profile import IdProfile
from gelora_cli.core.codec import read_artifact, write_artifact
from gelora_cli.core.directories import check_files, create_directory
from gelora_cli.core.locks import wait_for_lock
from gelora_cli.core.logs import LOGGER
from gelora_cli.core.memory import translate_oom
from gelora_cli.geometry.states import StateStore
from gelora_cli.launchers.signals import handle_signals
from gelora_cli.pipeline.dispatch import work_or_launch
from gelora_cli.pipeline.inputs import ResolvedInputs, load_valid_profile, profile_directory, resolve_inputs
from gelora_cli.pipeline.session import Session, open_session
from gelora_cli.pipeline.stage_settings import profile_settings
from gelora_cli.plots.base import RunData, write_run_pictures


def profile(config: RunConfig) -> tuple[Path, IdProfile]:
    """Measure the shared profile of this model and task, unless it is there already.

    Nothing but the text of training is looked at: of `task=text` labels that are missing or wrong are left out.
    """
    inputs = resolve_inputs(complete(config), require_labels=False)
    directory = profile_directory(inputs, inputs.fingerprints)
    create_directory(directory)
    check_files(directory)
    if inputs.config.force or not load_valid_profile(directory / IdProfile.FILE):
        write_config(inputs.config, directory / run_files.CONFIG)
        processes = inputs.config.launch.processes
        work_or_launch(["profile", str(directory)], processes, lambda: work_profile(directory, inputs))
    else:
        with wait_for_lock(directory, "the profile"):
            StateStore(directory).clear()  # of a process that was killed when the profile was whole
    return directory, read_artifact(IdProfile, directory / IdProfile.FILE)


def work_profile(directory: Path, inputs: ResolvedInputs) -> None:
    """Measure the profile, in every process."""
    with handle_signals(), translate_oom():
        session = open_session(inputs, directory / run_files.LOG)
        shared_profile(session, from_scratch=inputs.config.force)
        session.accelerator.wait_for_everyone()


def shared_profile(session: Session, *, from_scratch: bool = False) -> tuple[IdProfile, bool]:
    """Return the shared profile and whether it was there; one process decides, all measure, the main one writes."""
    inputs = session.inputs
    directory = profile_directory(inputs, inputs.fingerprints)
    path = directory / IdProfile.FILE
    if not session.accelerator.is_main_process:
        there = _await_announcement()
        if not there:
            _measure(session, directory)
        session.accelerator.wait_for_everyone()
        return read_artifact(IdProfile, path), there
    create_directory(directory)
    with wait_for_lock(directory, "the profile", lambda: _announce(None)):
        there = not from_scratch and load_valid_profile(path) is not None
        _announce(there)
        if not there:
            found = _measure(session, directory)
            write_run_pictures(directory, RunData(profile=found))
            write_artifact(found, directory)
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
    """Return what the main process tells in the end."""
    from accelerate.utils import broadcast_object_list

    while (there := broadcast_object_list([None])[0]) is None:
        pass
    return bool(there)


def _measure(session: Session, directory: Path) -> IdProfile:
    """Measure the idim of every layer on the profile's rows, in every process."""
    from gelora_cli.geometry.profiling import measure
    from gelora_cli.models.block_map import block_modules

    config, inputs, loaded = session.config, session.inputs, session.loaded
    train = inputs.splits["train"]
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
        model=inputs.model_name,
        model_fingerprint=inputs.model.fingerprint,
        task=config.task.name,
        data_fingerprint=train.fingerprint(),
        settings=profile_settings(config),
        examples_seen=len(train),
        model_map=loaded.map if train.labels is not None else replace(loaded.map, head_modules=(), head_params=0),
        seconds=round(store.seconds, 3),
    )
