"""The measured intrinsic dimensions of a model's layers, `profile.json`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gelora_cli.core.artifacts.model_map import ModelMap

FEWEST_POINTS = 20
"""Fewer distinct points have no estimate: already at 20 the 95 % interval covers 86 to 90 %."""
DEFAULT_PRECISION = "float32"
"""Of the forward pass whose states are measured; profiles that are older than the setting have it."""


@dataclass(frozen=True)
class ScaleIdim:
    """Intrinsic dimension at one size of the neighbourhood, by GRIDE from `r_{2 n1} / r_{n1}` of every point.

    Attributes:
        n1: Number of the nearer neighbour; the farther one is `2 n1`.
        idim: The estimate.
        low: Lower end of the 95 % interval.
        high: Upper end of the 95 % interval.
        distance: Mean of `(r_{n1} + r_{2 n1}) / 2`, the radius that it looks at.
        dropped: Number of points whose ratio was left out as an outlier, or because the two distances are equal.
    """

    n1: int
    idim: float
    low: float
    high: float
    distance: float
    dropped: int


@dataclass(frozen=True)
class LayerIdim:
    """Intrinsic dimension of one hidden state: layer 0 is the input of block 1, layer i the output of block i.

    Attributes:
        layer: Number of the layer.
        idim: The estimate.
        low: Lower end of the 95 % interval.
        high: Upper end of the 95 % interval.
        half: Mean estimate over two disjoint halves of the points; None if a half would be too small.
        quarter: Mean estimate over four disjoint quarters; None if a quarter would be too small.
        points: Number of points before duplicates were removed.
        copies: Number of duplicates.
        used: Number of points in the estimate, so of distinct states; all points of a constant layer.
        constant: Whether all points are the same.
        eighth: Mean estimate over eight disjoint eighths; None if too small or not measured (`profile.scales`).
        jackknife: The estimate without each tenth of the texts, ten numbers; empty if the profile is older than this.
        scales: The estimate by GRIDE at n1 = 1, 2, 4 ..; empty if not measured (`profile.scales`).
    """

    layer: int
    idim: float
    low: float
    high: float
    half: float | None
    quarter: float | None
    points: int
    copies: int
    used: int
    constant: bool
    eighth: float | None = None
    jackknife: tuple[float, ...] = ()
    scales: tuple[ScaleIdim, ...] = ()

    @property
    def few_states(self) -> bool:
        """Return whether so many points take too few different states for an estimate; the idim is 0 then [ours]."""
        return not self.constant and self.used < FEWEST_POINTS <= self.points

    @property
    def by_definition(self) -> bool:
        """Return whether the idim is 0 by definition: one state for all texts, or few."""
        return self.constant or self.few_states

    @property
    def idims_by_scale(self) -> dict[int, float]:
        """Return the estimate by GRIDE at each measured n1."""
        return {scale.n1: scale.idim for scale in self.scales}


@dataclass(frozen=True)
class ProfileSettings:
    """The settings that a profile depends on, besides model and text.

    `stride` and `max_question_length` exist for question answering, `scale` for the estimator `gride` (None: the rule
    chose it, see `IdProfile.scale`), `tokens` for the pooling of that name. `control` is None for a real profile.
    `precision` is that of the forward pass: `float32`, or `bf16` for autocast. `dtype` is how the weights were stored
    (`model.dtype`).
    """

    pooling: str
    estimator: str
    discard: float
    max_examples: int
    max_length: int
    seed: int
    stride: int | None = None
    max_question_length: int | None = None
    scale: int | None = None
    tokens: int | None = None
    control: str | None = None
    precision: str = DEFAULT_PRECISION
    dtype: str = DEFAULT_PRECISION


@dataclass(frozen=True)
class IdProfile:
    """The measured idim profile d_0 .. d_L of a pretrained model on a task's training text.

    Attributes:
        model: Name of the model.
        model_fingerprint: The sha256 of its files; empty for a model that was passed in memory.
        task: Name of the task.
        data_fingerprint: The sha256 of the training rows.
        settings: What else the numbers depend on.
        examples_seen: Examples of the split; questions for question answering.
        examples_drawn: How many of them were drawn; windows for question answering.
        examples_copies: How many of the drawn ones have the tokens of an earlier one.
        examples_used: How many of the drawn ones went through the model.
        layers: L + 1 rows, layer 0 first.
        model_map: Blocks and linear layers of the model.
        seconds: Time of the measurement, over all attempts.
        scale: The n1 at which the estimator `gride` was read, the same for all layers; None for other estimators.
        operations: Floating-point operations of the measurement, from its shapes; None if it is older than this.
    """

    model: str
    model_fingerprint: str
    task: str
    data_fingerprint: str
    settings: ProfileSettings
    examples_seen: int
    examples_drawn: int
    examples_copies: int
    examples_used: int
    layers: tuple[LayerIdim, ...]
    model_map: ModelMap
    seconds: float
    scale: int | None = None
    operations: int | None = None

    FILE: ClassVar[str] = "profile.json"

    @property
    def measured_scales(self) -> tuple[int, ...]:
        """Return every n1 at which GRIDE was read, ascending; a layer may lack some of them."""
        measured: set[int] = set()
        for layer in self.layers:
            measured.update(layer.idims_by_scale)
        return tuple(sorted(measured))
