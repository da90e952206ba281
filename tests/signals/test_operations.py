"""The operations that signals say they take, against torch's count of the products that measuring them computes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from gelora_cli.config.schema import ProfileConfig
from gelora_cli.core.distributed import Device
from gelora_cli.models.operations import neighbour_operations
from gelora_cli.signals.gradients import Gradients
from gelora_cli.signals.idim import Idim
from gelora_cli.signals.weights import Weights
from tests.helpers.signal_contexts import signal_context
from tests.helpers.tiny import WORDS

TEXTS = [f"{first} {second}" for first in WORDS[:8] for second in WORDS[:5]]


def test_a_profile_takes_one_pass_and_the_search_in_every_layer(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    context = signal_context(tiny_models["bert"], "bert", [*TEXTS, TEXTS[0]], place=tmp_path)  # one text twice
    search = (len(context.model_map.blocks) + 1) * neighbour_operations(len(TEXTS), 32)  # which numpy computes
    expected = Idim().operations(context) - search
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        Idim().measure(context)
    assert expected == pytest.approx(counter.get_total_flops(), rel=0.002)


def test_weights_take_their_gram_matrices_and_eigenvalues(tiny_models: dict[str, Path]) -> None:
    context = signal_context(tiny_models["bert"], "bert", TEXTS[:1])
    linears = [linear for block in context.model_map.blocks for linear in block.linears]
    with FlopCounterMode(display=False) as counter:
        Weights().measure(context)
    eigenvalues = len(linears) * (4 * 32**3 // 3)  # unknown to torch's counter
    assert Weights().operations(context) == counter.get_total_flops() + eigenvalues


@pytest.mark.parametrize(("size", "rows_run"), [(32, 32), (2, 3)])  # 2: the third process borrows a row
def test_gradients_take_the_rows_that_three_processes_run(
    tiny_models: dict[str, Path], size: int, rows_run: int
) -> None:
    texts = 8 * TEXTS  # 10 batches of up to 32 texts of two words
    alone = signal_context(tiny_models["bert"], "bert", texts)
    split = alone.examples()
    assert len(set(split.lengths)) == 1

    def operations(batch_size: int, processes: int) -> int:
        profile = ProfileConfig(batch_size=10, gradient_batches=10, gradient_batch_size=batch_size)
        accelerator: Any = Device(torch.device("cpu"), num_processes=processes)
        return Gradients().operations(replace(alone, profile=profile, accelerator=accelerator))

    assert operations(size, 3) == operations(rows_run, 1)
