"""What the picture of a study marks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gelora_cli.core.artifacts.study import SearchedKey, Study
from gelora_cli.plots.style import COLORS, method_style
from gelora_cli.plots.tuning import ALERT, draw_study, study_figure
from tests.helpers.studies import DROPOUT, RATE, THRESHOLD, method_study, study

GELORA, EDGE = method_study("gelora"), method_study("adalora", peak=3e-2)
DORA = method_study("gelora method.variant=dora")


def panels(figure: Figure) -> list[Axes]:
    return [axis for axis in figure.axes if axis.get_visible()]


def lines(axis: Axes, marker: str, *, color: str | None = None) -> list[Line2D]:
    """Return the lines of a panel with a marker that hold points."""
    drawn = [line for line in axis.lines if len(np.asarray(line.get_xdata())) and line.get_marker() == marker]
    return [line for line in drawn if color in (None, line.get_color())]


def points(line: Line2D) -> list[tuple[float, float]]:
    xs, ys = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
    return [(float(x), float(y)) for x, y in zip(xs, ys, strict=True)]


def test_a_panel_shows_its_method_and_marks_what_is_special() -> None:
    (gelora, edge, dora) = panels(study_figure(study(GELORA, EDGE, DORA)))
    style = method_style("gelora")
    best = GELORA.best_trial
    assert best is not None
    rate = float(best.values["train.learning_rate"])
    shown = [pair for line in lines(gelora, style["marker"], color=style["color"]) for pair in points(line)]
    with_height = [trial for trial in GELORA.trials if trial.value is not None and not trial.collapsed]
    assert shown == [(trial.values["train.learning_rate"], trial.value) for trial in with_height]
    rings = [line for line in lines(gelora, "o") if line.get_markersize() > 10]
    assert [points(ring) for ring in rings] == [[(rate, best.value)]]
    assert [points(line)[0][0] for line in lines(gelora, "x")] == [GELORA.trials[2].values["train.learning_rate"]]
    assert [points(line)[0][0] for line in lines(gelora, "+")] == [GELORA.trials[4].values["train.learning_rate"]]
    assert gelora.get_title(loc="left") == f"gelora\nbest {best.value:.4g} at {rate:.3g}"
    assert lines(dora, method_style("gelora", 1)["marker"])[0].get_fillstyle() != style["fillstyle"]
    assert dora.get_title(loc="left").startswith("gelora method.variant=dora\n")
    assert not lines(gelora, "None", color=ALERT)
    assert len({axis.get_xlim() for axis in (gelora, edge, dora)}) == 1 and gelora.get_xscale() == "log"
    assert len({axis.get_ylim() for axis in (gelora, edge, dora)}) == 1


def test_an_edge_that_the_best_lies_on_has_another_colour() -> None:
    assert ALERT not in COLORS
    (low, high) = panels(study_figure(study(replace(GELORA, best=1, at_edge=("train.learning_rate",)), EDGE)))
    for axis, end in ((low, RATE.low), (high, RATE.high)):
        assert [points(line)[0][0] for line in lines(axis, "None", color=ALERT)] == [end]
        assert axis.get_title(loc="left").endswith(", on the edge")
    figure = study_figure(study(replace(GELORA, at_edge=("method.scaling",)), EDGE))
    assert panels(figure)[0].get_title(loc="left").endswith("\nscaling on the edge")
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert {"best, on the edge", "made wider", "collapsed", "failed", "other methods"} <= set(legend)


def test_what_was_added_to_the_range_is_shaded() -> None:
    def shaded(made: Study) -> list[tuple[float, float]]:
        axis = panels(study_figure(made))[0]
        boxes = [patch.get_extents().transformed(axis.transData.inverted()) for patch in axis.patches]
        return [(round(box.x0, 6), round(box.x1, 6)) for box in boxes]

    assert shaded(study(GELORA)) == [(0.01, 0.0316)]
    plain = SearchedKey("train.learning_rate", 1e-4, 1e-2, log=True)
    assert shaded(study(method_study("gelora", (plain,)))) == []


def test_a_method_that_does_not_search_the_learning_rate_has_an_axis_of_its_own() -> None:
    sora = method_study("sora", (THRESHOLD,))
    figure = study_figure(study(GELORA, sora, DORA))
    rate, threshold, _ = panels(figure)
    assert [axis.get_xlabel() for axis in (rate, threshold)] == ["learning rate", "method.threshold_total"]
    assert rate.get_xscale() == "log" and threshold.get_xscale() == "linear"
    style = method_style("sora")
    shown = [pair for line in lines(threshold, style["marker"], color=style["color"]) for pair in points(line)]
    with_height = [trial for trial in sora.trials if trial.value is not None and not trial.collapsed]
    assert shown == [(trial.values["method.threshold_total"], trial.value) for trial in with_height]
    assert not lines(threshold, ".")
    assert sora.best_trial is not None
    assert threshold.get_title(loc="left").endswith(f" at {sora.best_trial.values['method.threshold_total']:.3g}")
    others = {trial.values["train.learning_rate"] for trial in DORA.trials if trial.value and not trial.collapsed}
    assert {x for line in lines(rate, ".") for x, _ in points(line)} == others
    assert all(threshold.get_xlim()[0] < x < threshold.get_xlim()[1] for x, _ in shown)


def test_every_number_of_methods_and_trials_has_a_picture(tmp_path: Path) -> None:
    for count in (1, 2, 3, 4, 5, 7):
        made = study(*(method_study("lora" if number else "bitfit") for number in range(count)))
        figure = study_figure(made)
        assert len(panels(figure)) == count
        named = [axis for axis in panels(figure) if axis.get_xlabel() == "learning rate"]
        assert len(named) == min(count, 2 if count in (2, 4) else 3)
    waiting = replace(GELORA, trials=(), best=None)
    assert "no trial is done" in panels(study_figure(study(waiting)))[0].get_title(loc="left")
    words = study(method_study("gelora", (DROPOUT,)))
    assert panels(study_figure(words))[0].get_xlabel() == "trial"
    draw_study(study(GELORA), tmp_path / "study.png")
    assert (tmp_path / "study.png").read_bytes().startswith(b"\x89PNG")
