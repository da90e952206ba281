"""Fine-tuning in a run directory: the loop, what is evaluated, kept and recorded, and the geometry probe."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gelora_cli.core import rundir
from gelora_cli.core.artifacts import EvalResult, TrainResult
from gelora_cli.core.runtime import LOGGER
from gelora_cli.data.splits import EncodedSplit, draw_rows
from gelora_cli.launchers.signals import StopRequest
from gelora_cli.pipeline.session import Session

if TYPE_CHECKING:
    from gelora_cli.geometry.probe import Tracker
    from gelora_cli.methods.base import Attached
    from gelora_cli.training.evaluation import Judged


def train_stage(
    session: Session, attached: Attached, train: EncodedSplit, directory: Path, stop: StopRequest
) -> tuple[TrainResult, list[Judged]]:
    """Fine-tune, and the selected epoch's predictions on each reported split."""
    from gelora_cli.training.checkpoint import Checkpoints
    from gelora_cli.training.loop import fine_tune

    config, accelerator, settings = session.config, session.accelerator, session.settings()
    splits = session.eval_splits()
    latest: list[Judged] = []
    kept: list[Judged] = []

    def evaluate_epoch(_: int) -> tuple[EvalResult, ...]:
        with stop.deferred(False):
            latest[:] = [session.judge(attached.model, split) for split in splits]
        return tuple(found.result for found in latest)

    def record(values: dict[str, Any]) -> None:
        if accelerator.is_main_process:
            rundir.append_line(directory / rundir.METRICS, values)

    shown = (train.describe(), settings.total_steps(len(train)), settings.batch_size, config.preset_source)
    LOGGER.info("training: %s; %d steps of %d, %s", *shown)
    with stop.deferred():
        trained = fine_tune(
            replace(attached, observe=_observer(session, attached, stop, record)),
            train,
            settings,
            pad_token_id=session.pad_token_id,
            accelerator=accelerator,
            evaluate=evaluate_epoch,
            select=lambda: kept.__setitem__(slice(None), latest),
            record=record,
            checkpoints=Checkpoints(directory, config.train.checkpoint_steps, config.train.checkpoint_seconds),
            stop=lambda: stop.requested,
        )
    # The selected epoch was evaluated before the run was resumed: its weights are back, so its predictions are, too.
    judged = kept or [session.judge(attached.model, split) for split in splits]
    return trained, [found for found in judged if found.result.split in session.parts.reported]


def _observer(
    session: Session, attached: Attached, stop: StopRequest, record: Callable[[dict[str, Any]], None]
) -> Callable[[int, int], None]:
    """What looks at the model before the first step and after every evaluation: the main process, if asked to."""
    if not session.config.profile.track:
        return lambda step, epoch: None
    accelerator = session.accelerator
    tracker = geometry_probe(session, attached)

    def observe(step: int, epoch: int) -> None:
        if accelerator.is_main_process:
            start = time.perf_counter()
            with stop.deferred(False):
                found = tracker.measure()
            record({"step": step, "epoch": epoch, "track": found, "seconds": round(time.perf_counter() - start, 3)})
        accelerator.wait_for_everyone()

    return observe


def geometry_probe(session: Session, attached: Attached) -> Tracker:
    """The tracker on the probe: rows of the train split drawn with the profile's seed, whatever part trains."""
    from gelora_cli.data.collate import collate
    from gelora_cli.geometry.probe import Tracker, probe_places
    from gelora_cli.geometry.profiling import pooled_states
    from gelora_cli.geometry.twonn import estimate_idim
    from gelora_cli.methods.base import plain_model
    from gelora_cli.models.block_map import block_modules

    given, rows, pad = session.config.profile, session.prepared.splits["train"], session.pad_token_id
    device, model_map = session.accelerator.device, session.loaded.map
    drawn = session.encode(rows.take(draw_rows(len(rows), given.track_examples, given.seed)))
    split = drawn.take(drawn.distinct_rows()[: given.track_examples])
    model = plain_model(attached.model)
    blocks = block_modules(model, model_map)
    shared: dict[str, Any] = {"batch_size": given.batch_size, "pad_token_id": pad, "accelerator": session.accelerator}
    places = probe_places(split.lengths, given.track_tokens)
    return Tracker(
        model=attached.model,
        body=model.base_model,
        blocks=blocks,
        states=lambda: pooled_states(model, blocks, split, given.pooling, **shared),
        estimate=partial(estimate_idim, estimator=given.estimator, discard=given.discard, seed=given.seed),
        probes=[(collate(split, np.array([row]), pad, device).inputs, token) for row, token in places],
        updates=attached.updates,
        linears=[[linear.name for linear in block.linears] for block in model_map.blocks],
    )
