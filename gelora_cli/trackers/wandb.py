"""Weights & Biases, online or offline. Its key comes from its own login or `WANDB_API_KEY`, never from gelora."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gelora_cli.config.keys import key
from gelora_cli.config.schema import TrackerConfig
from gelora_cli.core.registries import TRACKERS
from gelora_cli.trackers.base import DONE, TrackedRun, Tracker, TrackerKind, metric_values


@dataclass
class WandbConfig(TrackerConfig):
    """The keys of `tracker=wandb`."""

    project: str = key("gelora", help="the project that its runs stand in")
    entity: str | None = key(None, help="the user or team of the project; null: that of the login")
    group: str | None = key(None, help="the group of the run; null: its task and model")
    mode: str | None = key(
        None, help="offline writes files for `wandb sync`; null: WANDB_MODE, or online", choices=("online", "offline")
    )
    directory: str | None = key(None, help="where its folder wandb/ is; null: the working directory", path=True)


class WandbTracker(Tracker):
    """Writes to one run of Weights & Biases, whose steps are those of the training."""

    def __init__(self, settings: WandbConfig) -> None:
        import wandb

        self.wandb, self.settings = wandb, settings
        self.run: Any = None
        self.state = ""
        self.step = 0

    def start(self, run: TrackedRun) -> str:
        """Begin the run, or continue the one of this id."""
        settings = self.settings
        self.run = self.wandb.init(
            project=settings.project,
            entity=settings.entity,
            group=settings.group or run.group,
            id=run.id,
            name=run.name,
            resume="allow",
            mode=settings.mode,
            dir=settings.directory,
            # A later attempt may have other values of keys that change no number.
            config=dict(run.parameters),
            allow_val_change=True,
            settings=self.wandb.Settings(console="off", program="gelora", disable_code=True),
        )
        return self.run.url or f"wandb sync {Path(self.run.dir).parent}"

    def log(self, values: Mapping[str, Any]) -> None:
        """Write the numbers of a line at its step; lines of one step become one row."""
        self.step = values["step"]
        self.run.log({**metric_values(values), "epoch": values["epoch"]}, step=self.step)

    def picture(self, path: Path) -> None:
        """Upload a picture."""
        self.run.log({f"pictures/{path.stem}": self.wandb.Image(str(path))}, step=self.step)

    def end(self, state: str, result: Mapping[str, float]) -> None:
        """Write the final values into the summary."""
        self.state = state
        self.run.summary.update(dict(result))

    def close(self) -> None:
        """Write what is not written yet, and say whether the run succeeded."""
        if self.run is not None:
            self.run.finish(exit_code=0 if self.state == DONE else 1)


@TRACKERS.register
class Wandb(TrackerKind[WandbConfig]):
    """Weights & Biases, online or offline; `wandb login` first."""

    name = "wandb"
    config_class = WandbConfig
    library = "wandb"

    def open(self, directory: Path, settings: WandbConfig) -> Tracker:
        """Return a tracker that begins its run when it is told which it is."""
        return WandbTracker(settings)
