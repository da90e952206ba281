"""trackio: a local database with a dashboard, `trackio show --project gelora`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gelora_cli.config.keys import key
from gelora_cli.config.schema import TrackerConfig
from gelora_cli.core.registries import TRACKERS
from gelora_cli.trackers.base import TrackedRun, Tracker, TrackerKind, metric_values


@dataclass
class TrackioConfig(TrackerConfig):
    """The keys of `tracker=trackio`."""

    project: str = key("gelora", help="the project that its runs stand in")
    group: str | None = key(None, help="the group of the run; null: its task and model")
    directory: str | None = key(None, help="where its database is (TRACKIO_DIR); null: trackio's own place", path=True)


class TrackioTracker(Tracker):
    """Writes to trackio's database on this machine."""

    def __init__(self, settings: TrackioConfig) -> None:
        if settings.directory is not None:
            os.environ["TRACKIO_DIR"] = settings.directory  # read when trackio is imported
        import trackio

        self.trackio, self.settings = trackio, settings
        self.step = 0

    def start(self, run: TrackedRun) -> str:
        """Begin the run, or continue the one of this name."""
        self.trackio.init(
            project=self.settings.project,
            name=run.id,
            group=self.settings.group or run.group,
            config={name: value for name, value in run.parameters.items() if value is not None},
            resume="allow",
            embed=False,
            auto_log_gpu=False,  # of this process, not of the training
            auto_log_cpu=False,
        )
        place = f"TRACKIO_DIR={self.settings.directory} " if self.settings.directory else ""
        return f"{place}trackio show --project {self.settings.project}"

    def log(self, values: Mapping[str, Any]) -> None:
        """Write the numbers of a line at its step."""
        self.step = values["step"]
        self.trackio.log(metric_values(values), step=self.step)

    def picture(self, path: Path) -> None:
        """Copy a picture to the media of the run."""
        self.trackio.log({f"pictures/{path.stem}": self.trackio.Image(str(path))}, step=self.step)

    def end(self, state: str, result: Mapping[str, float]) -> None:
        """Write the final values at the last step."""
        if result:
            self.trackio.log(dict(result), step=self.step)

    def close(self) -> None:
        """Write what trackio holds."""
        self.trackio.finish()


@TRACKERS.register
class Trackio(TrackerKind[TrackioConfig]):
    """A database on this machine with a dashboard: `trackio show --project gelora`."""

    name = "trackio"
    config_class = TrackioConfig
    library = "trackio"

    def open(self, directory: Path, settings: TrackioConfig) -> Tracker:
        """Return a tracker that writes to trackio's database."""
        return TrackioTracker(settings)
