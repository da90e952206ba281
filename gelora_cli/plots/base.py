"""What a picture is: of one run, drawn into its directory, or of many, drawn for a report; no torch.

A picture is one file with a subclass of `RunPicture` or `ReportPicture`, named in `core.registries`, or in a folder of
plug-ins.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from gelora_cli.allocation.base import SignalArtifact
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.artifacts.profile import IdProfile
from gelora_cli.core.artifacts.result import RunResult
from gelora_cli.core.errors import StoppedError
from gelora_cli.core.files import write_atomic
from gelora_cli.core.logs import LOGGER
from gelora_cli.core.plugins import describe_error
from gelora_cli.core.registries import REPORT_PICTURES, RUN_PICTURES
from gelora_cli.plots.style import figure_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from gelora_cli.report.rows import Row


@dataclass(frozen=True, kw_only=True)
class RunData:
    """What is known of a run when its pictures are drawn; what it does not have (yet) is None or empty.

    `signals` are those that its plan reads, by name, the idim profile among them; `metrics` are the lines of
    `metrics.jsonl`.
    """

    profile: IdProfile | None = None
    signals: Mapping[str, SignalArtifact] = field(default_factory=dict)
    plan: RankPlan | None = None
    result: RunResult | None = None
    metrics: Sequence[dict[str, Any]] = ()


class RunPicture(ABC):
    """A picture of one run, `NAME.png` in its directory.

    Attributes:
        name: the name of the file, without its ending.
        after_training: whether it is drawn once a run has its result, or as soon as it has its plan.
        caption: what is to be seen, for the report of a single run.
    """

    name: str
    after_training: ClassVar[bool] = False
    caption: ClassVar[str] = ""

    @abstractmethod
    def draw(self, run: RunData) -> Figure | None:
        """Draw a run, or return None where it does not have what this picture shows."""


class ReportPicture(ABC):
    """A kind of picture over the rows of a report; `name` begins the names of its files, `NAME-1.png`."""

    name: str

    @abstractmethod
    def draw(self, rows: Sequence[Row]) -> Iterator[Picture]:
        """Draw as many pictures as the rows need, and none where they have no data for it."""


@dataclass(frozen=True)
class Picture:
    """A figure of a report.

    Attributes:
        name: that of its files.
        title: what it is.
        caption: says in words what is to be seen.
        figure: what is drawn.
        tips: the text that the page shows for a mark that is pointed at, by the artist's gid, such as `mark-3`.
        task: the task that it is of, by which the page filters; empty where it is of several.
        budget: the budget that it is of; empty where it is of several.
    """

    name: str
    title: str
    caption: str
    figure: Figure
    tips: Mapping[str, str] = field(default_factory=dict)
    task: str = ""
    budget: str = ""

    def png(self) -> bytes:
        """Return it as PNG; equal figures give equal bytes."""
        return figure_bytes(self.figure, "png")

    def svg(self) -> bytes:
        """Return it as SVG; equal figures give equal bytes."""
        return figure_bytes(self.figure, "svg", salt=self.name)

    def pdf(self) -> bytes:
        """Return it as PDF; equal figures give equal bytes."""
        return figure_bytes(self.figure, "pdf")


def write_run_pictures(directory: Path, run: RunData, *, after_training: bool = False) -> None:
    """Write every picture that applies to a run into its directory.

    A picture that can't be drawn is a warning: nothing else of the run depends on it, and the training may be done.

    Args:
        directory: where `NAME.png` is written.
        run: what is known of the run now.
        after_training: draw the pictures that wait for the result; otherwise those that need no training.
    """
    for name in RUN_PICTURES.names():
        picture = RUN_PICTURES.get(name)
        if picture.after_training != after_training:
            continue
        try:
            figure = picture.draw(run)
            content = None if figure is None else figure_bytes(figure, "png")
        except StoppedError:  # a signal, not a fault of the picture
            raise
        except (Exception, SystemExit) as error:
            LOGGER.warning("the picture %s.png is left out: %s", name, describe_error(error))
            LOGGER.debug("where that comes from", exc_info=error)  # in log.txt alone
            continue
        if content is not None:
            write_atomic(directory / f"{name}.png", content)


def report_pictures(rows: Sequence[Row]) -> Iterator[Picture]:
    """Return every picture that these rows have data for, one kind after the other.

    Those of a kind that can't be drawn are left out with a warning, since tables and tests don't depend on them.
    """
    for name in REPORT_PICTURES.names():
        try:
            yield from REPORT_PICTURES.get(name).draw(rows)
        except StoppedError:  # a signal, not a fault of the picture
            raise
        except Exception as error:
            LOGGER.warning("pictures %s-N are left out: %s", name, describe_error(error))
            LOGGER.debug("where that comes from", exc_info=error)
