"""What is said of predictions that say nothing, beside their value."""

from __future__ import annotations

import numpy as np
import pytest

from gelora_cli.data.scale import fit_score_scale, standardize, unstandardize
from gelora_cli.tasks.classification import label_verdict
from gelora_cli.tasks.regression import score_verdict

LABELS = np.array([0] * 7 + [1] * 2 + [2])


def test_one_label_for_all_rows_names_the_share_to_beat() -> None:
    majority = label_verdict(np.zeros(10, np.int64), LABELS, 0.7)
    assert majority.collapsed
    assert majority.remark == "collapsed: one label for all 10 rows (0.7000 is that label's share)"
    rare = label_verdict(np.full(10, 2), LABELS, 0.1)
    assert rare.collapsed
    assert "(0.1000 is that label's share, 0.7000 the most common one's)" in rare.remark
    alike = label_verdict(np.zeros(7, np.int64), LABELS[:7], 1.0)
    assert (alike.collapsed, alike.remark) == (False, "one label for all 7 rows of the data, so the value says little")


@pytest.mark.parametrize(("accuracy", "said"), [(0.7, True), (0.8, False), (None, False)])
def test_an_accuracy_that_the_most_common_label_reaches_is_said(accuracy: float | None, said: bool) -> None:
    predictions = LABELS.copy()
    predictions[7:] = [0, 0, 1]
    verdict = label_verdict(predictions, LABELS, accuracy)
    assert not verdict.collapsed
    assert ("the value to beat is 0.7000" in verdict.remark) is said


def test_scores_outside_the_range_of_the_labels_are_a_collapse() -> None:
    labels = np.array([20_000.0, 30_000.0, 70_500.0])
    outside = score_verdict(np.array([3.1, 4.6, 80_000.0]), labels)
    assert outside.collapsed
    assert "every prediction lies outside" in outside.remark
    assert "labels 20000 to 70500" in outside.remark
    assert score_verdict(np.full(3, 30_000.0), labels).remark.startswith("collapsed: one score for all 3 rows")
    assert score_verdict(np.array([3.1, 4.6, 25_000.0]), labels) == score_verdict(labels, labels)
    alike = score_verdict(np.array([3.1, 4.6]), np.full(2, 2.5))
    assert (alike.collapsed, "no correlation can be measured" in alike.remark) == (False, True)


def test_scores_of_any_size_are_standardised_and_come_back() -> None:
    scores = np.array([20_000.0, 45_000.0, 70_500.0, 1e6])
    scale = fit_score_scale(scores)
    inside = standardize(scores, scale)
    assert inside.dtype == np.float32
    assert (float(inside.mean()), float(inside.std())) == pytest.approx((0, 1), abs=1e-6)
    assert unstandardize(inside, scale) == pytest.approx(scores, rel=1e-5)
    assert fit_score_scale(np.full(4, 7.0)).sd == 1.0
    close = unstandardize(np.array([0.1, np.nextafter(np.float32(0.1), 1)]), fit_score_scale(np.array([1e6, 1e6 + 2])))
    assert close[0] != close[1]
