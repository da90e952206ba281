"""Gradients of a task's loss with respect to every linear layer of the blocks; importing this file imports no torch.

One pass serves four allocators. Its numbers are those of the pretrained model with a new head, before any adapter, in
evaluation mode (no dropout) and float32 [ours].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gelora_cli.config.identity import WINDOW_KEYS
from gelora_cli.config.keys import keys_of
from gelora_cli.config.schema import ProfileConfig, RunConfig
from gelora_cli.core.artifacts.signals import GradientSignal, LinearGradients
from gelora_cli.core.distributed import gather_objects
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.logs import LOGGER
from gelora_cli.core.registries import SIGNALS, TASK_KINDS
from gelora_cli.data.batches import padded_load
from gelora_cli.models.operations import UpdateWork, model_operations, singular_value_operations
from gelora_cli.models.shapes import read_shapes
from gelora_cli.signals.base import Inputs, Signal, SignalContext, without_window_keys
from gelora_cli.signals.gradient_pass import GROUPS, local_parts

LOSS_KEYS = ("task.class_weights", "train.label_smoothing")
"""Keys of the loss. Those that leave it as the task kind has it don't count, as for signals measured without them."""


@SIGNALS.register
class Gradients(Signal[GradientSignal]):
    """Four numbers of the gradient of every linear layer's weight, over all batches and without each tenth of them."""

    name = "gradients"
    description = "the gradient of the loss with respect to every linear layer"
    artifact = GradientSignal
    settings = (
        "task.kind",
        "task.labels",  # how many there are is the size of the head
        "task.max_length",
        *sorted(WINDOW_KEYS),
        "model.head",
        "model.blocks",
        "model.linears",
        "profile.max_examples",
        "profile.seed",
        "profile.batch_size",
        "profile.gradient_batches",
        "profile.gradient_batch_size",
        *LOSS_KEYS,
    )
    contents = ("model", "train")
    fewest_texts = GROUPS
    needs_labels = True
    passes = "backward"

    def inputs(self, config: RunConfig, fingerprints: Mapping[str, str]) -> Inputs:
        """Return its settings, without those of windows where there are none, and whether scores are standardized."""
        values = without_window_keys(super().inputs(config, fingerprints), config)
        for entry in keys_of(config):
            if entry.name in LOSS_KEYS and entry.value_in(config) in entry.declared.absent:
                del values[entry.name]
        return values | {"standardized": TASK_KINDS.get(config.task.kind).standardizes(config.task)}

    def rows_read(self, rows: int, profile: ProfileConfig) -> int:
        """Return how many rows its batches hold."""
        count, size = batch_counts(rows, profile)
        return count * size

    def untimed(self, profile: ProfileConfig) -> str:
        """Return what a dry run can't time."""
        return "eleven times the singular values of every gradient"

    def operations(self, context: SignalContext) -> int:
        """Return those of the passes forward and backward, and of eleven times the singular values of every gradient.

        The way back computes the gradients of the blocks' weights, and of what leads to them.
        """
        split, shapes = context.examples(), read_shapes(context.model, context.model_map)
        processes, size = context.accelerator.num_processes, context.profile.batch_size
        parts: list[NDArray[np.int64]] = []
        for batch in _drawn_batches(len(split), context.profile):
            for process in range(processes):
                parts += [rows for rows, _ in local_parts(batch, process, processes, size)]
        work = UpdateWork(trains_weights=True, trains_head=False)
        total = model_operations(shapes, padded_load(split.lengths, parts), work)
        for block in context.model_map.blocks:
            total += (GROUPS + 1) * sum(singular_value_operations(linear) for linear in block.linears)
        return total

    def measure(self, context: SignalContext) -> GradientSignal:
        """Return the numbers of all linear layers; the processes share every batch, and the linear layers at the end.

        Raises:
            GeloraError: rows without labels, fewer than ten of them, or a gradient that is not finite.
        """
        from gelora_cli.signals.gradient_numbers import measure_share
        from gelora_cli.signals.gradient_pass import GradientPass

        split = context.examples()
        if not split.has_labels:
            raise GeloraError(
                f"{self.title}: the training rows have no labels, which a loss needs; give rows with labels"
            )
        batches = draw_batches(len(split), context.profile)
        names = [linear.name for block in context.model_map.blocks for linear in block.linears]
        first_name = _first_names(context, names)
        measurement = GradientPass(context, split, [*dict.fromkeys(first_name.values())])
        measurement.run(batches)
        linears: dict[str, LinearGradients] = {}
        for measured in gather_objects(context.accelerator, measure_share(measurement)):
            linears |= measured
        return GradientSignal(
            model=context.model_name,
            task=context.task.name,
            linears=tuple(replace(linears[first_name[name]], name=name) for name in names),
            batches=len(batches),
            batch_size=len(batches[0]),
            model_map=context.model_map,
            seconds=round(context.store.seconds, 3),
        )


def draw_batches(rows: int, profile: ProfileConfig) -> list[NDArray[np.int64]]:
    """Return the rows of every global batch, (B,) each, in an order drawn from `profile.seed`.

    Rows are not sorted by length, which would make batches of like texts. Each row is used at most once: a row in two
    tenths of the batches would make the spread of the jackknife too small. So fewer rows give fewer batches, and where
    there would be fewer than ten, smaller ones.

    Raises:
        GeloraError: there are fewer than ten rows.
    """
    if rows < GROUPS:
        raise GeloraError(f"signal gradients: {rows} training rows; at least {GROUPS} are needed, one for each batch")
    count, size = batch_counts(rows, profile)
    if (count, size) != (profile.gradient_batches, profile.gradient_batch_size):
        LOGGER.warning(
            "gradients: %s rows give %d batches of %d, not %d of %d, since each row is used once",
            f"{rows:,}",
            count,
            size,
            profile.gradient_batches,
            profile.gradient_batch_size,
        )
    return _drawn_batches(rows, profile)


def _drawn_batches(rows: int, profile: ProfileConfig) -> list[NDArray[np.int64]]:
    """Return what `draw_batches` returns, without its checks."""
    count, size = batch_counts(rows, profile)
    # The 2 separates these numbers from those that drew the rows.
    order = np.random.default_rng([profile.seed, rows, 2]).permutation(rows)  # (rows,)
    return [order[start : start + size] for start in range(0, count * size, size)]


def batch_counts(rows: int, profile: ProfileConfig) -> tuple[int, int]:
    """Return how many global batches there are, and how many rows are in each."""
    size = min(profile.gradient_batch_size, rows // GROUPS)
    return min(profile.gradient_batches, rows // size), size


def _first_names(context: SignalContext, names: list[str]) -> dict[str, str]:
    """Return for each linear the first one with the same weight, itself where no weight is shared."""
    first_of_weight: dict[int, str] = {}
    return {name: first_of_weight.setdefault(id(context.model.get_submodule(name).weight), name) for name in names}
