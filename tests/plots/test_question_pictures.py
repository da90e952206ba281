"""Pictures of what a comparison was asked: differences, ranks, verdicts and tuning, with the numbers they are given."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer

from gelora_cli.plots.critical_difference import critical_difference_picture, equal_sets
from gelora_cli.plots.differences import differences_picture
from gelora_cli.plots.inline import inline_svg
from gelora_cli.plots.tuning_ranges import TunedMethod, tuning_picture
from gelora_cli.plots.verdicts import verdicts_picture
from gelora_cli.report.bootstrap import Variances
from gelora_cli.report.questions import AcrossTasks
from gelora_cli.report.ranking import Ranking, rank_methods
from gelora_cli.report.relations import PlanGain

TASKS = ("cola", "mrpc")
PARTS = (Variances(seeds=0.1, examples=0.2, both=0.05, count=5),) * 2


def contrast(
    first: str, difference: float, *, tested: bool = True, p: float = 0.5, board: str = "minilm"
) -> AcrossTasks:
    """Return a difference from lora over two tasks, one point higher on the second."""
    return AcrossTasks(
        first=first,
        second="lora",
        board=board,
        tasks=TASKS,
        differences=(difference - 0.5, difference + 0.5),
        parts=PARTS if tested else (),
        difference=difference,
        low=difference - 1 if tested else None,
        high=difference + 1 if tested else None,
        p_corrected=p if tested else None,
        seeds=5,
    )


def bars(axis: Axes) -> list[tuple[float, float]]:
    """Return the value and half of the interval of each point with a bar; 0 for one without an interval."""
    found = []
    for bar in axis.containers:
        if isinstance(bar, ErrorbarContainer):
            (value,) = np.asarray(bar.lines[0].get_xdata())
            segments = [np.asarray(line.get_segments()[0]) for line in bar.lines[2]]
            found.append((float(value), float(np.ptp(segments[0][:, 0])) / 2 if segments else 0.0))
    return found


def test_differences_over_tasks_and_on_each_with_their_intervals() -> None:
    picture = differences_picture("q", "Does it matter?", [contrast("gelora", 0.3), contrast("sora", -2, p=0.01)])
    assert picture is not None
    axis = picture.figure.axes[0]
    half = PARTS[0].half_width()
    expected = [(0.3, 1), (-0.2, half), (0.8, half), (-2, 1), (-2.5, half), (-1.5, half)]
    assert bars(axis) == [pytest.approx(pair) for pair in expected]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["gelora - lora", "sora - lora"]
    diamonds = [bar.lines[0] for bar in axis.containers if isinstance(bar, ErrorbarContainer)][::3]
    fills = [diamond.get_markerfacecolor() for diamond in diamonds if diamond is not None]
    assert [fill == "white" for fill in fills] == [True, False], "what is not shown is hollow"
    assert "gelora - lora: +0.30 points (-0.70 to 1.30), corrected p 0.5, 5 seeds" in picture.tips.values()
    assert "mark" in inline_svg(picture)


def test_differences_without_a_test_are_points_and_boards_are_named() -> None:
    given = [contrast("gelora", 0.3, tested=False), contrast("gelora", 0.5, board="minilm, budget 0.3M")]
    picture = differences_picture("q", "Does it matter?", given)
    assert picture is not None
    assert [half for _, half in bars(picture.figure.axes[0])[:3]] == [0, 0, 0]
    names = [label.get_text() for label in picture.figure.axes[0].get_yticklabels()]
    assert names == ["gelora - lora\nminilm", "gelora - lora\nminilm, budget 0.3M"]
    assert differences_picture("q", "Nothing?", []) is None


def ranking(critical: float) -> Ranking:
    values = {task: {"full": 3.0, "lora": 2.0, "gelora": 1.9, "sora": 1.0} for task in TASKS}
    made = rank_methods(values)
    return Ranking(
        blocks=made.blocks,
        mean_ranks=made.mean_ranks,
        critical_difference=critical,
        concordance=made.concordance,
        p=made.p,
    )


def test_the_diagram_is_drawn_only_where_a_pair_exceeds_the_critical_difference() -> None:
    assert critical_difference_picture("cd", "One order?", ranking(4.0)) is None
    picture = critical_difference_picture("cd", "One order?", ranking(2.5))
    assert picture is not None
    axis = picture.figure.axes[0]
    assert [text.get_text() for text in axis.texts if text.get_text() in ("full", "sora")] == ["sora", "full"]
    thick = [line for line in axis.get_lines() if line.get_linewidth() == 4]
    assert [tuple(np.round(np.asarray(line.get_ydata()), 2)) for line in thick] == [(0.95, 3.05), (1.95, 4.05)]
    assert "full: mean rank 1.00 over 2" in picture.tips.values()


def test_sets_of_equal_methods_are_the_largest_ones() -> None:
    assert equal_sets({"a": 1.0, "b": 2.0, "c": 3.0, "d": 6.0}, 1.5) == [(1.0, 2.0), (2.0, 3.0)]
    assert equal_sets({"a": 1.0, "b": 2.0, "c": 2.5}, 2.0) == [(1.0, 2.5)]


def test_verdicts_stand_at_their_agreement_and_gain() -> None:
    gains = [
        PlanGain(task="cola", method="gelora", agreement=0.9, gain=0.4, low=-0.4, high=1.2),
        PlanGain(task="mrpc", method="fisher", agreement=0.5, gain=-0.2),
    ]
    picture = verdicts_picture("v", "What does it say?", gains, "Spearman 1.00.")
    assert picture is not None and picture.caption.endswith("Spearman 1.00.")
    drawn = {}
    for axis in picture.figure.axes:
        (bar,) = (bar for bar in axis.containers if isinstance(bar, ErrorbarContainer))
        drawn[axis.get_title(loc="left")] = bar.lines[0].get_xydata()[0].tolist()  # type: ignore[index, union-attr]
        assert axis.get_xlim()[0] < 0.5
    assert drawn == {"cola": [0.9, 0.4], "mrpc": [0.5, -0.2]}
    assert verdicts_picture("v", "What does it say?", gains[:1]) is None


def test_tuning_shows_the_ranges_at_one_point_and_at_the_best() -> None:
    methods = [TunedMethod("lora", 80, 85), TunedMethod("gelora", 84, 86)]
    picture = tuning_picture("t", "What did it change?", {"SST-2": methods, "alone": methods[:1]}, 12)
    assert picture is not None
    (axis,) = picture.figure.axes
    assert "SST-2: a range of 4.0 points at one point for all, 1.0 at the best" in picture.caption
    assert {"4.0", "1.0", "lora", "gelora"} <= {text.get_text() for text in axis.texts}
    assert tuning_picture("t", "What did it change?", {"alone": methods[:1]}, 12) is None
