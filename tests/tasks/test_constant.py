"""What predictions say beside the labels: whether they are one value."""

from __future__ import annotations

import numpy as np

from gelora_cli.tasks.base import is_constant
from gelora_cli.tasks.regression import score_verdict

LABELS = np.linspace(0, 5, 50, dtype=np.float32)


def test_scores_that_differ_by_rounding_alone_are_one_score() -> None:
    generator = np.random.default_rng(0)
    for value in (2.5, -3e-4, 40_000.0):
        steps = generator.integers(-1, 2, 50)
        noisy = np.float32(value) * (1 + steps.astype(np.float32) * np.finfo(np.float32).eps)
        assert len(np.unique(noisy)) > 1 and is_constant(noisy, LABELS)
    assert score_verdict(np.full(50, 2.5, np.float32), LABELS).collapsed
    assert is_constant(np.zeros(50, np.float32), LABELS)


def test_scores_that_differ_by_little_are_several() -> None:
    assert not is_constant(np.float32(2.5) + np.float32(1e-5) * LABELS, LABELS)
    assert not is_constant(np.float32(1e-30) * LABELS, LABELS)
    assert not is_constant(np.zeros(50, np.float32), np.ones(50, np.float32))  # the labels are one value, too
    assert is_constant(np.array(["cat", "cat"]), np.array(["cat", "dog"]))
