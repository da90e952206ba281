"""What a terminal shows of a profile: columns of scales, a dimension that moves with the sample, and a hint."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gelora_cli.commands.profile_table import convergence_warning, pooling_hint, profile_table, profile_warnings
from gelora_cli.core.artifacts.profile import IdProfile, ScaleIdim
from tests.helpers.plans import scaled
from tests.helpers.rank_profiles import MINILM


def with_means(layer: int, half: float | None, quarter: float | None, **fields: object) -> IdProfile:
    """Return the usual profile, whose layers have intervals of +-0.5, with other means in one layer."""
    layers = list(MINILM.layers)
    layers[layer] = replace(layers[layer], half=half, quarter=quarter, **fields)  # type: ignore[arg-type]
    return replace(MINILM, layers=tuple(layers))


@pytest.mark.parametrize(("half", "quarter"), [(5.4, 5.5), (4.5, None), (None, None)])
def test_means_within_the_interval_are_no_warning(half: float | None, quarter: float | None) -> None:
    assert convergence_warning(with_means(0, half, quarter)) == ""


@pytest.mark.parametrize(
    ("half", "quarter", "values"),
    [
        (5.6, 7.5, "7.5 at N/4, 5.6 at N/2, 5.0 at N"),
        (5.4, 5.6, "5.6 at N/4, 5.4 at N/2, 5.0 at N"),
        (4.4, None, "4.4 at N/2, 5.0 at N"),
    ],
)
def test_a_dimension_that_moves_with_the_texts_is_a_warning(half: float, quarter: float | None, values: str) -> None:
    profile = with_means(0, half, quarter)
    text = convergence_warning(profile)
    assert "in 1 of 7 layers: of layer 0" in text
    assert values in text
    assert "4.5 .. 5.5" in text
    assert ("minimal pairs" in text) == (half > 5)  # copies make it fall
    assert ("rises with" in text) == (half < 5)
    assert f"warning: {text}" in profile_table(profile)


def test_the_reason_is_that_of_the_neighbourhood() -> None:
    text = convergence_warning(replace(with_means(0, 7.0, 9.0), scale=8))
    assert "the 16 nearest neighbours lie in a smaller neighbourhood" in text
    assert "minimal pairs" not in text
    up_and_down = convergence_warning(with_means(0, 7.0, 4.9))
    assert "rises" not in up_and_down
    assert "minimal pairs" not in up_and_down


def test_the_layer_that_moves_most_is_named() -> None:
    profile = with_means(2, 14.0, None)
    layers = list(profile.layers)
    layers[5] = replace(layers[5], half=12.0)
    text = convergence_warning(replace(profile, layers=tuple(layers)))
    assert "in 2 of 7 layers: of layer 2" in text


def test_a_constant_layer_does_not_move() -> None:
    assert convergence_warning(with_means(0, 3.0, 3.0, idim=0.0, low=0.0, high=0.0, constant=True)) == ""


def test_a_control_is_named_first() -> None:
    profile = replace(with_means(0, 9.0, None), settings=replace(MINILM.settings, control="untrained"))
    first, second = profile_warnings(profile)
    assert "profile.control=untrained" in first
    assert "not converged" in second


def test_scales_are_a_table_of_their_own() -> None:
    first, *others = MINILM.layers
    layers = (scaled(first, (1, 2)), *(scaled(row, (1, 2, 4)) for row in others))
    lines = profile_table(replace(MINILM, layers=layers)).splitlines()
    assert lines[: len(MINILM.layers) + 1] == profile_table(MINILM).splitlines()
    table = lines[len(MINILM.layers) + 2 :]
    assert table[0].split() == ["layer", "n1=1", "2", "4", "plateau", "N/8"]
    assert table[1].split() == ["0", "5.00", "10.00", "-", "-", "10.00"]
    assert table[2].split() == ["1", "7.50", "15.00", "30.00", "-", "15.00"]
    flat = tuple(ScaleIdim(n1, 3.0, 2.9, 3.1, 0.5, 0) for n1 in (1, 2, 4))
    layers = (replace(first, scales=flat), *others)
    assert profile_table(replace(MINILM, layers=layers)).splitlines()[-len(layers)].split()[4] == "1-4"
    assert len({len(line) for line in table}) == 1


@pytest.mark.parametrize(
    ("kind", "pooling", "hinted"),
    [
        ("llama", "mean", True),
        ("qwen2", "cls", True),
        ("mistral", "last", False),
        ("mistral", "tokens", False),
        ("bert", "mean", False),
        ("unheard-of", "mean", False),
    ],
)
def test_the_last_token_is_recommended_for_decoders(kind: str, pooling: str, hinted: bool) -> None:
    settings = replace(MINILM.settings, pooling=pooling)
    profile = replace(MINILM, model_map=replace(MINILM.model_map, kind=kind), settings=settings)
    assert bool(pooling_hint(profile)) == hinted
    assert ("profile.pooling=last" in profile_table(profile)) == hinted
