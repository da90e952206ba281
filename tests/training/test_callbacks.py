"""The hooks of the loop: when each is called, and what is let go of at the end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from gelora_cli.core.artifacts.result import EvalResult
from gelora_cli.core.distributed import Device, make_accelerator
from gelora_cli.training.callback import Callback, LossReading
from gelora_cli.training.loop import Trainer
from gelora_cli.training.recording import FirstEvaluation, MetricsLog, ProgressBar
from gelora_cli.training.selection import BestEpoch
from tests.helpers.rivals import case
from tests.helpers.train_settings import SETTINGS
from tests.helpers.training import Recorder


class Witness(Callback):
    """Writes down each hook with the step at which it was called; fails in the hook `fail_in`."""

    def __init__(self, fail_in: str = "") -> None:
        self.calls: list[str] = []
        self.fail_in = fail_in

    def on_start(self, trainer: Trainer) -> None:
        self._note("start", trainer)

    def on_loss(self, trainer: Trainer, reading: LossReading) -> None:
        assert reading.loss == trainer.state.losses[-1]
        self._note("loss", trainer)

    def on_step(self, trainer: Trainer) -> None:
        self._note("step", trainer)

    def before_evaluation(self, trainer: Trainer) -> None:
        self._note("before", trainer)

    def on_evaluation(self, trainer: Trainer, results: tuple[EvalResult, ...]) -> None:
        assert trainer.state.evaluations[-1] == results
        self._note("evaluation", trainer)

    def on_end(self, trainer: Trainer) -> None:
        self._note("end", trainer)

    def close(self) -> None:
        self.calls.append("close")

    def _note(self, hook: str, trainer: Trainer) -> None:
        self.calls.append(f"{hook} {trainer.state.step}")
        if hook == self.fail_in:
            raise ValueError(hook)


def trainer(directory: Path, witness: Callback) -> Trainer:
    """Make the trainer of one epoch of five steps, whose loss is read every second step."""
    found = case(directory, "gelora")
    return Trainer(
        found.attach(),
        found.train,
        replace(SETTINGS, epochs=1, log_steps=2, max_steps=5),
        pad_token_id=0,
        accelerator=make_accelerator("float32"),
        evaluate=lambda epoch: (EvalResult("validation", 10, {"accuracy": 0.5}, "accuracy", False, 0.1),),
        callbacks=[BestEpoch(lambda: None), witness],
    )


def test_the_hooks_come_in_order(tiny_models: dict[str, Path]) -> None:
    witness = Witness()
    result = trainer(tiny_models["bert"], witness).fit()
    steps = "step 1, loss 2, step 2, step 3, loss 4, step 4, loss 5, step 5"
    assert ", ".join(witness.calls) == f"start 0, {steps}, before 5, evaluation 5, end 5, close"
    assert (result.steps, result.selected_epoch) == (5, 1)


def test_a_first_evaluation_is_recorded_and_survives_a_checkpoint(tiny_models: dict[str, Path]) -> None:
    lines: list[dict[str, Any]] = []
    epochs: list[int] = []

    def evaluate(epoch: int) -> tuple[EvalResult, ...]:
        epochs.append(epoch)
        return (EvalResult("validation", 10, {"accuracy": 0.25}, "accuracy", False, 0.1),)

    begun = trainer(tiny_models["bert"], FirstEvaluation(evaluate, [Recorder(lines.append)]))
    result = begun.fit()
    assert [(line["step"], line["epoch"], line["accuracy"]) for line in lines] == [(0, 0, 0.25)]
    assert result.value_before("validation") == 0.25
    assert result.value_before("test") is None
    checkpoint = begun.state.state_dict()
    assert checkpoint is not None
    resumed = trainer(tiny_models["bert"], FirstEvaluation(evaluate, []))
    assert resumed.fit(checkpoint).before == result.before
    assert epochs == [0]


def test_the_rate_after_a_resume_is_that_of_its_own_steps(tiny_models: dict[str, Path]) -> None:
    class Stops(Callback):
        def on_step(self, trainer: Trainer) -> None:
            raise KeyboardInterrupt

    class Reads(Callback):
        def on_loss(self, trainer: Trainer, reading: LossReading) -> None:
            readings.append((trainer.state.step, trainer.state.examples, reading))

    readings: list[tuple[int, int, LossReading]] = []
    stopped = trainer(tiny_models["bert"], Stops())
    with pytest.raises(KeyboardInterrupt):
        stopped.fit()
    checkpoint = stopped.state.state_dict()
    assert checkpoint is not None
    trainer(tiny_models["bert"], Reads()).fit(checkpoint)
    step, examples, reading = readings[0]
    assert (checkpoint.state.step, step) == (1, 2)
    seconds = reading.seconds - checkpoint.state.seconds
    assert reading.examples_per_second == pytest.approx((examples - checkpoint.state.examples) / seconds, rel=1e-6)


def test_the_line_of_progress_has_the_newest_value(
    tiny_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: False)
    bar = ProgressBar()
    result = trainer(tiny_models["bert"], bar).fit()  # no loss is read after its only evaluation
    assert bar.bar.values == f", loss {result.last_loss:.4f}, accuracy 0.5000"


def test_ranks_are_counted_in_the_main_process_alone(tiny_models: dict[str, Path]) -> None:
    def ranks() -> tuple[dict[str, int], int]:
        asked.append(is_main)
        return {}, 0

    asked: list[bool] = []
    made = trainer(tiny_models["bert"], MetricsLog([]))
    made.adapted = replace(made.adapted, current_ranks=ranks)
    made.state.step = 1
    for is_main in (True, False):
        made.accelerator = cast(Any, Device(torch.device("cpu"), is_main_process=is_main))
        MetricsLog([]).on_loss(made, LossReading(0.5, 1e-3, 1.0, 8.0))
    assert asked == [True]


@pytest.mark.parametrize("hook", ["start", "step", "evaluation"])
def test_a_training_that_fails_closes_its_callbacks_and_has_no_end(tiny_models: dict[str, Path], hook: str) -> None:
    witness = Witness(fail_in=hook)
    with pytest.raises(ValueError, match=hook):
        trainer(tiny_models["bert"], witness).fit()
    assert witness.calls[-1] == "close"
    assert not any(call.startswith("end") for call in witness.calls)
