"""The pictures of a report show the runs' own numbers."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.patches import Rectangle

from gelora_cli.planning import METHODS
from gelora_cli.report import figures
from gelora_cli.report.rows import Row, rows_of
from gelora_cli.report.runs import collect
from tests.report.test_plots import IDIMS, PLAN
from tests.report.test_report import write_whole


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    root = tmp_path_factory.mktemp("runs")
    for method in ("gelora", "lora", "sora"):
        for seed in (0, 1):
            write_whole(root, method, seed, 30 + seed)
    return rows_of(collect([root]).runs)


def labels(axis: Axes) -> list[str]:
    legend = axis.get_legend()
    assert legend is not None
    return [text.get_text() for text in legend.get_texts()]


def line(axis: Axes, label: str) -> list[tuple[float, float]]:
    lines = [drawn for drawn in axis.get_lines() if drawn.get_label() == label]
    bars = [drawn for drawn in axis.containers if isinstance(drawn, ErrorbarContainer)]
    lines += [bar.lines[0] for bar in bars if bar.get_label() == label]
    return [(float(x), float(y)) for x, y in np.asarray(lines[0].get_xydata())]


def test_idim_of_every_layer_with_its_interval(rows: list[Row]) -> None:
    (picture,) = figures.idim_pictures(rows)
    (axis,) = picture.figure.axes
    assert labels(axis) == ["demo"]
    assert line(axis, "demo") == [(float(layer), idim) for layer, idim in enumerate(IDIMS)]
    assert "intrinsic dimension" in axis.get_ylabel() and "layer" in axis.get_xlabel()


def test_values_stand_at_their_cost_with_their_spread(rows: list[Row]) -> None:
    (picture,) = figures.value_pictures(rows)
    (axis,) = picture.figure.axes
    places = [line(axis, name) for name in ("gelora", "lora", "sora")]
    assert [value for ((_, value),) in places] == pytest.approx([30.5 / 40] * 3)
    xs = [x for ((x, _),) in places]
    assert xs == sorted(set(xs)) and xs[1] == pytest.approx(PLAN.adapter_params)
    assert axis.get_xscale() == "log" and "accuracy" in axis.get_ylabel()


def test_ranks_at_the_end_a_panel_per_method(rows: list[Row]) -> None:
    (picture,) = figures.rank_pictures(rows)
    panels = picture.figure.axes
    assert [axis.get_title("left") for axis in panels] == ["gelora", "lora", "sora"]
    heights = [bar.get_height() for bar in panels[0].patches if isinstance(bar, Rectangle)]
    assert heights == [float(rank) for rank in PLAN.ranks]
    assert panels[-1].get_xlabel() == "block"


def test_curves_are_means_over_seeds(rows: list[Row]) -> None:
    (picture,) = figures.curve_pictures(rows)
    top, bottom = picture.figure.axes
    assert labels(top) == ["lora", "gelora", "sora"]
    assert line(top, "gelora") == [(5, 0.2), (10, 0.1)]
    ((step, value),) = line(bottom, "gelora")
    assert step == 10 and value == pytest.approx(30.5 / 40)
    assert (top.get_ylabel(), bottom.get_ylabel(), bottom.get_xlabel()) == (
        "training loss",
        "accuracy",
        "optimizer step",
    )


def test_the_course_of_the_ranks(rows: list[Row]) -> None:
    (picture,) = figures.course_pictures(rows)
    assert line(picture.figure.axes[0], "sora") == [(5, 100), (10, 100)]
    (mesh,) = picture.figure.axes[1].collections
    shades = np.asarray(mesh.get_array())
    assert shades.shape == (6, 2) and (shades == 2).all()


def test_methods_are_told_apart_without_colour() -> None:
    looks = [figures._look(method) for method in METHODS]
    assert len({(look["marker"], str(look["linestyle"])) for look in looks}) == len(METHODS)
    again = {figures._look("lora", number)["fillstyle"] for number in range(4)}
    assert len(again) == 4


def test_long_trainings_are_thinned() -> None:
    points = [(step, float(step)) for step in range(1, 1001)]
    thin = figures._thinned(points)
    assert len(thin) <= figures.MOST_POINTS and thin[0] == (17, 9.0) and thin[-1][0] == 1000


def test_equal_rows_give_equal_bytes(rows: list[Row]) -> None:
    (first,), (second,) = figures.idim_pictures(rows), figures.idim_pictures(rows)
    assert first.svg() == second.svg() and first.png() == second.png()


def test_no_picture_without_data(rows: list[Row]) -> None:
    assert not list(figures.pictures([]))
    assert not list(figures.course_pictures([row for row in rows if row.method == "lora"]))
