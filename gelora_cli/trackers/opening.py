"""The trackers of one training: JSON lines always, and those that the configuration names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from gelora_cli.config.schema import JSON_LINES, TrackerConfig
from gelora_cli.core import run_files
from gelora_cli.core.errors import GeloraError, StoppedError
from gelora_cli.core.logs import LOGGER
from gelora_cli.core.messages import quote
from gelora_cli.core.plugins import describe_error
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

    Raises:
        GeloraError: what a tracker opens is no tracker.
    """
    with ExitStack() as open_ones:
        trackers: list[Tracker] = []
        settings = {JSON_LINES: TrackerConfig.of(JSON_LINES), **chosen} if is_main_process else {}
        for name, keys in settings.items():
            tracker = TRACKERS.get(name).open(directory, keys)
            if name != JSON_LINES:  # a training whose `metrics.jsonl` can't be written must not go on
                tracker = GuardedTracker(name, tracker)
            open_ones.callback(tracker.close)
            trackers.append(tracker)
        yield trackers


class GuardedTracker:
    """Passes lines on to a tracker until that fails, since a training is worth more than a further copy of its lines.

    Raises:
        GeloraError: what was opened has no `log` or no `close`.
    """

    def __init__(self, name: str, tracker: Tracker) -> None:
        missing = [method for method in ("log", "close") if not callable(getattr(tracker, method, None))]
        if missing:
            raise GeloraError(f"tracker {name}: open() returned {quote(tracker)}, which has no {missing[0]}(); add it")
        self._name, self._tracker = name, tracker
        self._failed = False

    def log(self, values: Mapping[str, Any]) -> None:
        """Pass a line on, unless the tracker failed before."""
        if self._failed:
            return
        try:
            self._tracker.log(dict(values))  # a copy, so that a tracker can't change the line of the next one
        except StoppedError:  # a signal, not a fault of the tracker
            raise
        except (Exception, SystemExit) as error:
            self._failed = True
            self._warn("gets no further lines", error)

    def close(self) -> None:
        """Close the tracker, also one that failed."""
        try:
            self._tracker.close()
        except StoppedError:
            raise
        except (Exception, SystemExit) as error:
            self._warn("may lack its last lines", error)

    def _warn(self, consequence: str, error: BaseException) -> None:
        described = describe_error(error)
        LOGGER.warning("tracker %s %s: %s. %s has them all", self._name, consequence, described, run_files.METRICS)
        LOGGER.debug("where that comes from", exc_info=error)  # in log.txt alone
