"""Measured signals other than the idim: `signal-gradients.json`, `signal-activations.json`, `signal-weights.json`.

Every signal covers all linear layers of the model's blocks, so that `method.modules` and `ranks.granularity` are
choices of a plan, not of a measurement. A sampled signal also holds what was measured without each tenth of its
sample, in the same order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gelora_cli.core.artifacts.model_map import ModelMap


@dataclass(frozen=True)
class GradientNumbers:
    """What the gradient of one linear layer says; W is its weight, g_b the gradient of batch b, G the mean of all g_b.

    Attributes:
        fisher: Mean over parameters and batches of `g_b^2`.
        importance: Mean over parameters of `|W * G|` (GoRA).
        effective_rank: `exp(entropy)` of the singular values of G, divided by their sum (RaLoRA).
        sensitivity: Sum over parameters of `W^2 * mean_b g_b^2` (Sensitivity-LoRA).
    """

    fisher: float
    importance: float
    effective_rank: float
    sensitivity: float


@dataclass(frozen=True)
class LinearGradients:
    """One linear layer: its full name, its numbers over all batches, and without each tenth of the batches."""

    name: str
    numbers: GradientNumbers
    jackknife: tuple[GradientNumbers, ...]


@dataclass(frozen=True)
class GradientSignal:
    """Gradients of the pretrained model's loss on a task's training rows, with a new head.

    Attributes:
        model: Name of the model.
        task: Name of the task.
        linears: A row for each linear layer of the model's blocks, in their order.
        batches: Number of global batches.
        batch_size: Examples of each.
        model_map: Blocks and linear layers of the model.
        seconds: Time of the measurement, over all attempts.
        operations: Floating-point operations of the measurement, from its shapes; None if it is older than this.
    """

    model: str
    task: str
    linears: tuple[LinearGradients, ...]
    batches: int
    batch_size: int
    model_map: ModelMap
    seconds: float
    operations: int | None = None

    FILE: ClassVar[str] = "signal-gradients.json"


@dataclass(frozen=True)
class Spectrum:
    """The spectrum of the covariance of vectors, with eigenvalues `l_1 >= l_2 ..`.

    Attributes:
        effective_rank: `exp(entropy)` of `l_i / sum l`.
        participation_ratio: `(sum l)^2 / sum l^2`.
        explained: The largest shares `l_i / sum l`, descending.
    """

    effective_rank: float
    participation_ratio: float
    explained: tuple[float, ...]


@dataclass(frozen=True)
class LinearInputs:
    """The inputs of linear layers that all read the same vectors, such as query, key and value of a block.

    Attributes:
        names: Full names of those linear layers.
        spectrum: Over all tokens.
        jackknife: The same without each tenth of the texts.
    """

    names: tuple[str, ...]
    spectrum: Spectrum
    jackknife: tuple[Spectrum, ...]


@dataclass(frozen=True)
class ActivationSignal:
    """Spectra of what the linear layers of the pretrained model read on a task's training text.

    Attributes:
        model: Name of the model.
        task: Name of the task.
        inputs: Every linear layer of the model's blocks is in one row.
        examples: Number of texts.
        tokens: Number of their tokens.
        model_map: Blocks and linear layers of the model.
        seconds: Time of the measurement, over all attempts.
        operations: Floating-point operations of the measurement, from its shapes; None if it is older than this.
    """

    model: str
    task: str
    inputs: tuple[LinearInputs, ...]
    examples: int
    tokens: int
    model_map: ModelMap
    seconds: float
    operations: int | None = None

    FILE: ClassVar[str] = "signal-activations.json"


@dataclass(frozen=True)
class LinearWeight:
    """One linear layer: its full name, and `exp(entropy)` of the singular values of its weight over their sum."""

    name: str
    effective_rank: float


@dataclass(frozen=True)
class WeightSignal:
    """Spectra of the pretrained weights, which no text changes.

    Attributes:
        model: Name of the model.
        linears: A row for each linear layer of the model's blocks, in their order.
        model_map: Blocks and linear layers of the model.
        seconds: Time of the measurement.
        operations: Floating-point operations of the measurement, from its shapes; None if it is older than this.
    """

    model: str
    linears: tuple[LinearWeight, ...]
    model_map: ModelMap
    seconds: float
    operations: int | None = None

    FILE: ClassVar[str] = "signal-weights.json"
