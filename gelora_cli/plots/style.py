"""What our pictures have in common: colours that are told apart in grey, axes, title and legend, the file; no torch."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from gelora_cli.core.files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

INK, DARK, MIDDLE, LIGHT, GRID = "#222222", "#1f3a5f", "#7d93ad", "#c3d0df", "#e6e6e6"
WIDTH_INCHES, DPI = 8.0, 150
MOST_NUMBERS, MOST_CHARACTERS = 24, 40


def end_of(name: str) -> str:
    """A long path's end, which tells more than its start."""
    return name if len(name) <= MOST_CHARACTERS else f"...{name[-MOST_CHARACTERS:]}"


def new_figure(height_inches: float, panels: tuple[int, ...], columns: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure with rows of panels of these relative heights; the panels row by row."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_INCHES, height_inches), dpi=DPI, layout="constrained")
    axes = list(figure.subplots(len(panels), columns, squeeze=False, height_ratios=panels).flat)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", color=GRID, linewidth=0.8)
        axis.set_axisbelow(True)
    return figure, axes


def as_written(texts: Iterable[Text]) -> None:
    """Show a name as it is, `$` and all, and not as a formula."""
    for text in texts:
        text.set_parse_math(False)


def number_ticks(axis: Axes, numbers: Sequence[int]) -> None:
    """Every number while they fit, then every second, fifth or tenth."""
    step = next(step for step in (1, 2, 5, 10, len(numbers)) if len(numbers) <= MOST_NUMBERS * step)
    axis.set_xticks([number for number in numbers if number % step == 0])


def head(axis: Axes, title: str, subtitle: str) -> None:
    """Title, subtitle and legend above the panel, clear of the data."""
    axis.set_title(title, loc="left", fontsize=13, fontweight="bold", color=INK, pad=46)
    place = axis.annotate(subtitle, (0, 1), (0, 29), xycoords="axes fraction", textcoords="offset points", color=INK)
    place.set_parse_math(False)
    legend = axis.legend(
        loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=5, frameon=False, fontsize=9, columnspacing=1.5
    )
    legend.set_in_layout(False)
    as_written(legend.get_texts())


def write_figure(figure: Figure, path: Path) -> None:
    """Write a PNG or, by the path's ending, an SVG, whole or not at all; equal figures give equal bytes."""
    import matplotlib as mpl

    kind = path.suffix.removeprefix(".")
    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "gelora"}):
        figure.savefig(buffer, format=kind, metadata={"Date": None} if kind == "svg" else {"Software": None})
    write_atomic(path, buffer.getvalue())
