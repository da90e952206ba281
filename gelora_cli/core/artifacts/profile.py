"""The measured intrinsic dimensions of a model's layers, `profile.json`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gelora_cli.core.artifacts.model_map import ModelMap


@dataclass(frozen=True)
class LayerIdim:
    """Intrinsic dimension of one hidden state: layer 0 is the input of block 1, layer i the output of block i.

    `low` and `high` bound the 95 % interval. `half` and `quarter` are the mean estimates over disjoint parts of N/2 and
    N/4 points (None if a part would be too small). Of the `points` given, `copies` duplicates were removed, and `used`
    entered the estimate. `constant` says that all points are the same.
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


@dataclass(frozen=True)
class ProfileSettings:
    """The settings that a profile depends on, besides model and text; the last two exist for question answering."""

    pooling: str
    estimator: str
    discard: float
    max_examples: int
    max_length: int
    seed: int
    stride: int | None = None
    max_question_length: int | None = None


@dataclass(frozen=True)
class IdProfile:
    """The measured idim profile d_0 .. d_L of a pretrained model on a task's training text.

    `model_fingerprint` is empty for a model that was passed in memory. `examples_seen` is the size of the split.
    `examples_drawn` of them were drawn, `examples_copies` of these had the same tokens as an earlier one, and
    `examples_used` went through the model. For question answering `examples_seen` counts questions, and the other three
    count windows.
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
    layers: tuple[LayerIdim, ...]  # L + 1 of them, layer 0 first
    model_map: ModelMap
    seconds: float

    FILE: ClassVar[str] = "profile.json"
