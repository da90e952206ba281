"""The trackers of one training: JSON lines always, and a process for each that the configuration names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from gelora_cli.config.schema import JSON_LINES, TrackerConfig
from gelora_cli.core import run_files
from gelora_cli.core.errors import StoppedError
from gelora_cli.core.logs import LOGGER
from gelora_cli.core.registries import TRACKERS
from gelora_cli.trackers.base import DONE, FAILED, STOPPED, TakesLines
from gelora_cli.trackers.process import TrackerProcess, finish_all


@contextmanager
def open_trackers(
    directory: Path, chosen: Mapping[str, TrackerConfig], *, is_main_process: bool = True
) -> Iterator[Sequence[TakesLines]]:
    """Start the trackers of a run, and end them with it, however it ends.

    The first of what is yielded writes `metrics.jsonl`, which the others read. Other processes than the main one log
    nothing, so they start no tracker.

    Args:
        directory: the run directory, with `config.yaml` and the plan.
        chosen: name of a tracker to its settings, beside JSON lines.
        is_main_process: whether this process logs.
    """
    if not is_main_process:
        yield ()
        return
    trackers: list[TrackerProcess] = []
    state = FAILED
    try:
        for name, settings in chosen.items():
            if tracker := _started(name, directory, settings):
                trackers.append(tracker)
        # A training whose `metrics.jsonl` can't be written must not go on, so that one has no guard.
        yield TRACKERS.get(JSON_LINES).open(directory, TrackerConfig.of(JSON_LINES)), *trackers
        state = DONE
    except (StoppedError, KeyboardInterrupt, SystemExit):
        state = STOPPED
        raise
    finally:
        finish_all(trackers, state)


def _started(name: str, directory: Path, settings: TrackerConfig) -> TrackerProcess | None:
    """Start a tracker; a process that can't be started is a warning."""
    try:
        return TrackerProcess(name, directory, settings.wait_seconds)
    except OSError as error:
        LOGGER.warning("tracker %s is left out: %s. %s has every line", name, error.strerror, run_files.METRICS)
        return None
