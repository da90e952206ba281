"""The kind of several labels per text: loss, decision, verdict, and the value to beat."""

from __future__ import annotations

from itertools import product
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from gelora_cli.config.schema import TaskConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import METRICS
from gelora_cli.tasks.losses import LossSettings
from gelora_cli.tasks.multilabel import Multilabel, sigmoid

KIND = Multilabel()
TASK = TaskConfig(
    name="mail",
    source="text",
    kind="multilabel",
    columns=["text"],
    labels=["a", "b", "c"],
    metric="multilabel_f1",
    reported="macro_f1",
)
METRIC = METRICS.get("multilabel_f1").for_labels(TASK.labels)
GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(40, 3, generator=GENERATOR)
TARGETS = torch.randint(0, 2, (40, 3), generator=GENERATOR).float()
OUTPUT: Any = SimpleNamespace(logits=LOGITS)
BATCH: Any = None


def task(**values: Any) -> TaskConfig:
    return TaskConfig(**(vars(TASK) | values))


def test_the_mean_loss_is_that_of_transformers() -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    settings = {"vocab_size": 20, "num_labels": 3, "problem_type": "multi_label_classification"}
    model: Any = BertForSequenceClassification(BertConfig.from_dict(sizes | settings))
    model.eval()
    tokens = torch.arange(20).reshape(4, 5)
    expected = model(input_ids=tokens, labels=TARGETS[:4])
    assert KIND.loss(expected, BATCH, TARGETS[:4]).mean().item() == pytest.approx(expected.loss.item())
    assert KIND.loss(expected, BATCH, TARGETS[:4]).shape == (4,)


@pytest.mark.parametrize("weights", [None, (1.0, 5.0, 0.2)])
def test_weights_are_torchs_pos_weight(weights: tuple[float, ...] | None) -> None:
    settings = LossSettings(weights, 0.1)
    pos_weight = None if weights is None else torch.tensor(weights)
    targets = 0.9 * TARGETS + 0.05
    expected = torch.nn.BCEWithLogitsLoss(pos_weight=pos_weight)(LOGITS, targets)
    assert torch.allclose(KIND.training_loss(settings)(OUTPUT, BATCH, TARGETS).mean(), expected)
    assert KIND.training_loss(LossSettings()) == KIND.loss


def test_balanced_weights_are_rows_without_over_rows_with() -> None:
    labels = np.array([[1, 1, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1]], np.float32)
    assert KIND.balanced_weights(TASK, labels) == pytest.approx((3, 1 / 3, 1))
    with pytest.raises(GeloraError, match="none of the 3 training rows have the label c"):
        KIND.balanced_weights(TASK, np.array([[1, 1, 0], [0, 1, 0], [0, 0, 0]], np.float32))
    with pytest.raises(GeloraError, match="all of the 3 training rows have the label b"):
        KIND.balanced_weights(TASK, labels[:3])


@pytest.mark.parametrize("threshold", [0.5, 0.1, 0.9])
def test_a_label_is_predicted_above_the_threshold(threshold: float) -> None:
    logits = LOGITS.numpy()
    predicted = KIND.decide_for(task(threshold=threshold), logits)
    assert np.array_equal(predicted, torch.sigmoid(LOGITS.double()).numpy() > threshold)
    assert 0 < predicted.mean() < 1


def test_a_probability_needs_no_large_exponential() -> None:
    assert [sigmoid(score) for score in (-800.0, 0.0, 800.0)] == pytest.approx([0, 0.5, 1])


@pytest.mark.parametrize("reported", METRIC.values())
@pytest.mark.parametrize("seed", range(6))
def test_no_set_of_labels_beats_the_value_to_beat(reported: str, seed: int) -> None:
    generator = np.random.default_rng(seed)
    true = (generator.random((12, 3)) < generator.random(3)).astype(np.int64)
    score = METRIC.compute
    best = score(KIND.constant_predictions_for(task(reported=reported), true), true)[reported]
    every_set = [score(np.tile(labels, (12, 1)), true)[reported] for labels in product((0, 1), repeat=3)]
    assert best == pytest.approx(max(every_set))


def test_one_set_of_labels_for_all_rows_is_a_collapse() -> None:
    true = np.array([[1, 0, 1], [0, 0, 1], [0, 0, 0], [1, 0, 1]])
    nothing = KIND.verdict(TASK, np.zeros((4, 3), int), true, 0.0)
    assert (nothing.collapsed, nothing.remark) == (True, "collapsed: no label for all 4 rows")
    same = KIND.verdict(TASK, np.tile([1, 0, 1], (4, 1)), true, 0.5)
    assert (same.collapsed, same.remark) == (True, "collapsed: the same labels (a, c) for all 4 rows")
    weak = np.array([[1, 0, 0], [0, 0, 1], [0, 0, 0], [0, 1, 0]])
    assert "the value to beat is 0.5079" in KIND.verdict(TASK, weak, true, 0.4).remark
    assert KIND.verdict(TASK, weak, true, 0.6).remark == ""
    alike = KIND.verdict(TASK, weak, true[[0, 0, 0, 0]], 0.4)
    assert (alike.collapsed, alike.remark[:24]) == (False, "one set of labels for al")
