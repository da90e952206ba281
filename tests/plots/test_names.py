"""Names at the edge of a panel: in their order, clear of each other, near what they name."""

from __future__ import annotations

import itertools

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Annotation

from gelora_cli.plots.names import EdgeName, fit_at_ends, name_at_edge, spread, wrap_name
from gelora_cli.plots.style import method_style, new_figure


def test_places_with_room_stay_where_they_are() -> None:
    assert spread([10, 50, 90], [10, 10, 10], 100) == pytest.approx([10, 50, 90])


def test_equal_places_are_spread_around_their_middle() -> None:
    assert spread([50, 50, 50], [10, 20, 10], 100) == pytest.approx([35, 50, 65])


def test_places_stay_within_the_room() -> None:
    assert spread([0, 0, 100, 100], [10, 10, 10, 10], 100) == pytest.approx([5, 15, 85, 95])
    assert spread([0, 0, 0], [10, 10, 10], 15)[0] == 5, "what does not fit begins at the foot"


def test_names_don_t_cover_each_other_and_lie_inside_the_picture() -> None:
    figure, (axis,) = new_figure(2.0, (1,))
    axis.set(xlim=(0, 1), ylim=(0, 1))
    long = ", ".join(f"train.setting_{number}=1" for number in range(6))
    names = [EdgeName(f"{long} {number}", 0.5 + number / 1000, method_style("lora", number)) for number in range(9)]
    name_at_edge(axis, names)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    written = [child for child in axis.get_children() if isinstance(child, Annotation)]
    assert [text.get_text().replace("\n", " ") for text in written] == [name.name for name in names]
    boxes = [text.get_window_extent() for text in written]
    assert all(below.y1 <= above.y0 + 2 for below, above in itertools.pairwise(boxes))
    assert max(box.x1 for box in boxes) <= figure.bbox.x1 and max(box.y1 for box in boxes) <= figure.bbox.y1


def test_long_names_are_wrapped_and_many_are_left_to_a_legend() -> None:
    assert all(len(line) <= 40 for line in wrap_name("gelora (train.learning_rate=0.001, " * 4).splitlines())
    assert fit_at_ends(["lora"] * 8)
    assert not fit_at_ends(["lora"] * 9)
    assert not fit_at_ends(["gelora (train.learning_rate=0.001)"])
