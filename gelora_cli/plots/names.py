"""Names at the edge of a panel, each at the height of what it names, in place of a legend; no torch.

A legend makes a reader look from a colour to a name and back. Names at the edge are read where the lines end, and none
covers another.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gelora_cli.core.messages import escape_controls
from gelora_cli.plots.style import INK, POINTS_PER_INCH, LineStyle, as_written, grow, root_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAME_CHARACTERS = 40
"""Letters of a line of a name at an axis."""
MOST_END_NAMES, END_CHARACTERS = 8, 26
"""Names, and letters of the longest, up to which lines are named at their ends."""
LINE_POINTS = 10.5
"""Height of a line of a name."""
CONNECTOR_POINTS, TEXT_POINTS = 16, 6
"""From the panel's edge to the mark of a name, and from there to the name."""


@dataclass(frozen=True)
class EdgeName:
    """A name, the height in a panel's data that it belongs to, and the look of what it names."""

    name: str
    height: float
    style: LineStyle


def wrap_name(name: str, characters: int = NAME_CHARACTERS) -> str:
    """Return a name in lines of at most so many letters, with control characters as their numbers."""
    return textwrap.fill(escape_controls(name, one_line=True), characters, break_on_hyphens=False)


def fit_at_ends(names: Sequence[str]) -> bool:
    """Return whether lines of these names can be named at their ends; otherwise a legend has room for them."""
    return len(names) <= MOST_END_NAMES and max(map(len, names), default=0) <= END_CHARACTERS


def name_at_edge(axis: Axes, names: Sequence[EdgeName]) -> None:
    """Write names beside the right edge of a panel, as near to their heights as there is room.

    The panel has its limits by now. Its figure grows where the names need more height than it has.
    """
    if not names:
        return
    low, high = axis.get_ylim()
    ordered = sorted(names, key=lambda name: (name.height - low) / (high - low))  # from below, also on a turned axis
    texts = [wrap_name(name.name) for name in ordered]
    sizes = [LINE_POINTS * (1 + text.count("\n")) for text in texts]  # points
    figure = root_figure(axis)
    share = axis.get_position().height  # of the figure's height, before the layout, which makes it larger
    grow(figure, max(sum(sizes) / share - POINTS_PER_INCH * figure.get_figheight(), 0.0))
    panel_points = share * POINTS_PER_INCH * figure.get_figheight()
    wanted = [panel_points * (name.height - low) / (high - low) for name in ordered]
    transform = axis.get_yaxis_transform()  # x as a share of the panel, y in its data
    mark = 1 + CONNECTOR_POINTS / (axis.get_position().width * POINTS_PER_INCH * figure.get_figwidth())
    for name, text, place in zip(ordered, texts, spread(wanted, sizes, panel_points), strict=True):
        height = low + (high - low) * place / panel_points
        line: LineStyle = {"color": name.style["color"], "linewidth": 0.8, "clip_on": False, "label": "_connector"}
        axis.plot([1.0, mark], [name.height, height], transform=transform, **line)
        look = {**name.style, "linestyle": "none", "markersize": 5, "clip_on": False, "label": "_mark"}
        axis.plot([mark], [height], transform=transform, **look)
        offset: LineStyle = {"xycoords": transform, "textcoords": "offset points", "annotation_clip": False}
        written = axis.annotate(text, (mark, height), (TEXT_POINTS, 0), va="center", linespacing=1.05, **offset)
        written.set(fontsize=8.5, color=INK)
        as_written([written])


def spread(wanted: Sequence[float], sizes: Sequence[float], room: float) -> list[float]:
    """Return places near those that are wanted, in their order, at which intervals of these sizes don't overlap.

    They minimise the sum of squared distances to the wanted places, by pooling neighbours that violate the order.

    Args:
        wanted: places in ascending order.
        sizes: the length of the interval around each.
        room: the intervals lie between 0 and this, where they fit.
    """
    offsets: list[float] = []
    for index, size in enumerate(sizes):
        offsets.append(offsets[-1] + (sizes[index - 1] + size) / 2 if index else size / 2)
    # Without the sizes the places need only not fall, which is isotonic regression.
    pools: list[list[float]] = []
    for place, offset in zip(wanted, offsets, strict=True):
        pools.append([place - offset])
        while len(pools) > 1 and _mean(pools[-2]) > _mean(pools[-1]):
            last = pools.pop()
            pools[-1] += last
    highest = max(room - sum(sizes), 0.0)
    levels: list[float] = []
    for pool in pools:
        levels += [min(max(_mean(pool), 0.0), highest)] * len(pool)
    return [level + offset for level, offset in zip(levels, offsets, strict=True)]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
