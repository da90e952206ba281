"""The pictures of a report show the runs' own numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.container import ErrorbarContainer
from matplotlib.legend import Legend
from matplotlib.patches import Rectangle

from gelora_cli.core.artifacts.profile import IdProfile
from gelora_cli.core.codec import read_artifact, write_artifact
from gelora_cli.core.done import mark_done
from gelora_cli.core.registries import METHODS, REPORT_PICTURES
from gelora_cli.plots.base import Picture, ReportPicture, report_pictures
from gelora_cli.plots.report_curves import MOST_POINTS, thin
from gelora_cli.plots.report_rows import row_families
from gelora_cli.plots.style import figure_bytes, method_style, new_figure
from gelora_cli.report.rows import Row, make_rows
from gelora_cli.report.runs import Run, collect
from gelora_cli.report.tables import task_tables
from tests.helpers.plans import IDIMS, PLAN
from tests.helpers.registries import forget_entries_afterwards
from tests.helpers.report_runs import write_whole


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    root = tmp_path_factory.mktemp("runs")
    for method in ("gelora", "lora", "sora"):
        for seed in (0, 1):
            write_whole(root, method, seed, 30 + seed)
    return make_rows(collect([root]).runs)


def draw(name: str, rows: list[Row]) -> list[Picture]:
    return list(REPORT_PICTURES.get(name).draw(rows))


def labels(axis: Axes) -> list[str]:
    legend = axis.get_legend()
    assert legend is not None
    return names(legend)


def names(legend: Legend) -> list[str]:
    return [text.get_text() for text in legend.get_texts()]


def line(axis: Axes, label: str) -> list[tuple[float, float]]:
    lines = [drawn for drawn in axis.get_lines() if drawn.get_label() == label]
    bars = [drawn for drawn in axis.containers if isinstance(drawn, ErrorbarContainer)]
    lines += [bar.lines[0] for bar in bars if bar.get_label() == label]
    return [(float(x), float(y)) for x, y in np.asarray(lines[0].get_xydata())]


def test_idim_of_every_layer_with_its_interval(rows: list[Row]) -> None:
    (picture,) = draw("idim", rows)
    (axis,) = picture.figure.axes
    assert labels(axis) == ["demo"]
    assert line(axis, "demo") == [(float(layer), idim) for layer, idim in enumerate(IDIMS)]
    assert "intrinsic dimension" in axis.get_ylabel() and "layer" in axis.get_xlabel()


def test_profiles_that_differ_in_one_setting_have_a_line_each(tmp_path: Path) -> None:
    for tokens in (2, 4, 8):
        directory = write_whole(tmp_path, "gelora", seed=tokens, right=30)
        profile = read_artifact(IdProfile, directory / IdProfile.FILE)
        settings = replace(profile.settings, pooling="tokens", estimator="gride", scale=2, tokens=tokens)
        write_artifact(replace(profile, settings=settings, scale=2), directory)
        mark_done(directory)
    (picture,) = draw("idim", make_rows(collect([tmp_path]).runs))
    (axis,) = picture.figure.axes
    assert labels(axis) == ["demo, tokens 2", "demo, tokens 4", "demo, tokens 8"]
    assert "(GRIDE, n1 = 2)" in axis.get_title(loc="left")


def row_names(picture: Picture) -> list[str]:
    """Return the names at the axis, in one line each, the first at the top."""
    return [label.get_text().replace("\n", " ") for label in picture.figure.axes[0].get_yticklabels()]


def test_values_stand_beside_their_names_with_their_spread(rows: list[Row]) -> None:
    (picture,) = draw("value", rows)
    (axis,) = picture.figure.axes  # all have the same parameters
    assert row_names(picture) == ["gelora", "lora", "sora"]
    assert [line(axis, name) for name in ("gelora", "lora", "sora")] == [
        [pytest.approx((30.5 / 40, place))] for place in (0.5, 1.5, 2.5)
    ]
    (bar,) = [bar for bar in axis.containers if isinstance(bar, ErrorbarContainer) and bar.get_label() == "lora"]
    low, high = np.asarray(bar.lines[2][0].get_segments()[0])[:, 0]
    assert high - low == pytest.approx(2 * np.std([30, 31], ddof=1) / 40)
    assert axis.get_ylim()[0] > axis.get_ylim()[1], "the first is at the top"
    assert "accuracy" in axis.get_xlabel()
    assert [tip.partition(":")[0] for tip in picture.tips.values()] == ["gelora", "lora", "sora"]


def test_values_stand_at_their_cost_where_costs_differ(rows: list[Row]) -> None:
    larger = replace(
        rows[1],
        key=rows[1].key._replace(budget="0.3M"),
        runs=tuple(_with(run, adapter_params=300_000, budget="0.3M", value=0.9) for run in rows[1].runs),
    )
    one_seed = replace(rows[2], runs=rows[2].runs[:1])
    (picture,) = draw("value", [*rows[:2], larger, one_seed])
    right = picture.figure.axes[1]
    assert row_names(picture) == ["gelora, rank5", "lora, rank5", "sora, rank5 (one seed)", "lora, 0.3M"]
    assert line(right, "lora") == [pytest.approx((PLAN.adapter_params, 30.5 / 40)), pytest.approx((300_000, 0.9))]
    assert right.get_xscale() == "log" and "accuracy" in right.get_ylabel()
    assert {text.get_text() for text in right.texts} == {"gelora", "lora", "sora"}


def test_a_long_name_is_written_in_several_lines_inside_the_picture(rows: list[Row]) -> None:
    settings = ", ".join(f"train.setting_{number}={number}" for number in range(20))
    named = [replace(rows[0], name=f"gelora ({settings})"), *rows[1:]]
    (values,) = draw("value", named)
    assert f"gelora ({settings})" in row_names(values)
    canvas = FigureCanvasAgg(values.figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    boxes = [label.get_window_extent() for label in values.figure.axes[0].get_yticklabels()]
    assert min(box.x0 for box in boxes) >= 0 and all(box.width < values.figure.bbox.width / 2 for box in boxes)
    (ranks,) = draw("ranks", named)
    title = ranks.figure.axes[0].get_title("left")
    assert settings in title.replace("\n", " ") and max(map(len, title.splitlines())) <= 100
    (curves,) = draw("curves", named)
    (legend,) = curves.figure.legends
    assert settings in " ".join(text.replace("\n", " ") for text in names(legend))
    extent = legend.get_window_extent(FigureCanvasAgg(curves.figure).get_renderer())  # type: ignore[no-untyped-call]
    assert extent.x1 <= curves.figure.bbox.width


def test_titles_and_ticks_of_axes_beside_long_names_are_in_the_picture(rows: list[Row]) -> None:
    settings = ", ".join(f"train.learning_rate={number}.00057" for number in range(4))
    for name, most in ((f"gelora ({settings})", 70_000), ("gelora (train.epochs=100)", 600)):
        larger = replace(rows[1], runs=tuple(_with(run, adapter_params=most) for run in rows[1].runs))
        smaller = replace(rows[0], name=name, runs=tuple(_with(run, adapter_params=most // 3) for run in rows[0].runs))
        (picture,) = draw("value", [smaller, larger, replace(rows[2], name="sora (train.epochs=100)")])
        FigureCanvasAgg(picture.figure).draw()  # type: ignore[no-untyped-call]
        right = picture.figure.axes[1]
        assert right.xaxis.label.get_window_extent().x1 <= picture.figure.bbox.width, name
        boxes = [label.get_window_extent() for label in right.get_xticklabels()]
        assert all(one.x1 + 4 < other.x0 for one, other in pairwise(boxes)), name


def test_a_row_without_parameters_is_drawn(rows: list[Row]) -> None:
    none = replace(rows[0], runs=tuple(_with(run, adapter_params=0) for run in rows[0].runs))
    (picture,) = draw("value", [none, *rows[1:]])
    assert line(picture.figure.axes[1], "gelora")[0][0] == 1
    assert picture.png()


def test_each_metric_has_its_own_picture_and_table(rows: list[Row]) -> None:
    other = replace(rows[1], runs=tuple(_with(run, reported="f1") for run in rows[1].runs))
    found = draw("value", [rows[0], other])
    assert [picture.figure.axes[0].get_xlabel() for picture in found] == ["accuracy", "f1"]
    assert [row_names(picture) for picture in found] == [["gelora"], ["lora"]]
    assert [len(family.rows) for family in row_families([rows[0], other])] == [1, 1]
    tables = list(task_tables([rows[0], other]))
    assert [(table.caption, len(table.lines)) for table in tables] == [
        ("mnli, minilm: accuracy", 1),
        ("mnli, minilm: f1", 1),
    ]


def _with(run: Run, **changes: Any) -> Run:
    return replace(run, result=replace(run.result, **changes))


def test_ranks_at_the_end_a_panel_per_method(rows: list[Row]) -> None:
    (picture,) = draw("ranks", rows)
    panels = picture.figure.axes
    assert [axis.get_title("left") for axis in panels] == ["gelora", "lora", "sora"]
    heights = [bar.get_height() for bar in panels[0].patches if isinstance(bar, Rectangle)]
    assert heights == [float(rank) for rank in PLAN.ranks]
    assert panels[-1].get_xlabel() == "block"


def test_much_higher_ranks_have_a_scale_of_their_own(rows: list[Row]) -> None:
    high = []
    for run in rows[2].runs:
        ranks = {name: 10 * rank for name, rank in run.result.effective_ranks.items()}
        high.append(replace(run, result=replace(run.result, effective_ranks=ranks)))
    (picture,) = draw("ranks", [*rows[:2], replace(rows[2], runs=tuple(high))])
    panels = picture.figure.axes
    assert [axis.get_title("left") for axis in panels] == ["gelora", "lora", "sora (a scale of its own)"]
    assert panels[0].get_ylim() == panels[1].get_ylim() == draw("ranks", rows)[0].figure.axes[0].get_ylim()
    assert panels[2].get_ylim()[1] > 5 * panels[0].get_ylim()[1]
    assert picture.caption.endswith("much higher: sora.")


def test_curves_are_means_over_seeds(rows: list[Row]) -> None:
    (picture,) = draw("curves", rows)
    top, bottom = picture.figure.axes
    assert [text.get_text() for text in top.texts] == ["lora", "gelora", "sora"], "the names at the lines' ends"
    assert line(top, "gelora") == [(5, 0.2), (10, 0.1)]
    ((step, value),) = line(bottom, "gelora")
    assert step == 10 and value == pytest.approx(30.5 / 40)
    assert (top.get_ylabel(), bottom.get_ylabel(), bottom.get_xlabel()) == (
        "training loss",
        "accuracy",
        "optimizer step",
    )


def test_the_course_of_the_ranks(rows: list[Row]) -> None:
    (picture,) = draw("course", rows)
    top = picture.figure.axes[0]
    start = PLAN.trained_params + 7
    assert line(top, "sora") == [(0, start), (5, 100), (10, 100)]
    assert top.get_ylim()[1] > 1.02 * start and top.get_xlim()[0] < 0 and top.get_xlim()[1] > 10
    (mesh,) = picture.figure.axes[1].collections
    shades = np.asarray(mesh.get_array())
    assert shades.shape == (6, 3) and (shades[:, 1:] == 2).all()
    assert shades[:, 0].tolist() == list(PLAN.ranks)


def test_the_course_of_many_rows_is_several_pictures(rows: list[Row]) -> None:
    sora = next(row for row in rows if row.method == "sora")
    many = [replace(sora, name=f"sora (train.learning_rate={number})") for number in range(8)]
    found = draw("course", many)
    assert [picture.name for picture in found] == ["course-1", "course-1-2"]
    panels = [axis for picture in found for axis in picture.figure.axes if axis.get_title("left").startswith("sora")]
    assert [axis.get_title("left") for axis in panels] == [row.name for row in many]


def test_methods_are_told_apart_without_colour() -> None:
    styles = [method_style(method) for method in METHODS.names()]
    assert len({(style["marker"], str(style["linestyle"])) for style in styles}) == len(METHODS.names())
    assert len({(style["color"], style["marker"], style["fillstyle"]) for style in styles}) == len(styles)
    again = [method_style("lora", number) for number in range(6)]
    assert len({(style["fillstyle"], str(style["linestyle"])) for style in again}) == 6


def test_rows_of_one_method_are_told_apart_in_curves(rows: list[Row]) -> None:
    pair = [replace(rows[0], name=f"gelora (${rate}$)") for rate in (1, 2)]
    (picture,) = draw("curves", pair)
    top = picture.figure.axes[0]
    lines = [drawn for drawn in top.get_lines() if str(drawn.get_label()).startswith("gelora")]
    assert len({(drawn.get_linestyle(), drawn.get_fillstyle()) for drawn in lines}) == 2
    assert top.texts and not any(text.get_parse_math() for text in top.texts), "a dollar is a dollar"


def test_long_trainings_are_thinned() -> None:
    points = [(step, float(step)) for step in range(1, 1001)]
    thinned = thin(points)
    assert len(thinned) <= MOST_POINTS and thinned[0] == (17, 9.0) and thinned[-1][0] == 1000


def test_equal_rows_give_equal_bytes(rows: list[Row]) -> None:
    (first,), (second,) = draw("idim", rows), draw("idim", rows)
    assert first.svg() == second.svg() and first.png() == second.png()
    assert first.pdf() == second.pdf() and b"CreationDate" not in first.pdf()


def test_letters_of_an_inline_svg_are_text(rows: list[Row]) -> None:
    (picture,) = draw("idim", rows)
    inline = figure_bytes(picture.figure, "inline", salt=picture.name)
    assert b"<text" in inline and b"<text" not in picture.svg()
    with pytest.raises(ValueError, match="png, svg, pdf or inline"):
        figure_bytes(picture.figure, "jpg")


def test_a_report_of_one_run_has_the_pictures_of_its_directory(rows: list[Row]) -> None:
    one = replace(rows[0], runs=rows[0].runs[:1])
    found = draw("run", [one])
    assert [picture.name for picture in found] == ["run-profile", "run-ranks", "run-curve"]
    assert all(picture.caption and "seed 0" in picture.title for picture in found)
    assert "training loss" in found[2].figure.axes[0].get_ylabel()
    assert not draw("run", rows), "several runs have pictures of their own"


def test_no_picture_without_data(rows: list[Row]) -> None:
    assert not list(report_pictures([]))
    assert not draw("course", [row for row in rows if row.method == "lora"])


def test_no_curves_of_runs_that_logged_nothing(rows: list[Row], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Run, "metric_lines", lambda run: [])
    assert not draw("curves", rows)


@pytest.mark.parametrize("name", ["curves", "course"])
def test_the_metrics_of_a_run_are_read_once(rows: list[Row], monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    read: list[Path] = []

    def metric_lines(run: Run) -> list[dict[str, Any]]:
        read.append(run.directory)
        return original(run)

    original = Run.metric_lines
    monkeypatch.setattr(Run, "metric_lines", metric_lines)
    assert draw(name, rows)
    assert len(read) == len(set(read)) > 2


def test_a_plug_in_method_is_drawn_as_it_asks_and_one_that_is_not_loaded_too(
    rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_entries_afterwards(monkeypatch, METHODS)

    @METHODS.register
    class Mine(type(METHODS.get("lora"))):  # type: ignore[misc]
        name = "mine"
        marker = "*"

    assert method_style("mine")["marker"] == "*"
    assert method_style("elsewhere") == method_style("elsewhere")
    for method in ("mine", "elsewhere"):
        row = replace(rows[0], key=rows[0].key._replace(method=method), name=method)
        (picture,) = draw("value", [row, rows[1]])
        assert method in row_names(picture)


def test_a_picture_of_ones_own_is_one_entry(rows: list[Row], monkeypatch: pytest.MonkeyPatch) -> None:
    forget_entries_afterwards(monkeypatch, REPORT_PICTURES)

    @REPORT_PICTURES.register
    class Counts(ReportPicture):
        name = "counts"

        def draw(self, rows: Sequence[Row]) -> Iterator[Picture]:
            figure, (axis,) = new_figure(3.0, (1,))
            axis.bar(range(len(rows)), [len(row.runs) for row in rows])
            yield Picture("counts-1", "Seeds", "Seeds of each row", figure)

    assert [picture.name for picture in report_pictures(rows)][-1] == "counts-1"
