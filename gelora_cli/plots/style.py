"""What all pictures have in common: colours that differ in grey, axes, titles, legends, a method's look, the file.

No torch, and no matplotlib until something is drawn.
"""

from __future__ import annotations

import contextlib
import io
import textwrap
import zlib
from collections import Counter
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gelora_cli.core.files import write_atomic
from gelora_cli.core.messages import escape_controls
from gelora_cli.core.registries import METHODS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

TITLE = "picture-title"
"""The gid of a picture's title."""
_HAS_TITLES: ContextVar[bool] = ContextVar("has_titles", default=True)

LineStyle = dict[str, Any]
"""Keyword arguments of matplotlib's `plot` and the like."""

# From dark to light, so that they can be told apart in grey, as on paper.
INK, DARK, MIDDLE, LIGHT, GRID = "#222222", "#1f3a5f", "#7d93ad", "#c3d0df", "#e6e6e6"
WIDTH_INCHES, DPI = 8.0, 150
MOST_NUMBERS, MOST_CHARACTERS = 24, 40
"""Labels of an axis, and letters of a name in a title or legend, that fit the width."""

POINTS_PER_INCH = 72
ROW_GAP = 0.06
"""Room between rows of panels that have titles of their own, as a share of a panel's height."""
HEAD_POINTS, NO_HEAD_POINTS = 46, 4
"""Height of title and subtitle, and what is left above the legend without them."""
LEGEND_GAP_POINTS = 8
"""By how much the frame of a legend reaches above its first row."""

LEGEND_POINTS, LEGEND_ROW_POINTS, LEGEND_LINE_POINTS = 540, 15, 11.6
HANDLE_POINTS, CHARACTER_POINTS = 39, 4.8
"""Sizes of a legend in letters of 9 points: width, row, further line of a label, marker and gaps, letter (estimate)."""

PANEL_NAME_CHARACTERS = 100
"""Letters of a line above a panel that is as wide as the picture."""
MOST_LEGEND_COLUMNS = 5
LEGEND_STYLE: LineStyle = {"frameon": False, "fontsize": 9, "columnspacing": 1.5}

COLORS = ("#1f3a5f", "#d0380c", "#2fa562", "#70402a", "#ad1a8e", "#477eea")
"""Lines and markers. Each has a contrast of 3 to 1 with white at least. Any two differ by 18 in CIELAB at least, also
as seen without red, green or blue receptors, and by 6 in lightness. Markers and dashes do the rest in grey."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "*", "h")
LINES = ("-", "--", ":", "-.", (0, (8, 2)), (0, (5, 1, 1, 1, 1, 1)))
FILLS = ("full", "none", "left", "right")


@contextlib.contextmanager
def titles(shown: bool) -> Iterator[None]:
    """Draw pictures with their titles inside, or without, as a paper that writes a caption below wants them.

    Names of panels stay: no caption says which panel is which.
    """
    token = _HAS_TITLES.set(shown)
    try:
        yield
    finally:
        _HAS_TITLES.reset(token)


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
        index = METHODS.position(method)
        color, marker = METHODS.get(method).color, METHODS.get(method).marker
    else:
        index = zlib.crc32(method.encode())  # unlike hash(), the same in every process
        color, marker = "", ""
    return {
        "color": color or COLORS[index % len(COLORS)],
        # Shifted by one each time the colours begin again, so that no two methods share colour and line.
        "linestyle": LINES[(index + index // len(LINES) + repeat) % len(LINES)],
        "marker": marker or MARKERS[index % len(MARKERS)],
        # Filled otherwise where the markers begin again: many pictures have markers alone.
        "fillstyle": FILLS[(index // len(MARKERS) + repeat) % len(FILLS)],
    }


def method_styles(methods: Iterable[str]) -> list[LineStyle]:
    """Return the look of each method; where one comes again, it has another fill and line."""
    counts: Counter[str] = Counter()
    styles = []
    for method in methods:
        styles.append(method_style(method, counts[method]))
        counts[method] += 1
    return styles


def distinct_styles(styles: Iterable[LineStyle]) -> list[LineStyle]:
    """Return the looks with markers that differ, for pictures in which no line tells two of one marker apart."""
    used: set[tuple[str, str, str]] = set()
    distinct = []
    for style in styles:
        for fill in (style["fillstyle"], *FILLS):
            marker = (style["color"], style["marker"], fill)
            if marker not in used:
                break
        used.add(marker)
        distinct.append(style | {"fillstyle": fill})
    return distinct


def end_of(name: str) -> str:
    """Return the end of a long path, which tells more than its start."""
    return name if len(name) <= MOST_CHARACTERS else f"...{name[-MOST_CHARACTERS:]}"


def new_figure(height_inches: float, panels: tuple[int, ...], columns: int = 1) -> tuple[Figure, list[Axes]]:
    """Return a figure with rows of panels of these relative heights, and the panels row by row."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_INCHES, height_inches), dpi=DPI, layout="constrained")
    axes = list(figure.subplots(len(panels), columns, squeeze=False, height_ratios=panels).flat)
    for axis in axes:
        _plain_frame(axis)
    return figure, axes


def figure_of_rows(
    height_inches: float, rows: Sequence[Sequence[str]], heights: Sequence[float]
) -> tuple[Figure, dict[str, Axes]]:
    """Return a figure with rows of named panels of these relative heights; a name that stands twice is a wide panel."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_INCHES, height_inches), dpi=DPI, layout="constrained")
    axes = figure.subplot_mosaic([list(row) for row in rows], height_ratios=list(heights))
    for axis in axes.values():
        _plain_frame(axis)
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.set(hspace=ROW_GAP)  # type: ignore[call-arg]
    return figure, axes


def _plain_frame(axis: Axes) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", color=GRID, linewidth=0.8)
    axis.set_axisbelow(True)


def as_written(texts: Iterable[Text]) -> None:
    """Show a name as it is, `$` and all, and not as a formula."""
    for text in texts:
        text.set_parse_math(False)


def number_ticks(axis: Axes, numbers: Sequence[int]) -> None:
    """Label every number while they fit, then every second, fifth or tenth."""
    step = next(step for step in (1, 2, 5, 10, len(numbers)) if len(numbers) <= MOST_NUMBERS * step)
    axis.set_xticks([number for number in numbers if number % step == 0])


def head(axis: Axes, title: str, subtitle: str, *, legend_of: Axes | None = None) -> None:
    """Put title, subtitle and legend above a panel that is as wide as the picture, clear of the data.

    Args:
        axis: the panel. The figure grows by the rows that its legend has beside the first.
        title: in bold.
        subtitle: the line below it.
        legend_of: the panel whose lines the legend names, where that is another one.
    """
    handles, labels = (legend_of or axis).get_legend_handles_labels()
    labels = wrap_labels(labels)
    columns = legend_columns(labels)
    extra = max(_legend_height(labels, columns) - LEGEND_ROW_POINTS, 0)
    if _HAS_TITLES.get():
        grow(root_figure(axis), extra)
        look: dict[str, Any] = {"fontsize": 13, "fontweight": "bold", "color": INK}
        as_written([axis.set_title(title, loc="left", pad=HEAD_POINTS + extra, gid=TITLE, **look)])
        note = axis.annotate(
            subtitle, (0, 1), (0, 29 + extra), xycoords="axes fraction", textcoords="offset points", color=INK
        )
        note.set_parse_math(False)
        note.set_in_layout(False)  # a long one would make the layout shrink the panel
    else:
        grow(root_figure(axis), extra + NO_HEAD_POINTS - HEAD_POINTS + LEGEND_ROW_POINTS)
        room = LEGEND_ROW_POINTS + extra + NO_HEAD_POINTS
        axis.set_title(" ", fontsize=1, pad=room)  # the layout leaves room for the legend below it
    legend = axis.legend(handles, labels, loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=columns, **LEGEND_STYLE)
    legend.set_in_layout(False)
    as_written(legend.get_texts())


def figure_head(figure: Figure, title: str, subtitle: str, *, legend_of: Axes | None = None) -> None:
    """Put title, subtitle and legend above all panels of a figure.

    Args:
        figure: with a panel at least. It grows by the height of the legend.
        title: in bold.
        subtitle: the line below it.
        legend_of: the panel whose lines the legend names; None for no legend.
    """
    handles, labels = legend_of.get_legend_handles_labels() if legend_of else ([], [])
    labels = wrap_labels(labels)
    columns = legend_columns(labels)
    legend_points = _legend_height(labels, columns)
    if _HAS_TITLES.get():
        head_points = HEAD_POINTS
        grow(figure, legend_points)
        _write_titles(figure, title, subtitle)
    else:
        head_points = NO_HEAD_POINTS
        grow(figure, legend_points + NO_HEAD_POINTS - HEAD_POINTS)
    figure_points = POINTS_PER_INCH * figure.get_figheight()
    if labels:
        top = 1 - (head_points - LEGEND_GAP_POINTS) / figure_points
        legend = figure.legend(
            handles, labels, loc="upper left", bbox_to_anchor=(0.0, top), ncols=columns, **LEGEND_STYLE
        )
        legend.set_in_layout(False)
        as_written(legend.get_texts())
    # The layout leaves the head free, which is not part of it: otherwise a long subtitle would squeeze the panels.
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.set(rect=(0, 0, 1, 1 - (head_points + legend_points) / figure_points))  # type: ignore[call-arg]


def _write_titles(figure: Figure, title: str, subtitle: str) -> None:
    """Write title and subtitle at the top of a figure, which has its height by now."""
    figure_points = POINTS_PER_INCH * figure.get_figheight()
    for text, drop, size, weight, gid in ((title, 7, 13, "bold", TITLE), (subtitle, 27, 9, "normal", None)):
        line = figure.text(
            0.012,
            1 - drop / figure_points,
            text,
            verticalalignment="top",
            fontsize=size,
            fontweight=weight,
            color=INK,
            parse_math=False,
            gid=gid,
        )
        line.set_in_layout(False)


def has_title(figure: Figure) -> bool:
    """Return whether `head` or `figure_head` wrote a title into a figure."""
    return any(artist.get_gid() == TITLE for artist in figure.findobj())


def root_figure(axis: Axes) -> Figure:
    """Return the figure that a panel is in."""
    figure = axis.get_figure(root=True)
    assert figure is not None
    return figure


def grow(figure: Figure, points: float) -> None:
    """Make a figure higher, so that a legend takes no room from its panels."""
    figure.set_figheight(figure.get_figheight() + points / POINTS_PER_INCH)


def legend_columns(labels: Sequence[str]) -> int:
    """Return into how many columns a legend with these labels fits, side by side over the picture's width."""
    # Letters are estimated, since their real width is known only once the figure is drawn.
    for columns in range(MOST_LEGEND_COLUMNS, 1, -1):
        width = 0.0
        for column in _legend_parts(labels, columns):
            longest = max((len(line) for label in column for line in label.splitlines()), default=0)
            width += HANDLE_POINTS + CHARACTER_POINTS * longest
        if width <= LEGEND_POINTS:
            return columns
    return 1


def wrap_labels(labels: Sequence[str]) -> list[str]:
    """Return the labels in lines of at most `MOST_CHARACTERS` letters, as those of rows with many settings."""
    return [textwrap.fill(label, MOST_CHARACTERS, break_on_hyphens=False) for label in labels]


def _legend_parts(labels: Sequence[str], columns: int) -> list[Sequence[str]]:
    """Return the labels of each column, as matplotlib fills them."""
    parts = []
    start = 0
    for column in range(columns):
        size = len(labels) // columns + (column < len(labels) % columns)
        parts.append(labels[start : start + size])
        start += size
    return parts


def _legend_height(labels: Sequence[str], columns: int) -> float:
    """Return the height of a legend in points.

    Columns are aligned at the middle of their first labels, so that a first label of many lines reaches above the first
    lines of other columns.
    """
    above, below = [0.0], [0.0]
    for column in _legend_parts(labels, columns):
        further_lines = sum(label.count("\n") for label in column)
        first = column[0].count("\n") if column else 0
        above.append(LEGEND_LINE_POINTS * first / 2)
        below.append(LEGEND_ROW_POINTS * len(column) + LEGEND_LINE_POINTS * (further_lines - first / 2))
    return max(above) + max(below)


def name_panel(axis: Axes, name: str) -> None:
    """Put a small title above one of several panels; one that is longer than the picture is wide has several lines."""
    text = textwrap.fill(name, PANEL_NAME_CHARACTERS, break_on_hyphens=False)
    grow(root_figure(axis), LEGEND_LINE_POINTS * text.count("\n"))
    as_written([axis.set_title(text, loc="left", fontsize=9, color=INK, pad=3)])


def step_ticks(axis: Axes) -> None:
    """Put ticks at whole optimizer steps."""
    from matplotlib.ticker import MaxNLocator

    axis.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))


def figure_bytes(figure: Figure, kind: str, *, salt: str = "gelora") -> bytes:
    """Return a figure as `png`, `svg`, `pdf` or `inline`; equal figures give equal bytes.

    Args:
        figure: what is drawn.
        kind: `png`, `svg`, `pdf` or `inline`. Letters of an SVG are paths, so that it looks the same everywhere.
            `inline` is an SVG whose letters are text, for `plots.inline` to put into a page. Letters of a PDF are
            embedded as TrueType, which publishers accept.
        salt: what the ids within an SVG are made from; several SVGs in one page need different ones.

    Raises:
        ValueError: another kind.
    """
    import matplotlib as mpl

    buffer = io.BytesIO()
    _escape_texts(figure)
    dots_per_inch = figure.get_dpi()
    letters = "none" if kind == "inline" else "path"
    with mpl.rc_context({"svg.hashsalt": salt, "svg.fonttype": letters, "pdf.fonttype": 42}):
        _print_figure(figure, kind, buffer)
    figure.set_dpi(dots_per_inch)  # an SVG and a PDF are drawn at 72
    return buffer.getvalue()


def _escape_texts(figure: Figure) -> None:
    """Show control characters by their numbers: no font has them, and XML does not allow them.

    The texts of ticks are made when they are drawn: `names.wrap_name` does the same for names among them.
    """
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_text(escape_controls(text.get_text()))


def _print_figure(figure: Figure, kind: str, buffer: io.BytesIO) -> None:
    """Write a figure by its canvas, without the date and the version that matplotlib writes unless told otherwise."""
    # Not by `savefig`, which draws the whole figure twice: once for its layout, and once into the file. The bytes are
    # the same.
    if kind == "png":
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})  # type: ignore[no-untyped-call]
    elif kind in ("svg", "inline"):
        from matplotlib.backends.backend_svg import FigureCanvasSVG

        metadata = {"Date": None, "Creator": None}
        FigureCanvasSVG(figure).print_svg(buffer, metadata=metadata)  # type: ignore[no-untyped-call]
    elif kind == "pdf":
        from matplotlib.backends.backend_pdf import FigureCanvasPdf

        metadata = {"CreationDate": None, "Producer": None, "Creator": None}
        FigureCanvasPdf(figure).print_pdf(buffer, metadata=metadata)  # type: ignore[no-untyped-call]
    else:
        raise ValueError(f"a figure as {kind}: png, svg, pdf or inline is accepted")


def write_figure(figure: Figure, path: Path) -> None:
    """Write a PNG or, by the path's ending, an SVG or a PDF, whole or not at all; equal figures give equal bytes."""
    write_atomic(path, figure_bytes(figure, path.suffix.removeprefix(".")))
