"""What does not go together in how a run trains: the keys `train.*` beside those of processes, protocol and task."""

from __future__ import annotations

from collections.abc import Iterator

from gelora_cli.config.presets import global_batch_size
from gelora_cli.config.schema import RunConfig
from gelora_cli.core.messages import join_names
from gelora_cli.core.registries import TASK_KINDS


def training_problems(config: RunConfig) -> Iterator[str | None]:
    """Yield what does not go together, each as a sentence with its fix, None for all that does."""
    yield _batch_problem(config)
    yield _patience_problem(config)
    yield _recomputing_problem(config)
    yield _smoothing_problem(config)
    yield _packing_problem(config)


def _batch_problem(config: RunConfig) -> str | None:
    """Return that the global batch can't be shared equally by the processes, or a share by the micro batches."""
    batch, micro, processes = global_batch_size(config), config.train.micro_batch_size, config.launch.processes
    if batch is None or batch < 1 or processes < 1:  # refused by the bounds of each key
        return None
    if batch % processes:
        return (
            f"train.batch_size={batch} is not divisible among launch.processes={processes}: the global batch is shared "
            f"equally; take train.batch_size={batch + processes - batch % processes} or another number of processes"
        )
    share = batch // processes
    if micro is not None and micro > 0 and share % micro:
        return (
            f"train.micro_batch_size={micro} does not divide the {share} examples that each of {processes} processes "
            f"takes of train.batch_size={batch}; take a divisor of {share}"
        )
    return None


def _patience_problem(config: RunConfig) -> str | None:
    """Return that `train.patience` has no epoch to wait for, since the protocol selects none."""
    patience = config.train.patience
    if patience is None or config.protocol != "last":
        return None
    return (
        f"train.patience={patience}: protocol=last selects no epoch, so that none is the best so far; give "
        "protocol=split or protocol=dev, or train.patience=null"
    )


def _recomputing_problem(config: RunConfig) -> str | None:
    """Return that `train.fast` may record CUDA graphs, which compute no block again and pad batches otherwise."""
    if not (config.train.gradient_checkpointing and config.train.fast):
        return None
    return (
        "train.gradient_checkpointing=true: train.fast=true replays steps as CUDA graphs, which keep what is inside "
        "the blocks; give train.fast=false, or train.gradient_checkpointing=false"
    )


def _smoothing_problem(config: RunConfig) -> str | None:
    """Return that a task kind has no labels to smooth."""
    kind, smoothing = config.task.kind, config.train.label_smoothing
    if not smoothing or kind not in TASK_KINDS or TASK_KINDS.get(kind).smooths_labels:
        return None
    return f"train.label_smoothing={smoothing:g}: task.kind={kind} has no labels to smooth; leave it out"


def _packing_problem(config: RunConfig) -> str | None:
    """Return that a task kind has rows that can't share a sequence."""
    kind = config.task.kind
    if not config.train.packing or kind not in TASK_KINDS or TASK_KINDS.get(kind).packs_rows:
        return None
    packing = join_names(name for name in TASK_KINDS.names() if TASK_KINDS.get(name).packs_rows)
    return (
        f"train.packing=true: task.kind={kind} reads one output of each text, which packed texts would not have; "
        f"accepted for task.kind={packing}. Leave it out: batches hold texts of like length, which need little padding"
    )
