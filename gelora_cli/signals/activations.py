"""Spectra of what the linear layers read on a task's texts; no torch on import.

Whether the intrinsic dimension by TwoNN says more than a plain principal component analysis is the question that a plan
from this signal answers. Its `explained` shares are what EVA (arXiv 2410.07170) ranks modules by.
"""

from __future__ import annotations

from collections.abc import Mapping

from gelora_cli.config.identity import WINDOW_KEYS
from gelora_cli.config.schema import ProfileConfig, RunConfig
from gelora_cli.core.artifacts.signals import ActivationSignal
from gelora_cli.core.registries import SIGNALS
from gelora_cli.models.operations import FORWARD_ONLY, eigenvalue_operations, model_operations
from gelora_cli.models.shapes import read_shapes
from gelora_cli.signals.base import Inputs, Signal, SignalContext, without_window_keys

READS = {"key": "query", "value": "query", "gate": "up"}
"""Roles of linears that read what another one reads, in the known kinds of models."""

SPECTRA = 11
"""Of each input: with all texts, and without each tenth."""


@SIGNALS.register
class Activations(Signal[ActivationSignal]):
    """The spectrum of the covariance of every distinct input of the blocks' linear layers."""

    name = "activations"
    description = "the spectrum of what every linear layer reads"
    artifact = ActivationSignal
    settings = (
        "model.blocks",
        "model.linears",
        "profile.max_examples",
        "profile.seed",
        "profile.batch_size",
        "task.max_length",
        *sorted(WINDOW_KEYS),
    )
    contents = ("model", "train")
    fewest_texts = 20  # ten tenths of two texts

    def inputs(self, config: RunConfig, fingerprints: Mapping[str, str]) -> Inputs:
        """Return its settings, without those of windows where there are none."""
        return without_window_keys(super().inputs(config, fingerprints), config)

    def untimed(self, profile: ProfileConfig) -> str:
        """Return what a dry run can't time."""
        return "eleven spectra of every input"

    def operations(self, context: SignalContext) -> int:
        """Return those of one pass, of the covariance of every distinct input, and of eleven spectra of each.

        Query, key and value read one input, and so do up and gate. Of a covariance the upper triangle is computed, so
        that n tokens of D coordinates cost `n D^2`, to leading order [ours].
        """
        from gelora_cli.data.batches import padded_load, sorted_batches

        split, shapes = context.examples(), read_shapes(context.model, context.model_map)
        batches = sorted_batches(split.lengths, context.profile.batch_size)
        total = model_operations(shapes, padded_load(split.lengths, batches), FORWARD_ONLY, head=False)
        tokens = int(split.lengths.sum())
        for block in context.model_map.blocks:
            inputs = {READS.get(linear.role, linear.role): linear.in_features for linear in block.linears}
            for width in inputs.values():
                total += len(block.layers) * tokens * width**2 + SPECTRA * eigenvalue_operations(width)
        return total

    def measure(self, context: SignalContext) -> ActivationSignal:
        """Return the spectra on the drawn rows, with all of them and without each tenth."""
        from gelora_cli.geometry.activations import measure_inputs

        measured = measure_inputs(
            context.model,
            context.model_map,
            context.examples(),
            seed=context.profile.seed,
            batch_size=context.profile.batch_size,
            pad_token_id=context.pad_token_id,
            accelerator=context.accelerator,
            store=context.store,
        )
        return ActivationSignal(
            model=context.model_name,
            task=context.task.name,
            inputs=measured.inputs,
            examples=measured.examples,
            tokens=measured.tokens,
            model_map=context.model_map,
            seconds=round(context.store.seconds, 3),
        )
