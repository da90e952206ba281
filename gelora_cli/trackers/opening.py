"""The trackers of one training: JSON lines always, and those that the configuration names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from gelora_cli.config.schema import JSON_LINES, TrackerConfig
from gelora_cli.core.registries import TRACKERS
from gelora_cli.trackers.base import Tracker


@contextmanager
def open_trackers(
    directory: Path, chosen: Mapping[str, TrackerConfig], *, is_main_process: bool = True
) -> Iterator[Sequence[Tracker]]:
    """Open the trackers of a training, and close them at its end, also when it fails.

    JSON lines come first: whatever another tracker does, `metrics.jsonl` has the line already. Other processes than
    the main one log nothing, so they open none.

    Args:
        directory: the run directory.
        chosen: name of a tracker to its settings, beside JSON lines.
        is_main_process: whether this process logs.
    """
    with ExitStack() as open_ones:
        trackers: list[Tracker] = []
        settings = {JSON_LINES: TrackerConfig.of(JSON_LINES), **chosen} if is_main_process else {}
        for name, keys in settings.items():
            tracker = TRACKERS.get(name).open(directory, keys)
            open_ones.callback(tracker.close)
            trackers.append(tracker)
        yield trackers
