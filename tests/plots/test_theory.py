from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gelora_cli.geometry.distinct_points import IdimEstimate
from gelora_cli.plots.style import write_figure
from gelora_cli.plots.theory import (
    BlockRanks,
    ModelDimensions,
    block_ranks_figure,
    dimensions_figure,
    helix_figure,
    loss_figure,
)

TICKS = np.linspace(-1, 1, 9)
ROWS = [
    BlockRanks(1, 2.0, 3.5, 3.2, 3.9, 32, 30, (8.0, 9.0, 11.0)),
    BlockRanks(2, 3.5, 3.0, 2.8, 3.3, 32, 31, (4.0, 5.0, 5.5)),
]


def test_growth_is_never_negative() -> None:
    assert [row.growth for row in ROWS] == [1.5, 0.0]


def test_the_loss_figure_shows_both_directions_of_fisher() -> None:
    figure = loss_figure(TICKS, 0.5 * np.tile(TICKS**2, (9, 1)), np.diag([1.0, 0.0]), 1)
    surface, contours, scale = figure.axes
    lines = {line.get_label(): np.asarray(line.get_xydata())[1].tolist() for line in contours.get_lines()}
    assert lines == {
        "eigenvalue 1: the model changes": [1.4, 0.0],
        "eigenvalue 0: flat, the model stays the same": [0.0, 1.4],
    }
    assert "local dimensionality 1 of 2" in figure.get_suptitle()
    assert [axis.get_xlabel() for axis in (surface, contours)] == ["theta_1", "theta_1"]
    assert scale.get_ylabel() == "loss"


def test_the_helix_figure_has_estimate_and_interval_in_its_title() -> None:
    points = np.random.default_rng(0).standard_normal((50, 3))
    estimate = IdimEstimate(1.024, 0.961, 1.09, None, None, 50, 0, 50, constant=False)
    figure = helix_figure(points, estimate)
    assert "idim 1.02 (95 % interval 0.96 to 1.09) by TwoNN, N = 50" in figure.get_suptitle()
    assert figure.axes[1].get_ylabel() == "z"


def test_the_dimensions_figure_shows_parameters_rank_and_idim() -> None:
    (axis,) = dimensions_figure([ModelDimensions("a", 6, 4, 3.7, 3.5, 3.9), ModelDimensions("b", 2, 0, 1, 1, 1)]).axes
    assert [patch.get_height() for patch in axis.patches] == [6, 2, 4, 0]  # type: ignore[attr-defined]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["a", "b"]


def test_the_block_figure_shows_ranks_stable_ranks_and_growth() -> None:
    top, bottom = block_ranks_figure(ROWS, "a model", "two probes").axes
    drawn = {line.get_label(): np.asarray(line.get_ydata()).tolist() for line in top.get_lines()}
    assert drawn["rank of the Jacobian"] == [30, 31]
    legend = top.get_legend()
    assert legend is not None
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["rank of the Jacobian", "its stable rank", "idim of the output"]
    assert [patch.get_height() for patch in bottom.patches] == [1.5, 0.0]  # type: ignore[attr-defined]
    assert (bottom.get_xlabel(), top.get_yscale()) == ("block", "log")


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_equal_figures_give_equal_files(tmp_path: Path, ending: str) -> None:
    for name in ("a", "b"):
        write_figure(block_ranks_figure(ROWS, "a model", "note"), tmp_path / f"{name}.{ending}")
    first, second = ((tmp_path / f"{name}.{ending}").read_bytes() for name in ("a", "b"))
    assert first == second
    assert first[:5] == {"png": b"\x89PNG\r", "svg": b"<?xml"}[ending]
