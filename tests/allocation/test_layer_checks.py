"""Layers that say little of the task: which they are, and where a user is told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gelora_cli.allocation.formatting import format_plan
from gelora_cli.allocation.layer_checks import layer_warnings, plan_warnings, weak_layers
from gelora_cli.allocation.planning import plan_method
from gelora_cli.allocation.ranks import plan_ranks
from gelora_cli.commands.main import command_line
from gelora_cli.commands.profile_table import profile_table
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.artifacts.profile import IdProfile, LayerIdim
from gelora_cli.core.budget import parse_budget
from gelora_cli.core.codec import from_json, read_artifact, to_json
from gelora_cli.core.errors import GeloraError
from gelora_cli.plots.run_profile import profile_figure
from tests.helpers.bench import Bench
from tests.helpers.rank_profiles import IDIMS, MINILM
from tests.helpers.rows import rows
from tests.helpers.tiny import WORDS


def with_layer(layer: int, *, pooling: str = "mean", **fields: object) -> IdProfile:
    """Return the usual profile with one layer changed."""
    layers = list(MINILM.layers)
    layers[layer] = replace(layers[layer], **fields)  # type: ignore[arg-type]
    return replace(MINILM, layers=tuple(layers), settings=replace(MINILM.settings, pooling=pooling))


CONSTANT = with_layer(0, pooling="cls", idim=0.0, low=0.0, high=0.0, constant=True)
DUPLICATES = with_layer(3, pooling="last", copies=810, used=90)
FEW = with_layer(0, pooling="last", idim=0.0, low=0.0, high=0.0, half=0.0, copies=881, used=19)
FEWER = with_layer(2, copies=300, used=600)


def marks(profile: IdProfile) -> list[tuple[int, str]]:
    return [(found.layer, found.mark) for found in weak_layers(profile.layers)]


def test_which_layers_say_little() -> None:
    assert marks(MINILM) == []
    assert marks(CONSTANT) == [(0, "constant")]
    assert marks(FEW) == [(0, "few states")]
    assert marks(DUPLICATES) == [(3, "mostly duplicates")]
    assert marks(FEWER) == [(2, "fewer points")]
    assert marks(with_layer(2, copies=225, used=675)) == []  # three quarters are enough
    assert marks(with_layer(2, copies=226, used=674)) == [(2, "fewer points")]
    assert marks(with_layer(2, copies=450, used=450)) == [(2, "fewer points")]
    assert marks(with_layer(2, copies=451, used=449)) == [(2, "mostly duplicates")]


def test_a_constant_layer_is_no_measure_for_the_one_beside_it() -> None:
    every = tuple(LayerIdim(i, 0.0, 0.0, 0.0, None, None, 900, 0, 900, True) for i in range(3))
    assert [found.mark for found in weak_layers(every)] == ["constant"] * 3
    beside = (every[0], replace(every[1], constant=False, copies=300, used=600))
    assert [found.mark for found in weak_layers(beside)] == ["constant"]


def test_all_layers_with_as_many_duplicates_are_each_named() -> None:
    layers = tuple(replace(row, copies=500, used=400) for row in MINILM.layers)
    assert [found.mark for found in weak_layers(layers)] == ["mostly duplicates"] * len(layers)


@pytest.mark.parametrize(
    ("profile", "blocks", "fix"),
    [
        (CONSTANT, "the growth of block 1 says little", "profile.pooling=mean looks at every token"),
        (
            FEW,
            "takes 19 different states for 900 points, so its idim is 0 by definition; the growth of block 1",
            "",
        ),
        (DUPLICATES, "90 of 900 points are left; the growth of blocks 3 and 4 says little", "pooling=last"),
        (FEWER, "far fewer points than layer 1: 600 of 900 points are left; the growth of blocks 2 and 3", ""),
        (with_layer(6, copies=890, used=10), "the growth of block 6 says little", ""),
    ],
)
def test_the_warning_names_the_blocks_and_the_fix(profile: IdProfile, blocks: str, fix: str) -> None:
    (text,) = layer_warnings(profile)
    assert blocks in text
    assert fix in text
    assert ("pooling" in text) == (profile.settings.pooling != "mean")
    assert f"warning: {text}" in profile_table(profile)


def test_the_table_shows_the_points_of_every_layer() -> None:
    lines = profile_table(DUPLICATES).splitlines()
    assert lines[0].endswith("points")
    assert lines[1].endswith(" 900")
    assert lines[4].endswith(" 90  mostly duplicates")


def test_a_plan_repeats_the_warnings_and_keeps_its_numbers() -> None:
    plan, plain = plan_ranks(DUPLICATES, parse_budget("rank:4")), plan_ranks(MINILM, parse_budget("rank:4"))
    assert plan.warnings == layer_warnings(DUPLICATES)
    assert (plain.warnings, replace(plan, warnings=())) == ((), plain)
    assert f"warning: {plan.warnings[0]}" in format_plan(plan)
    assert from_json(RankPlan, to_json(plan)) == plan
    auto = plan_method(
        MINILM.model_map,
        {"idim": DUPLICATES},
        parse_budget("auto"),
        method="adalora",
        modules="attention",
    )
    assert auto.warnings == plan.warnings


@pytest.mark.parametrize("control", ["untrained", "shuffled"])
def test_a_plan_from_a_control_says_that_it_is_one(control: str) -> None:
    settings = replace(CONSTANT.settings, control=control)
    plan = plan_ranks(replace(CONSTANT, settings=settings), parse_budget("rank:4"))
    assert plan.ranks == plan_ranks(CONSTANT, parse_budget("rank:4")).ranks
    assert f"(profile.control={control})" in plan.warnings[0]
    assert plan.warnings[1:] == layer_warnings(CONSTANT)
    assert plan_warnings(MINILM) == ()


def test_a_plan_says_in_one_sentence_that_idim_has_not_converged() -> None:
    layers = (replace(MINILM.layers[0], half=9.0), *MINILM.layers[1:])
    for method in ("gelora", "shuffled", "reversed"):
        plan = plan_ranks(replace(MINILM, layers=layers), parse_budget("rank:4"), method=method)
        assert plan.warnings[0].startswith("idim has not converged in 1 of 7 layers: ") and len(plan.warnings) == 1


def test_a_plan_written_before_there_were_warnings_is_read() -> None:
    values = json.loads(to_json(plan_ranks(MINILM, parse_budget("rank:4"))))
    text = json.dumps({name: value for name, value in values.items() if name not in ("sha256", "warnings")})
    assert from_json(RankPlan, text) == plan_ranks(MINILM, parse_budget("rank:4"))


def test_a_budget_that_a_constant_layer_makes_too_small_says_so() -> None:
    profile = with_layer(0, pooling="cls", idim=0.0, low=0.0, high=0.0, constant=True)
    steep = replace(profile, layers=(profile.layers[0], *(replace(row, idim=9.3) for row in profile.layers[1:])))
    with pytest.raises(GeloraError, match=r"lower bounds(.|\n)*warning: layer 0 is constant"):
        plan_ranks(steep, parse_budget("rank:2"))


def test_the_pictures_mark_them() -> None:
    for profile, label in (
        (CONSTANT, "constant, so 0"),
        (FEW, "few states, so 0"),
        (DUPLICATES, "mostly duplicates"),
        (FEWER, "far fewer points"),
    ):
        (axis,) = profile_figure(profile).axes
        (line,) = [line for line in axis.get_lines() if str(line.get_label()).startswith(label)]
        (found,) = weak_layers(profile.layers)
        assert list(np.asarray(line.get_xdata())) == [found.layer]
        assert list(np.asarray(line.get_ydata())) == [profile.layers[found.layer].idim]
    assert len(profile_figure(MINILM).axes[0].get_lines()) == 2  # idim, and N/2
    assert IDIMS[3] == DUPLICATES.layers[3].idim


@pytest.mark.parametrize(
    ("pooling", "model", "ends", "mark"),
    [("cls", "bert", 24, "constant"), ("last", "llama", 24, "duplicates"), ("last", "llama", 3, "few states")],
)
def test_the_commands_say_it(
    bench: Bench,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    pooling: str,
    model: str,
    ends: int,
    mark: str,
) -> None:
    # The last token is one of the first words.
    texts = [f"{row['sentence'].rstrip('. ')} {WORDS[i % ends]}" for i, row in enumerate(rows("cola", 90, seed=5))]
    lines = tmp_path / "lines.txt"
    lines.write_text("\n".join(dict.fromkeys(texts)) + "\n")
    given = [f"data.text={lines}", "task.label=null", f"profile.pooling={pooling}"]
    assert bench.run("task=text", *given, command="profile", model=model) == 0
    shown = capsys.readouterr().out
    assert mark in shown.splitlines()[1]
    assert f"warning: layer 0 {'takes 3' if ends == 3 else 'is'}" in shown
    assert ("profile.pooling=mean" in shown) == (pooling == "cls")  # the last token is what decoders are advised
    (place,) = (bench.root / ".profiles").glob("*/profile.json")
    capsys.readouterr()
    assert command_line(["ranks", str(place), "budget=auto", f"output={tmp_path / 'pattern.json'}"]) == 0
    assert layer_warnings(read_artifact(IdProfile, place))[0] in capsys.readouterr().out
