"""What all pictures share: colours that are told apart however they are seen, and titles that can be left out."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from gelora_cli.plots.names import wrap_name
from gelora_cli.plots.style import COLORS, figure_bytes, figure_head, head, new_figure, titles
from tests.helpers.vision import VISIONS, cielab, contrast, linear, smallest_distance


@pytest.mark.parametrize("vision", VISIONS)
def test_any_two_colours_differ_however_they_are_seen(vision: str) -> None:
    assert smallest_distance(COLORS, vision) >= 18


def test_colours_stand_out_from_white_and_from_each_other_in_grey() -> None:
    assert all(contrast(color, "#ffffff") >= 3 for color in COLORS)
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


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", ["png", "svg", "pdf", "inline"])
def test_names_of_any_characters_can_be_drawn(kind: str) -> None:
    name = "a$\\b$\x00\x1b\u202e\ud800<&-->"
    figure, (axis,) = new_figure(3.0, (1,))
    axis.plot([0, 1], [0, 1], label=name)
    axis.set_yticks([0, 1], [wrap_name(name), "b"], parse_math=False)
    head(axis, name, name)
    content = figure_bytes(figure, kind)
    if kind in ("svg", "inline"):
        ElementTree.fromstring(content)
