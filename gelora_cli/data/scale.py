"""Standardize scores for training, and bring predictions back to the scale of the data."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gelora_cli.core.artifacts.result import ScoreScale

Scores = NDArray[np.floating[Any]]


def fit_score_scale(scores: ArrayLike) -> ScoreScale:
    """Return the mean and the standard deviation of scores (n,); the deviation is 1 if all scores are equal."""
    values = np.asarray(scores, np.float64)
    return ScoreScale(float(values.mean()), float(values.std()) or 1.0)


def standardize(scores: ArrayLike, scale: ScoreScale) -> NDArray[np.float32]:
    """Return (score - mean) / sd, computed in float64 and rounded to float32."""
    deviations = (np.asarray(scores, np.float64) - scale.mean) / scale.sd
    return np.asarray(deviations, np.float32)


def unstandardize(outputs: Scores, scale: ScoreScale) -> NDArray[np.float64]:
    """Return mean + sd * output in float64, in which distinct float32 outputs stay distinct."""
    return scale.mean + scale.sd * np.asarray(outputs, np.float64)
