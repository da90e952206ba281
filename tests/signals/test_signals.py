"""What decides whether runs share a measured signal, and reading saved ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from gelora_cli.config.schema import ProfileConfig, RunConfig
from gelora_cli.core.artifacts.model_map import ModelMap
from gelora_cli.core.artifacts.profile import IdProfile
from gelora_cli.core.codec import write_artifact
from gelora_cli.core.errors import GeloraError
from gelora_cli.pipeline.signal_stage import unread_keys
from gelora_cli.signals.base import Signal, SignalContext
from gelora_cli.signals.idim import Idim, profile_settings
from gelora_cli.signals.saved import read_signals
from tests.helpers.rank_profiles import MINILM

FINGERPRINTS = {"model": "m" * 64, "train": "t" * 64}


@dataclass(frozen=True)
class Sizes:
    """A made-up measurement."""

    sizes: tuple[float, ...]
    model_map: ModelMap
    seconds: float

    FILE: ClassVar[str] = "signal-sizes.json"


class OfWeights(Signal[Sizes]):
    """A signal that depends on the model and on one key."""

    name = "sizes"
    description = "the size of every block"
    artifact = Sizes
    settings = ("profile.seed",)
    contents = ("model",)

    def measure(self, context: SignalContext) -> Sizes:
        raise NotImplementedError


def test_runs_share_what_the_same_inputs_gave_and_nothing_else() -> None:
    signal, config = OfWeights(), RunConfig()
    shared = signal.sharing_hash(config, FINGERPRINTS)
    assert len(shared) == 16
    assert signal.sharing_hash(replace(config, seed=7), FINGERPRINTS) == shared
    assert signal.sharing_hash(config, FINGERPRINTS | {"train": "x"}) == shared  # it does not read the texts
    assert signal.sharing_hash(config, FINGERPRINTS | {"model": "x"}) != shared
    assert signal.sharing_hash(replace(config, profile=ProfileConfig(seed=7)), FINGERPRINTS) != shared

    class Newer(OfWeights):
        version = 2

    assert Newer().sharing_hash(config, FINGERPRINTS) != shared


PROFILES: list[dict[str, Any]] = [
    {"pooling": "tokens"},
    {"pooling": "tokens", "tokens": 8},
    {"estimator": "gride"},
    {"estimator": "gride", "scale": 4},
    {"scales": True},
    {"control": "untrained"},
    {"control": "shuffled"},
]


def test_every_way_to_measure_a_profile_has_a_directory_of_its_own() -> None:
    signal, configs = Idim(), [RunConfig(profile=ProfileConfig(**values)) for values in ({}, *PROFILES)]
    assert len({signal.sharing_hash(config, FINGERPRINTS) for config in configs}) == len(configs)
    settings = [profile_settings(config.task, config.profile) for config in configs]
    assert settings[0] == settings[5]  # curves of scales are no setting of the numbers
    assert [row.tokens for row in settings] == [None, 4, 8, None, None, None, None, None]
    assert [row.scale for row in settings] == [None, None, None, None, 4, None, None, None]
    assert [row.control for row in settings[5:]] == [None, "untrained", "shuffled"]


def test_a_setting_that_is_no_key_is_named() -> None:
    class Mistyped(OfWeights):
        settings = ("profile.sed",)

    with pytest.raises(GeloraError, match=r"signal sizes: profile\.sed is no key"):
        Mistyped().inputs(RunConfig(), FINGERPRINTS)


def test_a_saved_signal_is_read_from_a_directory_or_its_file(tmp_path: Path) -> None:
    write_artifact(MINILM, tmp_path)
    for path in (tmp_path, tmp_path / IdProfile.FILE):
        assert read_signals(["idim"], path) == {"idim": MINILM}
    with pytest.raises(GeloraError, match=r"nowhere.*No such file"):
        read_signals(["idim"], tmp_path / "nowhere" / IdProfile.FILE)


@pytest.mark.parametrize(
    ("names", "track", "unread"),
    [
        (["gradients"], False, ["profile.pooling=cls", "profile.control=shuffled"]),
        (["gradients"], True, []),
        (["gradients", "idim"], False, []),
        (["idim"], False, ["profile.gradient_batches=10"]),
        ([], False, []),
    ],
)
def test_keys_that_no_measurement_reads_are_named(names: list[str], track: bool, unread: list[str]) -> None:
    config = RunConfig(profile=ProfileConfig(pooling="cls", control="shuffled", gradient_batches=10, track=track))
    assert unread_keys(config, names) == unread
