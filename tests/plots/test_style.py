"""What all pictures share: colours that are told apart however they are seen, and titles that can be left out."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from gelora_cli.plots.style import COLORS, figure_head, head, new_figure, titles

Array = np.ndarray[Any, np.dtype[np.float64]]

# Machado, Oliveira and Fernandes (2009), severity 1, on linear sRGB.
VISIONS = {
    "all receptors": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "no red ones": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "no green ones": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "no blue ones": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}
XYZ = np.array(
    ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
)
WHITE = XYZ.sum(axis=1)


def linear(color: str) -> Array:
    """Return linear sRGB, (3,)."""
    values = np.array(to_rgb(color))
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def cielab(rgb: Array) -> Array:
    """Return lightness, a and b of a linear sRGB colour, (3,)."""
    ratios = XYZ @ np.clip(rgb, 0, 1) / WHITE
    x, y, z = np.where(ratios > 0.008856, np.cbrt(ratios), 7.787 * ratios + 16 / 116)
    return np.array((116 * y - 16, 500 * (x - y), 200 * (y - z)))


@pytest.mark.parametrize("vision", VISIONS)
def test_any_two_colours_differ_however_they_are_seen(vision: str) -> None:
    seen = [cielab(np.array(VISIONS[vision]) @ linear(color)) for color in COLORS]
    assert min(np.linalg.norm(first - second) for first, second in combinations(seen, 2)) >= 18


def test_colours_stand_out_from_white_and_from_each_other_in_grey() -> None:
    luminances = [float(XYZ[1] @ linear(color)) for color in COLORS]
    assert all(1.05 / (luminance + 0.05) >= 3 for luminance in luminances)
    lightness = sorted(cielab(linear(color))[0] for color in COLORS)
    assert np.diff(lightness).min() >= 6


def texts(figure: Figure) -> str:
    """Return everything that is written in a figure."""
    FigureCanvasAgg(figure).draw()  # type: ignore[no-untyped-call]
    written = [*figure.texts, *(text for axis in figure.axes for text in (*axis.texts, axis.title, axis._left_title))]  # type: ignore[attr-defined]
    return " ".join(text.get_text() for text in written)


@pytest.mark.parametrize("shown", [True, False])
@pytest.mark.parametrize("panels", [(1,), (1, 1)])
def test_titles_are_inside_or_left_out_and_the_legend_stays_clear_of_the_data(
    shown: bool, panels: tuple[int, ...]
) -> None:
    heights = []
    for has_figure_head in (True, False):
        figure, axes = new_figure(4.0, panels)
        axes[0].plot([0, 1], [0, 1], label="loss")
        with titles(shown):
            if has_figure_head:
                figure_head(figure, "Training", "cola", legend_of=axes[0])
            else:
                head(axes[0], "Training", "cola")
        assert ("Training" in texts(figure), "cola" in texts(figure)) == (shown, shown)
        legend = figure.legends[0] if has_figure_head else axes[0].get_legend()
        assert legend is not None
        extent = legend.get_window_extent()
        assert axes[0].get_window_extent().y1 <= extent.y1 - 10 and extent.y1 <= figure.bbox.y1 + 1
        heights.append(figure.get_figheight())
    assert (max(heights) < 4.0) is not shown


def test_titles_come_back_after_an_error() -> None:
    with pytest.raises(ValueError, match="broken"), titles(False):
        raise ValueError("broken")
    figure, axes = new_figure(3.0, (1,))
    head(axes[0], "Training", "cola")
    assert "Training" in texts(figure)
