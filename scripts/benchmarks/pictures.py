"""Pictures of docs/benchmarks.md: bars of rates, or lines of growth, from the numbers in a record."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gelora_cli.plots.style import COLORS, INK, LINES, MARKERS, as_written, head, new_figure, write_figure
from scripts.benchmarks.record import BenchmarkRecord, Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BAR_INCHES = 0.3
FRAME_INCHES = 1.4
LINES_INCHES = 3.6


def picture_name(record: BenchmarkRecord) -> str:
    """Return the file name of a record's picture."""
    return f"benchmark-{record.name}-{record.machine_kind}.png"


def draw(picture: Picture, path: Path) -> None:
    """Draw a picture into a PNG; equal pictures give equal bytes."""
    is_bars = picture.kind == "bars"
    bars = sum(len(series.values) for series in picture.series)
    figure, (axis,) = new_figure(FRAME_INCHES + BAR_INCHES * bars if is_bars else LINES_INCHES, (1,))
    if is_bars:
        _draw_bars(axis, picture)
    else:
        _draw_lines(axis, picture)
    head(axis, picture.title, picture.subtitle)
    write_figure(figure, path)


def _draw_bars(axis: Axes, picture: Picture) -> None:
    """Draw a horizontal bar with its number for each value, the series one below the other."""
    position = 0
    names: list[str] = []
    for index, series in enumerate(picture.series):
        places = list(range(position, position + len(series.values)))
        bars = axis.barh(places, series.values, color=COLORS[index % len(COLORS)], label=series.name)
        axis.bar_label(bars, fmt="{:.4g}", padding=3, color=INK, fontsize=9)
        names += [str(name) for name in series.at]
        position += len(places)
    axis.set_yticks(range(position), names)
    as_written(axis.get_yticklabels())
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    axis.set_xlabel(picture.values_label)
    axis.margins(x=0.1)


def _draw_lines(axis: Axes, picture: Picture) -> None:
    """Draw a line for each series over logarithmic axes, where a power law is straight."""
    for index, series in enumerate(picture.series):
        axis.plot(
            [float(place) for place in series.at],
            series.values,
            color=COLORS[index % len(COLORS)],
            marker=MARKERS[index % len(MARKERS)],
            linestyle=LINES[index % len(LINES)],
            label=series.name,
        )
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel(picture.at_label)
    axis.set_ylabel(picture.values_label)
