"""Every method and variant trains on the GPU as on the CPU, without making the host wait for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.artifacts.profile import IdProfile
from gelora_cli.core.codec import read_artifact
from gelora_cli.core.registries import METHODS
from tests.helpers.bench import result_of
from tests.helpers.gpu import LIBRARY, Twins
from tests.helpers.methods_known import EXEMPT, PROFILE_BASED
from tests.helpers.variant_matrix import VARIANTS

pytestmark = pytest.mark.gpu

TOLERANCE = 2e-4
"""Accepted difference of a loss, relative to it: float32 sums in another order, over six steps at a high rate."""
OWN_TOLERANCE = {"eva": 1e-3}
"""EVA's decomposition draws its directions on the device."""
SHORT = ("task=cola", "model.dropout=0", "train.log_steps=1", "profile.max_examples=80")
TRAINED = tuple(name for name in METHODS.names() if name != "file")  # which only reads ranks from a file
ADJUSTING = ("adalora", "cut", "sora")
"""Methods that decide on ranks within some of their steps, for which the host must know numbers."""


def runs() -> dict[str, tuple[str, list[str]]]:
    methods = {name: [f"method={name}", *([] if name in EXEMPT else ["budget=2500"])] for name in TRAINED}
    variants = {f"gelora {name}": ["method=gelora", f"method.variant={name}", "budget=2500"] for name in VARIANTS[1:]}
    return {name: ("bert", [*SHORT, *words]) for name, words in (methods | variants).items()}


RUNS = runs()


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory, glue_dir: Path, tiny_models: dict[str, Path]) -> Twins:
    return Twins(tmp_path_factory.mktemp("methods"), glue_dir, tiny_models, RUNS)


@pytest.mark.parametrize("name", RUNS)
def test_losses_are_those_of_the_cpu_and_the_adapter_reloads(twins: Twins, name: str) -> None:
    gpu, cpu = twins.losses(name)
    assert len(gpu) == 6 and gpu == pytest.approx(cpu, rel=OWN_TOLERANCE.get(name, TOLERANCE))
    results = [result_of(directory) for directory in (twins.gpu[name], twins.cpu[name])]
    assert results[0].reload_check.passed
    assert results[0].effective_ranks == results[1].effective_ranks


@pytest.mark.parametrize("name", RUNS)
def test_no_step_waits_for_the_gpu(twins: Twins, name: str) -> None:
    ours = [[path for path in paths if LIBRARY not in path] for paths in twins.waits[name]]
    assert len(ours) == 6
    if name not in ADJUSTING:
        assert ours == [[]] * 6
    # BERT itself looks at the mask once in a forward pass.
    assert all(len(paths) - len(own) <= 1 for paths, own in zip(twins.waits[name], ours, strict=True))


@pytest.mark.parametrize("name", PROFILE_BASED)
def test_profiles_and_ranks_are_those_of_the_cpu(twins: Twins, name: str) -> None:
    profiles = [read_artifact(IdProfile, side[name] / IdProfile.FILE) for side in (twins.gpu, twins.cpu)]
    gpu, cpu = ([layer.idim for layer in profile.layers] for profile in profiles)
    assert gpu == pytest.approx(cpu, rel=1e-4)
    plans = [read_artifact(RankPlan, side[name] / RankPlan.FILE) for side in (twins.gpu, twins.cpu)]
    assert plans[0].rank_pattern == plans[1].rank_pattern
