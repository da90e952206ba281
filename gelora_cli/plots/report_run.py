"""`run-NAME`: the pictures of a single run, where a report is of one: also as SVG and PDF, without titles; no torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from gelora_cli.allocation.base import IDIM, SignalArtifact
from gelora_cli.core.registries import REPORT_PICTURES, RUN_PICTURES
from gelora_cli.plots.base import Picture, ReportPicture, RunData

if TYPE_CHECKING:
    from gelora_cli.report.rows import Row
    from gelora_cli.report.runs import Run


@REPORT_PICTURES.register
class SingleRunPicture(ReportPicture):
    """The pictures in a run's directory, drawn again from its files."""

    name = "run"

    def draw(self, rows: Sequence[Row]) -> Iterator[Picture]:
        """Draw every picture that applies to the run; none of a report of several runs."""
        runs = [run for row in rows for run in row.all_runs]
        if len(runs) != 1:
            return
        run = runs[0]
        data = _run_data(run)
        for name in RUN_PICTURES.names():
            picture = RUN_PICTURES.get(name)
            figure = picture.draw(data)
            if figure is not None:
                text = f"{run.result.task}, {run.result.model}, {run.result.method}, seed {run.result.seed}"
                caption = picture.caption or f"`{name}.png` of the run."
                yield Picture(f"run-{name}", f"{name.capitalize()}: {text}", caption, figure)


def _run_data(run: Run) -> RunData:
    """Read what pictures show of a run; of its signals the idim profile."""
    profile = run.profile()
    signals: dict[str, SignalArtifact] = {} if profile is None else {IDIM: profile}
    return RunData(profile=profile, signals=signals, plan=run.plan, result=run.result, metrics=run.metric_lines())
