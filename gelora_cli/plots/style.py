"""What all pictures have in common: colours that differ in grey, axes, titles, legends, a method's look, the file.

No torch, and no matplotlib until something is drawn.
"""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gelora_cli.core.files import write_atomic
from gelora_cli.core.registries import METHODS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

INK, DARK, MIDDLE, LIGHT, GRID = "#222222", "#1f3a5f", "#7d93ad", "#c3d0df", "#e6e6e6"
WIDTH_INCHES, DPI = 8.0, 150
MOST_NUMBERS, MOST_CHARACTERS = 24, 40

COLORS = ("#1f3a5f", "#c1440e", "#2e7d5b", "#8a6d00", "#7b3f91", "#0f7c9c")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "*", "h")
LINES = ("-", "--", ":", "-.", (0, (8, 2)), (0, (5, 1, 1, 1, 1, 1)))
FILLS = ("full", "none", "left", "right")

LineStyle = dict[str, Any]
"""Keyword arguments of matplotlib's `plot` and `errorbar`."""


def line_style(index: int) -> LineStyle:
    """Return the look of line number `index` of a picture whose lines are no methods."""
    return {"color": COLORS[index], "marker": MARKERS[index], "linestyle": LINES[index]}


def method_style(method: str, repeat: int = 0) -> LineStyle:
    """Return a method's colour, marker and line, the same in every picture.

    They follow from the method's place in the registry, so that a plug-in's method is drawn like any other; a method
    may name a `color` and a `marker` instead. A plug-in that is not loaded, as when a report reads its runs, gets a
    look from its name.

    Args:
        method: its name.
        repeat: how many rows of this method the picture holds already; each has another fill and line.
    """
    if method in METHODS:
        place = METHODS.position(method)
        color, marker = METHODS.get(method).color, METHODS.get(method).marker
    else:
        place = zlib.crc32(method.encode())  # unlike hash(), the same in every process
        color, marker = "", ""
    return {
        "color": color or COLORS[place % len(COLORS)],
        "linestyle": LINES[(place + place // len(LINES) + repeat) % len(LINES)],
        "marker": marker or MARKERS[place % len(MARKERS)],
        "fillstyle": FILLS[repeat % len(FILLS)],
    }


def end_of(name: str) -> str:
    """Return the end of a long path, which tells more than its start."""
    return name if len(name) <= MOST_CHARACTERS else f"...{name[-MOST_CHARACTERS:]}"


def new_figure(height_inches: float, panels: tuple[int, ...], columns: int = 1) -> tuple[Figure, list[Axes]]:
    """Return a figure with rows of panels of these relative heights, and the panels row by row."""
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
    """Label every number while they fit, then every second, fifth or tenth."""
    step = next(step for step in (1, 2, 5, 10, len(numbers)) if len(numbers) <= MOST_NUMBERS * step)
    axis.set_xticks([number for number in numbers if number % step == 0])


def head(axis: Axes, title: str, subtitle: str) -> None:
    """Put title, subtitle and legend above the panel, clear of the data."""
    axis.set_title(title, loc="left", fontsize=13, fontweight="bold", color=INK, pad=46)
    note = axis.annotate(subtitle, (0, 1), (0, 29), xycoords="axes fraction", textcoords="offset points", color=INK)
    note.set_parse_math(False)
    legend = axis.legend(
        loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=5, frameon=False, fontsize=9, columnspacing=1.5
    )
    legend.set_in_layout(False)
    as_written(legend.get_texts())


def figure_head(figure: Figure, title: str, subtitle: str) -> None:
    """Put title and subtitle above all panels of a figure whose legends stand at the right."""
    heading = figure.suptitle(f"{title}\n", x=0.012, ha="left", fontsize=13, fontweight="bold", color=INK)
    heading.set_parse_math(False)
    note = figure.axes[0].annotate(
        subtitle,
        (0.012, 0.985),
        xycoords="figure fraction",
        xytext=(0, -24),
        textcoords="offset points",
        fontsize=9,
        color=INK,
        annotation_clip=False,
    )
    note.set_parse_math(False)
    note.set_in_layout(False)


def name_panel(axis: Axes, name: str) -> None:
    """Put a small title above one of several panels."""
    as_written([axis.set_title(name, loc="left", fontsize=9, color=INK, pad=3)])


def name_axes(axis: Axes, x: str, y: str, *, legend: bool = True) -> None:
    """Name the axes, and put a legend at the right, outside."""
    axis.set_xlabel(x)
    axis.set_ylabel(y)
    if legend:
        box: LineStyle = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0), "borderaxespad": 0.0}
        as_written(axis.legend(frameon=False, fontsize=9, handlelength=3.2, **box).get_texts())


def figure_bytes(figure: Figure, kind: str, *, salt: str = "gelora") -> bytes:
    """Return a figure as `png` or `svg`; equal figures give equal bytes.

    Args:
        figure: what is drawn.
        kind: `png` or `svg`. Letters of an SVG are paths, so that it looks the same everywhere.
        salt: what the ids within an SVG are made from; several SVGs in one page need different ones.
    """
    import matplotlib as mpl

    # Matplotlib writes the date and its version into the file unless it is told otherwise.
    metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": salt}):
        figure.savefig(buffer, format=kind, metadata=metadata)
    return buffer.getvalue()


def write_figure(figure: Figure, path: Path) -> None:
    """Write a PNG or, by the path's ending, an SVG, whole or not at all; equal figures give equal bytes."""
    write_atomic(path, figure_bytes(figure, path.suffix.removeprefix(".")))
