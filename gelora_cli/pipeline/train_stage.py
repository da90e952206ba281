"""Fine-tuning in a run directory: the loop with its callbacks, and what is evaluated and kept."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gelora_cli.core.artifacts.result import EvalResult, TrainResult
from gelora_cli.core.logs import LOGGER
from gelora_cli.data.encoding import EncodedSplit
from gelora_cli.launchers.signals import SignalHandler
from gelora_cli.pipeline.probe import make_probe
from gelora_cli.pipeline.session import Session
from gelora_cli.pipeline.stage_settings import evaluates_first, train_settings

if TYPE_CHECKING:
    from gelora_cli.methods.base import AdaptedModel
    from gelora_cli.trackers.base import TakesLines
    from gelora_cli.training.callback import Callback
    from gelora_cli.training.evaluation import Evaluation


def train_stage(
    session: Session,
    attached: AdaptedModel,
    train: EncodedSplit,
    directory: Path,
    trackers: Sequence[TakesLines],
    stop: SignalHandler,
) -> tuple[TrainResult, list[Evaluation]]:
    """Fine-tune, and return the selected epoch's predictions on each reported split."""
    from gelora_cli.training.checkpoint import Checkpoints
    from gelora_cli.training.checkpointing import Checkpointing
    from gelora_cli.training.loop import Trainer
    from gelora_cli.training.observing import GeometryTrajectory
    from gelora_cli.training.recording import FirstEvaluation, MetricsLog, ProgressBar
    from gelora_cli.training.selection import BestEpoch

    config, settings = session.config, train_settings(session)
    evaluator = EpochEvaluator(session, attached, stop)
    checkpoints = Checkpoints(directory, config.train.checkpoint_steps, config.train.checkpoint_seconds)
    steps = f"{settings.total_steps(len(train))} steps of {settings.batch_size}"
    LOGGER.info("training: %s, from %s; learning rate %g", steps, train.describe(), settings.learning_rate)
    if settings.patience is not None:
        LOGGER.info("train.patience=%d may end it earlier; the learning rate is that of all steps", settings.patience)
    LOGGER.info("training settings: %s", config.preset_source)
    with stop.defer_interrupts():
        observers: list[Callback] = []
        if evaluates_first(config):
            observers.append(FirstEvaluation(evaluator, trackers))
        if config.profile.track:
            probe = make_probe(session, attached)
            interruptible = partial(stop.defer_interrupts, False)  # a measurement is long, and can be cut short
            observers.append(GeometryTrajectory(probe.measure, trackers, interruptible=interruptible))
        trainer = Trainer(
            attached,
            train,
            settings,
            pad_token_id=session.pad_token_id,
            accelerator=session.accelerator,
            evaluate=evaluator,
            callbacks=[
                MetricsLog(trackers),
                ProgressBar(),
                BestEpoch(evaluator.keep_latest),
                *observers,
                Checkpointing(checkpoints, stop=lambda: stop.requested),  # last: it saves what the others did
            ],
            arithmetic=session.step_arithmetic,
        )
        trained = trainer.fit(resume_from=checkpoints.latest())
    if trained.early_stop:
        LOGGER.info("%s", trained.early_stop)
    return trained, evaluator.reported()


class EpochEvaluator:
    """Evaluates the model on every evaluated split, and holds the predictions of the epoch to keep."""

    def __init__(self, session: Session, attached: AdaptedModel, stop: SignalHandler) -> None:
        self.session, self.attached, self.stop = session, attached, stop
        self.splits = session.eval_splits()
        self.latest: list[Evaluation] = []
        self.selected: list[Evaluation] = []

    def __call__(self, epoch: int) -> tuple[EvalResult, ...]:
        """Evaluate the model as it is; a request to stop ends an evaluation at once."""
        with self.stop.defer_interrupts(False):
            self.latest = self._evaluate()
        return tuple(evaluated.result for evaluated in self.latest)

    def keep_latest(self) -> None:
        """Hold the predictions of the last evaluation, whose epoch is the one to keep so far."""
        self.selected = self.latest

    def reported(self) -> list[Evaluation]:
        """Return the kept epoch's predictions on the reported splits, once the training has ended."""
        # An epoch that was evaluated before the run was resumed: its weights are back, so its predictions are, too.
        selected = self.selected or self._evaluate()
        return [evaluated for evaluated in selected if evaluated.result.split in self.session.protocol_splits.reported]

    def _evaluate(self) -> list[Evaluation]:
        return [self.session.evaluate(self.attached.model, split) for split in self.splits]
