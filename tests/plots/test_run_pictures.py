from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Annotation

from gelora_cli.allocation.ranks import plan_ranks
from gelora_cli.core.artifacts.plan import PlanStability, RankPlan
from gelora_cli.core.budget import parse_budget
from gelora_cli.core.errors import GeloraError, StoppedError
from gelora_cli.core.logs import LOGGER
from gelora_cli.core.registries import RUN_PICTURES
from gelora_cli.plots.base import RunData, RunPicture, write_run_pictures
from gelora_cli.plots.run_profile import profile_figure
from gelora_cli.plots.run_ranks import ranks_figure
from gelora_cli.plots.style import new_figure, write_figure
from tests.helpers.plans import IDIMS, PLAN, PROFILE, make_profile
from tests.helpers.registries import forget_entries_afterwards

REAL = "the rule's real-valued rank"


def texts(axis: Axes) -> str:
    notes = [child.get_text() for child in axis.get_children() if isinstance(child, Annotation)]
    return " | ".join([axis.get_title("left"), axis.get_xlabel(), axis.get_ylabel(), *notes])


def labels(axis: Axes) -> set[str]:
    legend = axis.get_legend()
    assert legend is not None
    return {text.get_text() for text in legend.get_texts()}


def points(axis: Axes, label: str) -> list[tuple[float, float]]:
    (line,) = [line for line in axis.get_lines() if line.get_label() == label]
    return [(float(x), float(y)) for x, y in np.asarray(line.get_xydata())]


def segments(axis: Axes) -> dict[float, tuple[float, float]]:
    """Return where the vertical line of each block or layer starts and ends."""
    (lines,) = [item for item in axis.collections if type(item).__name__ == "LineCollection"]
    ends: Any = lines.get_segments()  # type: ignore[attr-defined]
    return {float(part[0][0]): (float(part[0][1]), float(part[1][1])) for part in ends}


def heights(axis: Axes) -> list[float]:
    from matplotlib.patches import Rectangle

    return [patch.get_height() for patch in axis.patches if isinstance(patch, Rectangle)]


def test_the_profile_figure_shows_the_profile() -> None:
    (axis,) = profile_figure(PROFILE).axes
    assert points(axis, "idim at N") == [(i, d) for i, d in enumerate(IDIMS)]
    assert segments(axis) == {row.layer: (row.low, row.high) for row in PROFILE.layers}
    assert points(axis, "mean at N/2") == [(row.layer, row.half) for row in PROFILE.layers if row.half is not None]
    assert points(axis, "mean at N/4") == [(row.layer, row.quarter) for row in PROFILE.layers[2:]]
    assert points(axis, "constant, so 0") == [(0, 0)]
    assert labels(axis) == {"idim at N", "95 % interval", "mean at N/2", "mean at N/4", "constant, so 0"}
    for part in ("Intrinsic dimension", "demo", "minilm", "N = 3,988", "0 = input of block 1", "intrinsic dimension"):
        assert part in texts(axis)
    assert list(axis.get_xticks()) == list(range(7))
    assert axis.get_ylim()[0] == 0
    assert axis.get_ylim()[1] > max(row.high for row in PROFILE.layers)


def test_the_band_covers_the_intervals() -> None:
    (axis,) = profile_figure(PROFILE).axes
    (band,) = [item for item in axis.collections if item.get_label() == "95 % interval"]
    corners = {(float(x), float(y)) for x, y in np.asarray(band.get_paths()[0].vertices)}
    assert {(row.layer, end) for row in PROFILE.layers for end in (row.low, row.high)} <= corners


def test_means_that_are_not_there_are_not_shown() -> None:
    layers = tuple(replace(row, half=None, quarter=None, constant=False) for row in PROFILE.layers)
    (axis,) = profile_figure(replace(PROFILE, layers=layers)).axes
    assert labels(axis) == {"idim at N", "95 % interval"}


def test_the_ranks_figure_shows_the_plan() -> None:
    top, bottom = ranks_figure(PLAN).axes
    assert heights(top) == list(PLAN.ranks)
    assert heights(bottom) == [row.growth for row in PLAN.blocks]
    (uniform,) = [patch for patch in top.patches if type(patch).__name__ == "StepPatch"]
    assert list(uniform.get_data().values) == list(PLAN.uniform_ranks)  # type: ignore[attr-defined]
    assert segments(top) == {row.block: (row.rank_low, row.rank_high) for row in PLAN.blocks}
    assert labels(top) == {"gelora rank", "uniform rank", "at the ends of the 95 % interval", REAL}
    assert points(top, REAL) == [(row.block, row.real_rank) for row in PLAN.blocks]
    for part in ("LoRA rank", "budget rank5", f"{PLAN.adapter_params:,} of {PLAN.budget_params:,}", "q, k, v, o"):
        assert part in texts(top)
    assert [part for part in texts(top).split(" | ") if part.isdigit()] == [str(rank) for rank in PLAN.ranks]
    assert bottom.get_xlabel() == "block"
    assert bottom.get_ylabel() == "growth of idim"
    assert list(bottom.get_xticks()) == [1, 2, 3, 4, 5, 6]
    assert top.get_ylim()[1] > max(row.rank_high or 0 for row in PLAN.blocks)


def test_the_ranks_of_other_samples_are_thick_lines() -> None:
    plan = replace(PLAN, stability=PlanStability("unstable", 0.7, 0.5, (1,) * 6, (9,) * 6, (0.5,) * 6))
    top, _ = ranks_figure(plan).axes
    assert "with other texts" in labels(top)
    assert "q, k, v, o, unstable" in texts(top)
    assert plan.stability is not None
    uniform, _ = ranks_figure(replace(plan, stability=replace(plan.stability, is_used=False))).axes
    assert "with other texts" not in labels(uniform)
    assert "uniform since unstable" in texts(uniform)
    steady = replace(plan, stability=replace(plan.stability, lowest=plan.ranks, highest=plan.ranks))
    assert "with other texts" not in labels(ranks_figure(steady).axes[0]), "no line would be seen"
    (lines,) = [item for item in top.collections if item.get_label() == "with other texts"]
    ends: Any = lines.get_segments()  # type: ignore[attr-defined]
    assert [part.tolist() for part in ends] == [[[i + 0.2, 1.0], [i + 0.2, 9.0]] for i in range(1, 7)]
    # Modules have ranks of their own then, which one line per block can't show.
    by_module = replace(plan, stability=PlanStability("unstable", 0.7, 0.5, (1,) * 24, (9,) * 24, (0.5,) * 24))
    assert "with other texts" not in labels(ranks_figure(by_module).axes[0])


def test_an_end_that_can_not_be_planned_is_marked() -> None:
    blocks = (replace(PLAN.blocks[0], rank_high=None), *PLAN.blocks[1:])
    top, _ = ranks_figure(replace(PLAN, blocks=blocks)).axes
    assert points(top, "an end is over the budget") == [(1, PLAN.ranks[0])]
    assert segments(top)[1] == (PLAN.blocks[0].rank_low, PLAN.ranks[0])


def test_a_plan_without_intervals_has_no_whiskers() -> None:
    blocks = tuple(replace(row, idim_in=None, idim_out=None, rank_low=None, rank_high=None) for row in PLAN.blocks)
    top, _ = ranks_figure(replace(PLAN, method="lora", blocks=blocks)).axes
    assert labels(top) == {"lora rank", "uniform rank", REAL}


def test_many_blocks_get_fewer_ticks_and_no_numbers() -> None:
    profile = make_profile(tuple(5.0 + i % 4 for i in range(81)))
    top, bottom = ranks_figure(plan_ranks(profile, parse_budget("auto"))).axes
    assert list(bottom.get_xticks()) == list(range(5, 81, 5))
    assert not [part for part in texts(top).split(" | ") if part.isdigit()]
    assert " of " not in texts(top).split("|")[-1]
    (axis,) = profile_figure(profile).axes
    assert list(axis.get_xticks()) == list(range(0, 81, 5))


def test_long_and_odd_names_of_models(tmp_path: Path) -> None:
    profile = make_profile(model="/models/" + "x" * 60 + "/$a_{$b\\frac")
    (axis,) = profile_figure(profile).axes
    assert "x/$a_{$b\\frac, N" in texts(axis)
    assert len(texts(axis).split(" | ")[-1]) < 90
    write_figure(profile_figure(profile), tmp_path / "profile.png")


@pytest.mark.parametrize("name", ["profile", "ranks"])
def test_the_file_is_a_picture_with_the_same_bytes_each_time(name: str, tmp_path: Path) -> None:
    for path in (tmp_path / "a.png", tmp_path / "b.png"):
        draw(name, path)
    data = (tmp_path / "a.png").read_bytes()
    assert data == (tmp_path / "b.png").read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert b"tEXt" not in data.split(b"IDAT")[0]
    pixels = imread(tmp_path / "a.png")
    assert pixels.shape[1] == 1200
    assert 600 <= pixels.shape[0] <= 900
    assert 0.02 < float((pixels[..., :3].min(axis=2) < 0.9).mean()) < 0.6
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]


def draw(name: str, path: Path, plan: RankPlan = PLAN) -> None:
    write_figure(profile_figure(PROFILE) if name == "profile" else ranks_figure(plan), path)


def test_nothing_reaches_the_edge_of_the_picture(tmp_path: Path) -> None:
    most_marks = replace(PLAN, blocks=(replace(PLAN.blocks[0], rank_high=None, module_ranks=(1, 2)), *PLAN.blocks[1:]))
    for name, plan in (("profile", PLAN), ("ranks", PLAN), ("ranks", most_marks)):
        draw(name, tmp_path / "a.png", plan)
        pixels = imread(tmp_path / "a.png")[..., :3]
        assert all(float(edge.min()) == 1.0 for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1])), name


def test_a_write_that_fails_is_one_clear_message(tmp_path: Path) -> None:
    with pytest.raises(GeloraError, match="can't be written"):
        write_figure(ranks_figure(PLAN), tmp_path / "missing" / "ranks.png")


def test_importing_is_cheap_and_drawing_leaves_pyplot_alone() -> None:
    code = (
        "import sys, gelora_cli.plots.run_ranks as plots\n"
        "print({'torch', 'matplotlib', 'numpy'} & set(sys.modules))\n"
        "plots.new_figure(3.0, (1,))[0].savefig('/dev/null', format='png')\n"
        "print({'torch', 'matplotlib.pyplot'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["set()", "set()"]


def test_every_mean_of_the_parts_is_inside_the_picture() -> None:
    # At small N the means over the parts can lie far above the interval.
    rows = tuple(replace(row, quarter=3 * row.high) for row in PROFILE.layers)
    axis = profile_figure(replace(PROFILE, layers=rows)).axes[0]
    assert axis.get_ylim()[1] > max(3 * row.high for row in PROFILE.layers)


def test_a_run_gets_the_pictures_that_it_has_data_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forget_entries_afterwards(monkeypatch, RUN_PICTURES)

    @RUN_PICTURES.register
    class Losses(RunPicture):
        name = "losses"
        after_training = True

        def draw(self, run: RunData) -> Figure | None:
            losses = [line["loss"] for line in run.metrics if "loss" in line]
            if not losses:
                return None
            figure, (axis,) = new_figure(3.0, (1,))
            axis.plot(losses)
            return figure

    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    after.mkdir()
    write_run_pictures(before, RunData(profile=PROFILE))
    assert [path.name for path in before.iterdir()] == ["profile.png"]
    write_run_pictures(before, RunData(profile=PROFILE, plan=PLAN))
    assert sorted(path.name for path in before.iterdir()) == ["profile.png", "ranks.png"]
    write_run_pictures(after, RunData(profile=PROFILE, metrics=[{"loss": 1.0}, {"loss": 0.5}]), after_training=True)
    assert [path.name for path in after.iterdir()] == ["losses.png"]


def test_a_picture_that_fails_is_a_warning_and_the_others_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_entries_afterwards(monkeypatch, RUN_PICTURES)
    warnings: list[str] = []
    monkeypatch.setattr(LOGGER, "warning", lambda text, *values: warnings.append(text % values))

    @RUN_PICTURES.register
    class Broken(RunPicture):
        name = "broken"

        def draw(self, run: RunData) -> Figure | None:
            raise SystemExit("no plan")

    @RUN_PICTURES.register
    class Unprintable(RunPicture):
        name = "unprintable"

        def draw(self, run: RunData) -> Figure | None:
            figure, (axis,) = new_figure(3.0, (1,))
            axis.set_title(r"$\frac{$")
            return figure

    @RUN_PICTURES.register
    class Interrupted(RunPicture):
        name = "interrupted"

        def draw(self, run: RunData) -> Figure | None:
            raise StoppedError("interrupted by SIGINT")

    with pytest.raises(StoppedError):
        write_run_pictures(tmp_path, RunData(profile=PROFILE, plan=PLAN))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["profile.png", "ranks.png"]
    assert warnings[0] == "the picture broken.png is left out: SystemExit: no plan"
    assert warnings[1].startswith("the picture unprintable.png is left out: ValueError")
    assert len(warnings) == 2
