"""Effective ranks of pretrained weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gelora_cli.config.schema import ModelConfig, RunConfig, TaskConfig
from gelora_cli.core.artifacts.signals import WeightSignal
from gelora_cli.core.registries import SIGNALS
from gelora_cli.geometry.spectrum import effective_rank, singular_values
from gelora_cli.signals.weights import Weights
from tests.helpers.signal_contexts import on_two_threads, signal_context
from tests.helpers.tiny import KINDS

TEXTS = ["the cat sat"]


def direct(weight: torch.Tensor) -> float:
    """Return the effective rank from a full decomposition by numpy."""
    values = np.linalg.svd(weight.detach().double().numpy(), compute_uv=False)
    shares = values / values.sum()
    return float(np.exp(-np.sum(shares * np.log(shares))))


def test_the_effective_rank_counts_equal_directions() -> None:
    for count in (1, 3, 20):
        assert effective_rank(np.array([0.0] * 5 + [0.7] * count)) == pytest.approx(count, rel=1e-12)
    assert effective_rank(np.zeros(4)) == 0.0
    assert effective_rank(np.array([3.0, 1.0])) == pytest.approx(np.exp(0.75 * np.log(4 / 3) + 0.25 * np.log(4)))


@pytest.mark.parametrize("shape", [(40, 40), (25, 60), (60, 25)])
def test_singular_values_by_the_smaller_gram_matrix_lose_nothing_that_counts(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    decay = torch.exp(-12 * torch.arange(shape[1]) / shape[1])
    matrix = torch.randn(*shape, generator=generator) * decay
    exact = np.linalg.svd(matrix.double().numpy(), compute_uv=False)
    values = singular_values(matrix)
    assert len(values) == min(shape)
    np.testing.assert_allclose(values[::-1], exact, atol=1e-7 * exact[0])
    assert effective_rank(values) == pytest.approx(effective_rank(exact), rel=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_every_linear_of_every_kind_has_the_rank_of_its_weight(tiny_models: dict[str, Path], kind: str) -> None:
    context = signal_context(tiny_models[kind], kind, TEXTS)
    signal = Weights().measure(context)
    names = [linear.name for block in context.model_map.blocks for linear in block.linears]
    assert [row.name for row in signal.linears] == names
    for row in signal.linears:
        weight = context.model.get_parameter(f"{row.name}.weight")
        assert row.effective_rank == pytest.approx(direct(weight), rel=1e-9)
        assert 1 < row.effective_rank < min(weight.shape)


def test_two_processes_share_the_linears_and_have_the_same_artifact(
    tiny_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = Weights().measure(signal_context(tiny_models["bert"], "bert", TEXTS))
    path, module = tiny_models["bert"], "gelora_cli.signals.weights"
    contexts = [signal_context(path, "bert", TEXTS) for _ in range(2)]
    first, second = on_two_threads(
        monkeypatch,
        [module],
        lambda accelerator: Weights().measure(replace(contexts[accelerator.process_index], accelerator=accelerator)),
    )
    assert first.linears == second.linears == alone.linears


def test_runs_of_all_tasks_share_it() -> None:
    signal, config = SIGNALS.get("weights"), RunConfig()
    assert signal.artifact is WeightSignal
    shared = signal.sharing_hash(config, {"model": "m", "train": "t"})
    other = replace(config, seed=3, task=TaskConfig(name="rte", max_length=77))
    assert signal.sharing_hash(other, {"model": "m", "train": "u"}) == shared
    assert signal.sharing_hash(config, {"model": "n", "train": "t"}) != shared
    mapped = replace(config, model=ModelConfig(linears={"query": "attention.q_lin"}))
    assert signal.sharing_hash(mapped, {"model": "m", "train": "t"}) != shared  # another set of linears
