"""What a CUDA graph of a step needs, as far as a CPU shows it; the graphs themselves are in tests/gpu."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from gelora_cli.data.collate import collate
from gelora_cli.data.encoding import EncodedSplit
from gelora_cli.tasks.losses import BatchLoss
from gelora_cli.training.graphs import can_capture, padded_width, remember_positions
from tests.helpers.completion_rows import completion_rows
from tests.helpers.method_cases import inputs_of, loaded_and_plan
from tests.helpers.train_settings import SETTINGS

SPLIT = EncodedSplit(
    "train", np.arange(3), np.array([0, 1, 1]), np.arange(1, 10, dtype=np.int32), np.array([0, 2, 5, 9]), None
)


def test_few_widths_serve_all_lengths() -> None:
    assert [padded_width(length) for length in (1, 8, 9, 64, 65, 512)] == [8, 8, 16, 64, 80, 512]
    assert len({padded_width(length) for length in range(1, 513)}) == 36


def test_rows_padded_to_a_width_hold_the_same_tokens() -> None:
    rows = np.array([2, 0])
    plain, wide = (collate(SPLIT, rows, 0, torch.device("cpu"), width).inputs for width in (None, 8))
    assert plain["input_ids"].shape == (2, 4) and wide["input_ids"].shape == (2, 8)
    for name, tensor in wide.items():
        assert torch.equal(tensor[:, :4], plain[name]) and not tensor[:, 4:].any()


def trainer(model: Any, *, device: str = "cuda", loss: Any = None, split: EncodedSplit = SPLIT, **changes: Any) -> Any:
    """Return what a training shows to `can_capture`."""
    hooks = {"extra_loss": None, "after_step": None, "restarted": None} | changes
    return SimpleNamespace(
        adapted=SimpleNamespace(model=model, **hooks),
        settings=SimpleNamespace(micro_batch_size=None, loss=loss or SETTINGS.loss),
        split=split,
        accelerator=SimpleNamespace(device=torch.device(device), num_processes=1),
    )


def test_only_what_repeats_itself_is_captured(tiny_models: dict[str, Path]) -> None:
    class Own(torch.nn.Module):
        """A module of somebody's own, which may count its calls."""

    model = loaded_and_plan(tiny_models["bert"])[0].model
    assert can_capture(trainer(model))
    assert not can_capture(trainer(model, device="cpu"))
    assert not can_capture(trainer(model, after_step=lambda step: None))
    assert not can_capture(trainer(model, loss=BatchLoss(SETTINGS.loss.kind, lambda output, batch, labels: output)))
    assert not can_capture(trainer(torch.nn.Sequential(model, Own())))
    # Each batch of completions is divided by another number of tokens, which a graph would keep.
    assert not can_capture(trainer(model, split=completion_rows()))


def test_debertas_positions_are_computed_once_for_each_length(
    tiny_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model: Any = loaded_and_plan(tiny_models["deberta-v2"])[0].model
    inputs = inputs_of(tiny_models["deberta-v2"], "deberta-v2")
    expected = model(**inputs).logits
    calls: list[Any] = []
    known: dict[tuple[int, int], Any] = {}
    encoder = type(model.deberta.encoder)
    compute = encoder.get_rel_pos

    def counted(*given: Any) -> Any:
        calls.append(given)
        return compute(*given)

    monkeypatch.setattr(encoder, "get_rel_pos", counted)
    with ExitStack() as swaps:
        remember_positions(model, known, swaps)
        assert all(torch.equal(model(**inputs).logits, expected) for _ in range(2))
        assert len(calls) == 1
        model(**{name: tensor[:, :5] for name, tensor in inputs.items()})
        assert len(calls) == len(known) == 2
    assert torch.equal(model(**inputs).logits, expected)
    assert len(calls) == 3  # as it was
