"""The loop: its schedule, its batches, and what must not change its numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gelora_cli.config.schema import LowRankConfig
from gelora_cli.core.artifacts.result import EvalResult, TrainResult
from gelora_cli.core.distributed import make_accelerator
from gelora_cli.core.errors import GeloraError, RunError
from gelora_cli.data.batches import epoch_batches
from gelora_cli.data.encoding import encode
from gelora_cli.data.splits import TextSplit
from gelora_cli.methods.base import AdaptedModel, MethodContext
from gelora_cli.methods.updates.lora import attach_lora
from gelora_cli.models.locate import resolve_model
from gelora_cli.models.tokenizer import load_tokenizer
from gelora_cli.tasks.losses import BatchLoss
from gelora_cli.training.optimization import parameter_groups
from gelora_cli.training.selection import best_epoch, is_better
from gelora_cli.training.settings import TrainSettings
from tests.helpers.method_cases import loaded_and_plan
from tests.helpers.rows import rows
from tests.helpers.train_settings import SETTINGS
from tests.helpers.training import fine_tune


def result(value: float) -> tuple[EvalResult, ...]:
    return (EvalResult("validation", 10, {"accuracy": value}, "accuracy", False, 0.1),)


def train(
    directory: Path,
    settings: TrainSettings,
    values: tuple[float, ...] = (0.5, 0.6, 0.7),
    examples: int = 43,
    dropout: float | None = None,
) -> tuple[TrainResult, list[dict[str, Any]], AdaptedModel]:
    found = rows("cola", examples, seed=1)
    loaded, plan = loaded_and_plan(directory, dropout=dropout)
    tokenizer = load_tokenizer(resolve_model(hub=None, path=str(directory)), "bert")
    labels = np.array([row["label"] for row in found])
    split = TextSplit("train", np.arange(examples), ([row["sentence"] for row in found],), labels)
    attached = attach_lora(MethodContext(loaded.model, loaded.map, plan, LowRankConfig(), 0))
    lines: list[dict[str, Any]] = []
    trained = fine_tune(
        attached,
        encode(split, tokenizer, 64),
        settings,
        pad_token_id=int(tokenizer.pad_token_id),
        accelerator=make_accelerator("float32"),
        evaluate=lambda epoch: result(values[epoch - 1]),
        select=lambda: None,
        record=lines.append,
    )
    return trained, lines, attached


def lengths(directory: Path) -> np.ndarray:
    tokenizer = load_tokenizer(resolve_model(hub=None, path=str(directory)), "bert")
    texts = [row["sentence"] for row in rows("cola", 43, seed=1)]
    return encode(TextSplit("train", np.arange(43), (texts,), None), tokenizer, 64).lengths


def losses(lines: list[dict[str, Any]]) -> list[float]:
    return [line["loss"] for line in lines if "loss" in line]


@pytest.fixture
def bert(tiny_models: dict[str, Path]) -> Path:
    return tiny_models["bert"]


def test_steps_epochs_and_the_learning_rate(bert: Path) -> None:
    trained, lines, _ = train(bert, SETTINGS)
    assert (trained.steps, trained.epochs, trained.examples) == (12, 2, 86)
    rates = [line["learning_rate"] for line in lines if "loss" in line]
    warm = [1e-3 * step / 3 for step in range(3)]  # 0.2 * 12 = 2.4 steps, rounded up
    falling = [1e-3 * (12 - step) / 9 for step in range(3, 12)]
    assert rates == pytest.approx([*warm, *falling])
    assert [line["accuracy"] for line in lines if "accuracy" in line] == [0.5, 0.6]


@pytest.mark.parametrize(("ratio", "examples"), [(0.0, 43), (0.06, 43), (0.07, 400), (0.29, 43), (0.99, 43)])
def test_the_learning_rates_are_those_of_trainer(bert: Path, tmp_path: Path, ratio: float, examples: int) -> None:
    from transformers import Trainer, TrainingArguments

    settings = replace(SETTINGS, warmup_ratio=ratio, epochs=2, batch_size=8)
    total = settings.total_steps(examples)
    arguments: Any = TrainingArguments(
        output_dir=str(tmp_path), learning_rate=1e-3, warmup_steps=ratio, lr_scheduler_type="linear", use_cpu=True
    )
    trainer: Any = Trainer(model=torch.nn.Linear(2, 2), args=arguments)
    trainer.create_optimizer_and_scheduler(total)
    wanted = []
    for _ in range(total):
        wanted.append(trainer._get_learning_rate())  # what Trainer logs: read before the scheduler's step
        trainer.optimizer.step()
        trainer.lr_scheduler.step()
    _, lines, _ = train(bert, settings, examples=examples)
    assert [line["learning_rate"] for line in lines if "loss" in line] == wanted


@pytest.mark.parametrize("kind", ["bert", "deberta-v2", "llama"])
def test_weight_decay_leaves_out_what_trainer_leaves_out(tiny_models: dict[str, Path], kind: str) -> None:
    from transformers import Trainer

    loaded, _ = loaded_and_plan(tiny_models[kind])
    model: Any = loaded.model
    with_decay, without = parameter_groups(model, 0.1)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert (with_decay["weight_decay"], without["weight_decay"]) == (0.1, 0.0)
    trainer: Any = Trainer
    wanted = set(trainer.get_decay_parameter_names(None, model)) & set(names.values())
    assert {names[id(parameter)] for parameter in with_decay["params"]} == wanted
    left_out = [names[id(parameter)] for parameter in without["params"]]
    assert all("bias" in name or "norm" in name.lower() for name in left_out)
    assert left_out
    assert len(with_decay["params"]) + len(left_out) == len(names)


def test_weight_decay_moves_weights_and_no_bias(bert: Path) -> None:
    settings = replace(SETTINGS, max_steps=3, warmup_ratio=0.0)
    plain, decayed = (
        train(bert, replace(settings, weight_decay=decay), dropout=0.0)[2].trainable() for decay in (0.0, 5.0)
    )
    after_one_step = [
        train(bert, replace(settings, weight_decay=decay, max_steps=1), dropout=0.0)[2].trainable()
        for decay in (0.0, 5.0)
    ]
    biases = [name for name in plain if name.endswith("bias")]
    assert biases
    without, with_decay = after_one_step
    assert all(torch.equal(without[name], with_decay[name]) for name in biases)
    assert not any(torch.equal(plain[name], decayed[name]) for name in plain if name.endswith("weight"))


def test_the_loss_of_a_short_last_batch_counts_its_examples(bert: Path) -> None:
    _, by_step, _ = train(bert, replace(SETTINGS, epochs=1))
    _, at_end, _ = train(bert, replace(SETTINGS, epochs=1, log_steps=1_000))
    sizes = [len(batch) for batch in epoch_batches(lengths(bert), 8, 0, 1)]
    assert sorted(sizes) == [3, 8, 8, 8, 8, 8]
    mean = np.dot(sizes, losses(by_step)) / 43
    assert losses(at_end) == [pytest.approx(mean, rel=1e-6)]


def test_logging_and_a_second_run_change_no_number(bert: Path) -> None:
    settings = replace(SETTINGS, learning_rate=1e-2)
    _, lines, attached = train(bert, settings)
    for other in (replace(settings, log_steps=5), settings):
        again = train(bert, other)[2]
        assert all(torch.equal(a, b) for a, b in _pairs(attached, again))
    assert losses(lines) == losses(train(bert, settings)[1])


def test_micro_batches_give_the_gradient_of_the_whole(bert: Path) -> None:
    whole = losses(train(bert, SETTINGS, dropout=0.0)[1])
    micro = losses(train(bert, replace(SETTINGS, micro_batch_size=3), dropout=0.0)[1])
    assert micro == pytest.approx(whole, rel=1e-5)


def test_max_steps_ends_in_mid_epoch_with_an_evaluation(bert: Path) -> None:
    trained, lines, _ = train(bert, replace(SETTINGS, max_steps=8))
    assert (trained.steps, trained.epochs, len(trained.evaluations)) == (8, 2, 2)
    assert [line["learning_rate"] for line in lines if "loss" in line][-1] == pytest.approx(1e-3 / 6)


def test_protocol_dev_puts_the_best_epoch_back(bert: Path) -> None:
    settings = replace(SETTINGS, epochs=3, protocol="dev", learning_rate=1e-2)
    values = (0.5, 0.3 + 0.6, 0.9)  # the third is higher by the rounding of a sum alone
    assert values[1] < values[2]
    trained, _, best = train(bert, settings, values=values)
    assert trained.selected_epoch == 2
    _, _, last = train(bert, replace(settings, protocol="last"), values=values)
    assert not all(torch.equal(a, b) for a, b in _pairs(best, last))
    assert best_epoch(trained.evaluations) == (2, 0.3 + 0.6)
    assert is_better(0.9 + 1e-9, 0.9) and is_better(0.0, -math.inf) and not is_better(math.nan, 0.5)
    assert is_better(90.0 + 1e-9, 90.0) and not is_better(90.0 + 1e-12, 90.0) and not is_better(1e-15, 0.0)


def test_a_loss_that_is_not_finite_stops_the_run(bert: Path) -> None:
    with pytest.raises(RunError, match=r"loss is nan at step \d+ .*learning rate"):
        train(bert, replace(SETTINGS, learning_rate=math.inf, warmup_ratio=0.0))


@pytest.mark.parametrize("of_rows", [torch.Tensor.mean, lambda losses: losses[:, None], lambda losses: None])
def test_a_loss_that_is_not_one_for_each_row_stops_the_run(bert: Path, of_rows: Callable[..., Any]) -> None:
    loss = BatchLoss(SETTINGS.loss.kind, lambda *inputs: of_rows(SETTINGS.loss.of_rows(*inputs)))
    settings = replace(SETTINGS, loss=loss)
    with pytest.raises(GeloraError, match=r"accepted: a loss for each of the 8 rows, \(8,\)"):
        train(bert, settings)


def _pairs(one: AdaptedModel, other: AdaptedModel) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return list(zip(one.trainable().values(), other.trainable().values(), strict=True))
