"""Whether an interrupted run can be resumed from its checkpoint with the numbers that it would have had."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from gelora_cli.config.files import read_config
from gelora_cli.config.schema import RunConfig
from gelora_cli.core import run_files
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.files import truncate_file
from gelora_cli.core.logs import LOGGER
from gelora_cli.launchers.torchrun import inside_workers

if TYPE_CHECKING:
    from gelora_cli.training.checkpoint import TrainState


def is_resumable(directory: Path, config: RunConfig) -> bool:
    """Say whether an unfinished training left a valid checkpoint; lines of metrics written after it are cut.

    Raises:
        GeloraError: it was written by another number of processes, whose random states it holds, on another kind of
            device, or with another number of CPU threads; the last resumes with `force=true`, and a warning.
    """
    from gelora_cli.core.devices import train_machine
    from gelora_cli.training.checkpoint import latest_valid_checkpoint

    state = latest_valid_checkpoint(directory)
    if state is None:
        return False
    processes = config.launch.processes
    from_scratch = f"delete {directory / run_files.CHECKPOINTS} to start from scratch."
    if state.processes != processes:
        raise GeloraError(
            f"{directory} was interrupted at step {state.step} with launch.processes={state.processes}: its checkpoint "
            f"holds the random states of those, and launch.processes={processes} would end with other numbers. Give "
            f"launch.processes={state.processes}, or {from_scratch}"
        )
    here = train_machine()
    if state.machine.split(",")[0] != here.split(",")[0]:  # the type: cpu or cuda (see `train_machine`)
        raise GeloraError(
            f"{directory} was interrupted at step {state.step} on another kind of device ({state.machine}): its "
            f"checkpoint holds that one's random states, and this one ({here}) would end with other numbers. Resume "
            f"there, or {from_scratch}"
        )
    _compare_threads(directory, state, config)
    if state.machine != here:
        LOGGER.warning("begun on %s, resumed on %s: sums may be rounded otherwise, which grows", state.machine, here)
    with suppress(GeloraError):  # a config.yaml that can't be read is written from scratch
        before, now = read_config(directory / run_files.CONFIG).profile.track, config.profile.track
        if before != now:
            LOGGER.warning("begun with profile.track=%s, resumed with %s: the trajectory has gaps", before, now)
    if config.force:
        LOGGER.info("force=true: the run is unfinished, so it resumes; %s", from_scratch.rstrip("."))
    # The steps after the checkpoint are done again, so their lines would stand in the file twice.
    truncate_file(directory / run_files.METRICS, state.metrics_bytes)
    return True


def _compare_threads(directory: Path, state: TrainState, config: RunConfig) -> None:
    """Refuse to resume with another number of CPU threads than before, which changes the last digits of sums.

    Raises:
        GeloraError: the numbers differ, without `force=true`.
    """
    from gelora_cli.core.processes import thread_settings, worker_threads

    # A GPU's sums don't depend on CPU threads; checkpoints of earlier releases don't say how many there were.
    if not state.threads or not state.machine.startswith("cpu"):
        return
    # Inside an outer launcher this process is a worker already, and computes with the threads that it has.
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
