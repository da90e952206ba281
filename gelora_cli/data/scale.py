"""Scores of mean 0 and standard deviation 1 for training, and predictions back on the scale of the data."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gelora_cli.core.artifacts.result import ScoreScale

Scores = NDArray[np.floating[Any]]


def fit_score_scale(scores: Any) -> ScoreScale:
    """The mean and the standard deviation of scores (n,); 1 where they are all equal."""
    values = np.asarray(scores, np.float64)
    return ScoreScale(float(values.mean()), float(values.std()) or 1.0)


def standardize(scores: Any, scale: ScoreScale) -> NDArray[np.float32]:
    """(score - mean) / sd, computed in float64."""
    found: NDArray[np.float32] = ((np.asarray(scores, np.float64) - scale.mean) / scale.sd).astype(np.float32)
    return found


def unstandardize(outputs: Scores, scale: ScoreScale) -> NDArray[np.float64]:
    """Mean + sd * output, in float64: distinct outputs of a model stay distinct."""
    return scale.mean + scale.sd * np.asarray(outputs, np.float64)
