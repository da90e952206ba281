"""What a run costs beside seconds and memory: floating-point operations, and what its adapter takes once it is used."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.artifacts.result import RunCosts, TrainResult
from gelora_cli.core.registries import METHODS
from gelora_cli.data.batches import batch_load, epoch_batches, micro_batches
from gelora_cli.data.encoding import EncodedSplit
from gelora_cli.models.operations import UpdateWork, model_operations
from gelora_cli.pipeline.session import Session
from gelora_cli.pipeline.stage_settings import train_settings

NO_RANK = "bottleneck"
"""The unit of a plan whose sizes are no ranks of an update."""


def run_costs(
    session: Session,
    plan: RankPlan,
    train: EncodedSplit,
    trained: TrainResult,
    *,
    signal_flops: int | None,
    attach_flops: int,
) -> RunCosts:
    """Return what a run costs.

    Args:
        session: the run's model and configuration.
        plan: as it was attached.
        train: the rows that it was trained on.
        trained: what the training did.
        signal_flops: operations of the signals that the plan reads; None where one has no count.
        attach_flops: operations of what the method measured itself.
    """
    # The saved adapter may have a multiple of the planned rank, but no more of what does not depend on the rank.
    by_rank = trained.adapter_params - plan.fixed_params - _work(session, plan).replaced_params
    ranks = trained.effective_ranks.values() if plan.blocks and plan.unit != NO_RANK else ()
    return RunCosts(
        signal_flops=signal_flops,
        attach_flops=attach_flops,
        training_flops=training_operations(session, plan, train, trained.steps),
        inference_params=max(0, plan.rank_factor * by_rank + plan.fixed_params),
        mergeable=not METHODS.get(session.config.method.name).unmergeable,
        largest_rank=plan.rank_factor * max(ranks, default=0) if ranks else None,
    )


def training_operations(session: Session, plan: RankPlan, train: EncodedSplit, steps: int | None = None) -> int:
    """Return the operations of so many optimizer steps, or of all planned ones; of all processes together.

    Forward and backward passes are counted. They follow from the real batches of every epoch, as each process pads and
    splits them. Evaluations are no training.
    """
    settings = train_settings(session)
    steps = settings.total_steps(len(train)) if steps is None else steps
    load = batch_load(train.lengths, _all_micro_batches(session, train, steps), packing=settings.packing)
    return model_operations(session.shapes, load, _work(session, plan), steps=steps)


def _work(session: Session, plan: RankPlan) -> UpdateWork:
    """Return what the run's method trains."""
    method = session.config.method
    return METHODS.get(method.name).work(plan, session.loaded.map, method)


def _all_micro_batches(session: Session, train: EncodedSplit, steps: int) -> Iterator[NDArray[np.int64]]:
    """Yield the rows of every forward pass of so many optimizer steps, of all processes."""
    settings = train_settings(session)
    # Of an outer launcher the accelerator knows; a dry run is one process for those that the command names.
    processes = max(session.config.launch.processes, session.accelerator.num_processes)
    for epoch in range(1, math.ceil(steps / settings.steps_per_epoch(len(train))) + 1):
        batches = epoch_batches(train.lengths, settings.batch_size, settings.seed, epoch)
        for batch in batches[: steps - (epoch - 1) * len(batches)]:
            for process in range(processes):
                for rows, _ in micro_batches(batch, process, processes, settings.micro_batch_size):
                    yield rows
