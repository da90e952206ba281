"""`train.patience`: which epoch ends a training, and that nothing but the saved evaluations decides it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from gelora_cli.config.checks import value_problems
from gelora_cli.core.artifacts.result import EvalResult, TrainResult
from gelora_cli.core.distributed import make_accelerator
from gelora_cli.core.errors import StoppedError
from gelora_cli.methods.base import AdaptedModel
from gelora_cli.training.checkpoint import Checkpoints, saved_checkpoints
from gelora_cli.training.selection import is_out_of_patience
from gelora_cli.training.settings import TrainSettings
from tests.helpers.composed import composed
from tests.helpers.rivals import case
from tests.helpers.train_settings import SETTINGS
from tests.helpers.training import fine_tune

PATIENT = replace(SETTINGS, epochs=8, protocol="split", patience=2, batch_size=32)
VALUES = (0.5, 0.6, 0.6, 0.59, 0.9, 0.9, 0.9, 0.9)
"""The second epoch is the best of the first four; an equal value is not better."""


def results(value: float) -> tuple[EvalResult, ...]:
    return (EvalResult("validation", 10, {"accuracy": value}, "accuracy", False, 0.1),)


def train(
    model: Path,
    settings: TrainSettings = PATIENT,
    values: tuple[float, ...] = VALUES,
    change: Callable[[AdaptedModel], AdaptedModel] = lambda attached: attached,
    **more: Any,
) -> tuple[TrainResult, list[dict[str, Any]], dict[str, torch.Tensor]]:
    """Return what the training did, its lines, and its weights at the end."""
    found = case(model, "lora")
    lines: list[dict[str, Any]] = []
    attached = change(found.attach())
    trained = fine_tune(
        attached,
        found.train,
        settings,
        pad_token_id=0,
        accelerator=make_accelerator("float32"),
        evaluate=lambda epoch: results(values[epoch - 1]),
        record=lines.append,
        **more,
    )
    return trained, lines, dict(attached.trainable())


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.fixture
def bert(tiny_models: dict[str, Path]) -> Path:
    return tiny_models["bert"]


@pytest.mark.parametrize(
    ("evaluated", "best", "patience", "ends"),
    [(4, 2, 2, True), (3, 2, 2, False), (9, 2, None, False), (9, 0, 1, False), (1, 1, 1, False), (2, 1, 1, True)],
)
def test_when_patience_is_spent(evaluated: int, best: int, patience: int | None, ends: bool) -> None:
    assert is_out_of_patience(evaluated, best, patience) is ends


def test_a_training_ends_after_epochs_that_are_not_better(bert: Path) -> None:
    stopped, lines, weights = train(bert)
    assert (stopped.epochs, stopped.planned_epochs, stopped.selected_epoch) == (4, 8, 2)
    assert (len(stopped.evaluations), stopped.steps, stopped.examples) == (4, 8, 4 * 64)
    assert stopped.early_stop == (
        "stopped after 4 of 8 epochs by train.patience=2: epoch 2 is the best, the 2 epochs after it were not better"
    )
    whole, all_lines, _ = train(bert, replace(PATIENT, patience=None))
    assert (whole.epochs, whole.steps, whole.early_stop) == (8, 16, "")
    readings = [(line["loss"], line["learning_rate"]) for line in lines if "loss" in line]
    assert readings == [(line["loss"], line["learning_rate"]) for line in all_lines if "loss" in line][:8]
    # What is kept are the weights of the second epoch, as trained on the schedule of eight.
    _, _, second = train(bert, replace(PATIENT, patience=1), values=(0.5, 0.6, 0.1))
    assert same(weights, second)


def test_a_training_that_ends_by_itself_was_not_stopped(bert: Path) -> None:
    trained, _, _ = train(bert, replace(PATIENT, epochs=3, patience=1), values=(0.5, 0.6, 0.6))
    assert (trained.epochs, trained.planned_epochs, trained.early_stop) == (3, 3, "")
    short, _, _ = train(bert, replace(PATIENT, max_steps=5), values=(0.5, 0.6, 0.6))
    assert (short.steps, short.epochs, short.planned_epochs, short.early_stop) == (5, 3, 3, "")


@pytest.mark.parametrize("evaluations", [3, 4])
def test_a_resumed_training_ends_after_the_same_epoch(bert: Path, tmp_path: Path, evaluations: int) -> None:
    # With 4 it is killed at its end, and the checkpoint holds the evaluation after which no epoch may begin.
    whole, _, weights = train(bert)
    store = Checkpoints(tmp_path, 1, None)
    with suppress(StoppedError):
        train(bert, checkpoints=store, stop=lambda: stop_after(tmp_path, evaluations))
    resumed, lines, again = train(bert, checkpoints=store, values=VALUES[:4])
    assert len([line for line in lines if "accuracy" in line]) == 4 - evaluations
    assert (resumed.epochs, resumed.steps, resumed.selected_epoch) == (whole.epochs, whole.steps, 2)
    assert same(weights, again)


def stop_after(directory: Path, evaluations: int) -> bool:
    """Return whether a checkpoint holds so many evaluations."""
    return any(path.name.endswith(f"-{evaluations:04d}") for path in saved_checkpoints(directory))


def test_epochs_above_the_budget_do_not_count(bert: Path) -> None:
    reached = iter([False, False, False, True, True, True, True])
    values = (0.9, 0.8, 0.7, *[0.6] * 5)
    trained, _, _ = train(bert, values=values, change=lambda made: replace(made, budget_reached=lambda: next(reached)))
    assert (trained.settled_epoch, trained.selected_epoch, trained.epochs) == (4, 4, 6)


def test_patience_needs_a_protocol_that_selects() -> None:
    (problem,) = value_problems(composed("task=cola", "model=minilm", "train.patience=2"))
    assert problem.startswith("train.patience=2: protocol=last selects no epoch")
    assert len(value_problems(composed("task=cola", "train.patience=2", "launch.processes=3"))) == 2  # all at once
    assert value_problems(composed("task=cola", "train.patience=2", "protocol=dev")) == []
    (problem,) = value_problems(composed("task=cola", "train.patience=0", "protocol=dev"))
    assert "at least 1" in problem
