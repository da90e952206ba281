"""Plans side by side, and the measured choices of a profile."""

from __future__ import annotations

from dataclasses import replace

from gelora_cli.allocation.choices import distinguishing_labels, measured_choices
from gelora_cli.allocation.comparison import (
    PlanColumn,
    agreement_table,
    comparison_table,
    equal_plans,
    module_ranks,
    plan_agreement,
    side_by_side,
)
from gelora_cli.allocation.planning import with_module_ranks
from gelora_cli.allocation.ranks import plan_ranks
from gelora_cli.core.artifacts.profile import IdProfile, ScaleIdim
from tests.helpers.rank_profiles import IDIMS, MINILM, make_profile, units

GELORA = plan_ranks(MINILM, units(30))
UNIFORM = plan_ranks(MINILM, units(30), method="lora")


def at_scales(profile: IdProfile, *scales: dict[int, float]) -> IdProfile:
    """Return a profile whose layers have these idims by GRIDE."""
    layers = []
    for layer, by_n1 in zip(profile.layers, scales, strict=True):
        measured = tuple(ScaleIdim(n1, idim, idim, idim, 1.0, 0) for n1, idim in by_n1.items())
        layers.append(replace(layer, scales=measured))
    return replace(profile, layers=tuple(layers))


def test_plans_per_block_and_per_module_are_compared_over_modules() -> None:
    assert plan_agreement(GELORA, GELORA) == 1
    above = sum(min(a, b) - 1 for a, b in zip(GELORA.ranks, UNIFORM.ranks, strict=True))
    assert plan_agreement(GELORA, UNIFORM) == above / (30 - 6)
    each = {name: 5 + (name.endswith("query")) for row in UNIFORM.blocks for name in row.modules}
    per_module = with_module_ranks(UNIFORM, MINILM.model_map, each)
    assert module_ranks(per_module) == (6, 5, 5, 5) * 6
    assert plan_agreement(UNIFORM, per_module) == 4 * 4 * 6 / (6 * (5 + 3 * 4))
    assert plan_agreement(GELORA, plan_ranks(make_profile(IDIMS[:3]), units(9))) is None


def test_the_table_has_a_row_per_block_and_goes_on_below_where_it_is_too_wide() -> None:
    each = {name: 5 + (name.endswith("query")) for row in UNIFORM.blocks for name in row.modules}
    columns = [
        PlanColumn(("gelora", "per block"), GELORA),
        PlanColumn(("fine", "per module"), with_module_ranks(UNIFORM, MINILM.model_map, each)),
        PlanColumn(("refused",), None, "no budget"),
    ]
    lines = comparison_table(columns, width=None, reference=True).splitlines()
    assert lines[0].split() == ["gelora", "fine", "refused"]
    assert lines[1].split() == ["block", "per", "block", "per", "module"]
    first = lines[2].split()
    assert first == ["1", str(GELORA.ranks[0]), "5.2", "-"]
    assert [line.split()[0] for line in lines[2:]] == [*"123456", "units", "parameters", "agreement"]
    assert lines[-1].split()[1] == "1.00"
    narrow = comparison_table(columns, width=24, reference=False)
    assert narrow.count("units ") == 3
    assert max(map(len, narrow.splitlines())) <= 24
    assert agreement_table(columns[:1], width=None).splitlines()[1].split() == ["gelora", "per", "block", "1.00"]


def test_a_column_wider_than_the_terminal_is_still_shown() -> None:
    assert side_by_side(["a"], [["x" * 30], ["y"]], width=10).splitlines() == [f"a  {'x' * 30}", "", "a  y"]


def test_equal_plans_are_named_in_groups() -> None:
    columns = [
        PlanColumn((name,), plan)
        for name, plan in (("a", GELORA), ("b", UNIFORM), ("c", replace(GELORA, method="c")), ("d", None))
    ]
    assert equal_plans(columns) == [["a", "c"]]


def test_a_profile_is_read_at_each_sample_and_scale_that_all_layers_have() -> None:
    scales = [{1: 5.0 + i, 2: 9.0 - i, 4: 1.0} for i in range(7)]
    del scales[3][4]
    profile = at_scales(MINILM, *scales)
    choices = measured_choices(profile)
    assert list(choices) == ["N", "N/2", "n1=1", "n1=2"]
    assert choices["N"] is profile
    assert [layer.idim for layer in choices["n1=2"].layers] == [9.0 - i for i in range(7)]
    assert not any(layer.jackknife or layer.scales for layer in choices["n1=1"].layers)


def test_labels_say_what_differs_and_nothing_else() -> None:
    other = replace(MINILM, settings=replace(MINILM.settings, pooling="cls"))
    control = replace(MINILM, settings=replace(MINILM.settings, control="shuffled"))
    assert distinguishing_labels([MINILM, other]) == [("mean",), ("cls",)]
    assert distinguishing_labels([MINILM, control, other]) == [
        ("real", "mean"),
        ("shuffled", "mean"),
        ("real", "cls"),
    ]
    tokens = replace(MINILM, settings=replace(MINILM.settings, pooling="tokens", tokens=4))
    assert distinguishing_labels([MINILM, tokens]) == [("mean", ""), ("tokens", "tokens=4")]
    fewer = replace(MINILM, examples_used=200)
    assert distinguishing_labels([fewer, MINILM]) == [("N=200",), ("N=1000",)]
    assert distinguishing_labels([MINILM, replace(MINILM, seconds=9.0)]) == [("#1",), ("#2",)]
