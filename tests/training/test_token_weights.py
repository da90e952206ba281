"""Losses of completions: the mean over the learned tokens of a global batch, however divided, padded or packed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gelora_cli.core import run_files
from gelora_cli.core.artifacts.result import EvalResult
from gelora_cli.core.distributed import make_accelerator
from gelora_cli.core.files import append_line, truncate_file
from gelora_cli.core.registries import TASK_KINDS
from gelora_cli.data.batches import epoch_batches, packed_load
from gelora_cli.data.collate import Batch, collate
from gelora_cli.data.packing import collate_packed
from gelora_cli.methods.base import AdaptedModel
from gelora_cli.tasks.losses import BatchLoss
from gelora_cli.training.checkpoint import Checkpoints, latest_valid_checkpoint
from gelora_cli.training.loop import Trainer
from gelora_cli.training.settings import TrainSettings
from gelora_cli.training.timing import no_results
from tests.helpers.completion_rows import adapted_decoder, completion_rows
from tests.helpers.metric_lines import without_times
from tests.helpers.tiny import DECODERS, make_tiny
from tests.helpers.tiny_decoders import MORE_DECODERS
from tests.helpers.train_settings import SETTINGS
from tests.helpers.training import fine_tune

CPU = torch.device("cpu")
KIND = TASK_KINDS.get("generation")
LOSS = BatchLoss(KIND, KIND.loss)
CHECKED = ("llama", "gemma3_text", "gpt2")
"""Grouped queries; windows and full attention in turns; positions that are learned and projections in one."""
OTHERS = tuple(kind for kind in (*DECODERS, *MORE_DECODERS) if kind not in CHECKED)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny("llama", tmp_path_factory.mktemp("llama"))


def trained(directory: Path, **changes: Any) -> tuple[list[float], AdaptedModel]:
    """Train for an epoch of two batches, in both of which rows share sequences; return the losses and the model."""
    adapted = adapted_decoder(directory)
    settings: TrainSettings = replace(SETTINGS, loss=LOSS, epochs=1, batch_size=6, **changes)
    trainer = Trainer(
        adapted,
        completion_rows(),
        settings,
        pad_token_id=0,
        accelerator=make_accelerator("float32"),
        evaluate=no_results,
        callbacks=(),
    )
    trainer.state.epoch = 1
    trainer.train_epoch()
    return trainer.state.losses, adapted


def assert_same_training(one: tuple[list[float], AdaptedModel], other: tuple[list[float], AdaptedModel]) -> None:
    """Compare losses and weights; AdamW's first steps are as long as the rate whatever the gradient, here 1e-3."""
    assert one[0] == pytest.approx(other[0], abs=1e-5)
    for first, second in zip(one[1].trainable().values(), other[1].trainable().values(), strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=1e-5)


def test_the_loss_of_a_step_is_the_mean_over_its_learned_tokens(llama: Path) -> None:
    split, adapted = completion_rows(), adapted_decoder(llama)
    rows = epoch_batches(split.lengths, 6, 0, 1)[0]
    tokens: list[torch.Tensor] = []
    with torch.no_grad():
        for row in rows:
            ids = torch.from_numpy(split.sequence(row)).long()
            logits = adapted.model(input_ids=ids[None]).logits[0]
            losses = -logits.log_softmax(-1)[:-1].gather(1, ids[1:, None])[:, 0]  # of each token but the first
            tokens.append(losses[max(int(split.prompt_lengths[row]), 1) - 1 :])
    assert len({len(losses) for losses in tokens}) > 1
    losses, _ = trained(llama)
    assert losses[0] == pytest.approx(float(torch.cat(tokens).mean()), abs=1e-5)


@pytest.mark.parametrize("packing", [False, True])
def test_micro_batches_of_unequal_tokens_train_as_the_whole(llama: Path, packing: bool) -> None:
    assert_same_training(trained(llama), trained(llama, micro_batch_size=3, packing=packing))


def test_packed_batches_train_as_padded_ones(llama: Path) -> None:
    lengths = completion_rows().lengths
    for rows in epoch_batches(lengths, 6, 0, 1):
        assert packed_load(lengths, [rows]).rows < len(rows)
    padded, packed = trained(llama), trained(llama, packing=True)
    assert_same_training(padded, packed)
    again = trained(llama, packing=True)
    assert packed[0] == again[0]
    pairs = zip(packed[1].trainable().values(), again[1].trainable().values(), strict=True)
    assert all(torch.equal(first, second) for first, second in pairs)


@pytest.mark.parametrize("kind", [*CHECKED, *(pytest.param(kind, marks=pytest.mark.slow) for kind in OTHERS)])
def test_packed_rows_have_the_losses_and_gradients_of_padded_ones(tmp_path: Path, kind: str) -> None:
    assert_packed_as_padded(adapted_decoder(make_tiny(kind, tmp_path)))


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*CHECKED, *OTHERS])
def test_packed_rows_are_kept_apart_by_eager_attention(tmp_path: Path, kind: str) -> None:
    adapted = adapted_decoder(make_tiny(kind, tmp_path))
    model: Any = adapted.model
    model.set_attn_implementation("eager")
    assert model.config._attn_implementation == "eager"
    assert_packed_as_padded(adapted)


def assert_packed_as_padded(adapted: AdaptedModel) -> None:
    """Compare losses and gradients of all rows in one batch, packed and padded."""
    split = completion_rows()
    rows = np.arange(len(split))

    def losses_and_gradients(batch: Batch) -> tuple[torch.Tensor, list[torch.Tensor]]:
        losses = LOSS(adapted.model, batch)
        gradients = torch.autograd.grad(losses.sum() / split.loss_divisor(rows), list(adapted.trainable().values()))
        return losses.detach(), list(gradients)

    padded = losses_and_gradients(collate(split, rows, 0, CPU))
    packed = losses_and_gradients(collate_packed(split, rows, 0, CPU))
    torch.testing.assert_close(packed[0], padded[0], rtol=1e-5, atol=1e-5)
    assert any(gradient.abs().max() > 1e-3 for gradient in padded[1])
    for one, other in zip(packed[1], padded[1], strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


class KilledError(Exception):
    """What ends a training in a test."""


def resumable(directory: Path, model: Path, *, packing: bool, die_at: int = 0) -> dict[str, torch.Tensor]:
    """Train for two epochs of four steps, with a checkpoint after every third; die in a step, without a checkpoint."""
    adapted = adapted_decoder(model, dropout=0.1)
    steps = 0

    def stop() -> bool:
        nonlocal steps
        steps += 1
        if steps == die_at:
            raise KilledError
        return False

    fine_tune(
        adapted,
        completion_rows(),
        replace(SETTINGS, loss=LOSS, packing=packing, batch_size=3, micro_batch_size=2, log_steps=2),
        pad_token_id=0,
        accelerator=make_accelerator("float32"),
        evaluate=lambda epoch: (EvalResult("validation", 5, {"exact_match": 0.1}, "exact_match", False, 0.1),),
        record=lambda line: append_line(directory / run_files.METRICS, line),
        checkpoints=Checkpoints(directory, 3, None),
        stop=stop,
    )
    return {name: tensor.detach().clone() for name, tensor in adapted.trainable().items()}


@pytest.mark.parametrize("packing", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_training_killed_in_mid_epoch_ends_as_if_it_never_was(llama: Path, tmp_path: Path, packing: bool) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    wanted = resumable(whole, llama, packing=packing)
    weights = []
    for die_at in (5, 5, 3):
        with pytest.raises(KilledError):
            resumable(broken, llama, packing=packing, die_at=die_at)
        state = latest_valid_checkpoint(broken)
        assert state is not None
        weights.append((state.step, state.loss_examples, state.loss_divisor))
        truncate_file(broken / run_files.METRICS, state.metrics_bytes)
    # The third step lies between two readings of the loss, whose divisor is then the tokens of its rows.
    split = completion_rows()
    rows = epoch_batches(split.lengths, 3, 0, 1)[2]
    assert weights[0] == (3, len(rows), split.loss_divisor(rows))
    assert len(rows) != split.loss_divisor(rows)
    torch.manual_seed(99)  # whatever ran before in the process that resumes
    resumed = resumable(broken, llama, packing=packing)
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in wanted.items())
    assert without_times(whole) == without_times(broken)
