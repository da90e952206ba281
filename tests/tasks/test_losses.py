"""Class weights and label smoothing: the numbers are those of torch and scikit-learn, and wrong ones are refused."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from gelora_cli.config.checks import cross_task_problems, value_problems
from gelora_cli.config.class_weights import with_ordered_weights
from gelora_cli.config.identity import identity_values
from gelora_cli.config.schema import TaskConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import TASK_KINDS
from gelora_cli.tasks.classification import Classification
from gelora_cli.tasks.losses import LossSettings
from tests.helpers.composed import composed

KIND = TASK_KINDS.get("classification")
TASK = TaskConfig(name="mail", labels=["ham", "spam", "other"], columns=["text"], metric="accuracy")
GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(40, 3, generator=GENERATOR)
CLASSES = torch.randint(0, 3, (40,), generator=GENERATOR)


@pytest.mark.parametrize("weights", [None, (1.0, 5.0, 0.2)])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_of_a_row_is_that_of_torch(weights: tuple[float, ...] | None, smoothing: float) -> None:
    loss: Any = KIND.training_loss(LossSettings(weights, smoothing))
    output: Any = SimpleNamespace(logits=LOGITS.to(torch.bfloat16))
    weight = None if weights is None else torch.tensor(weights)
    reference = torch.nn.CrossEntropyLoss(weight=weight, label_smoothing=smoothing, reduction="none")
    expected = reference(LOGITS.to(torch.bfloat16).float(), CLASSES)
    assert torch.equal(loss(output, None, CLASSES), expected)
    spread = smoothing / 3 + (1 - smoothing) * torch.nn.functional.one_hot(CLASSES, 3)  # (B, C)
    log_p = output.logits.float().log_softmax(1)
    formula = -((torch.ones(3) if weight is None else weight) * spread * log_p).sum(1)
    assert torch.allclose(expected, formula, atol=1e-6)


def test_a_loss_without_settings_is_that_of_the_kind() -> None:
    assert KIND.training_loss(LossSettings()) == KIND.loss


def test_weights_are_put_on_the_device_once_and_no_value_is_read() -> None:
    # A tensor on `meta` has no values: reading one, for which a GPU would have to be waited for, raises.
    loss: Any = KIND.training_loss(LossSettings((1.0, 2.0, 3.0), 0.1))
    output: Any = SimpleNamespace(logits=LOGITS.to("meta").requires_grad_())
    loss(output, None, CLASSES.to("meta")).sum().backward()
    first = loss._weights
    loss(output, None, CLASSES.to("meta"))
    assert loss._weights is first
    with pytest.raises(RuntimeError):
        float(first[0])


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    labels = np.array([0] * 50 + [1] * 7 + [2] * 3)
    weights = KIND.balanced_weights(TASK, labels)
    assert weights == pytest.approx(compute_class_weight("balanced", classes=np.arange(3), y=labels))
    with pytest.raises(GeloraError, match="none of the 57 training rows has the label 'other'"):
        KIND.balanced_weights(TASK, labels[:57])


@pytest.mark.parametrize("given", ["none", "balanced", [1, 5, 0.2], {"spam": 5, "ham": 1, "other": 0.2}])
def test_accepted_weights(given: object) -> None:
    assert cross_task_problems(replace(TASK, class_weights=given)) == []
    ordered = with_ordered_weights(replace(TASK, class_weights=given)).class_weights
    assert ordered == (given if isinstance(given, str) else [1.0, 5.0, 0.2])


def test_labels_that_yaml_reads_as_other_values_are_found() -> None:
    task = replace(TASK, labels=["7", "True", "false"], class_weights={True: 2, 7: 1, False: 3})
    assert cross_task_problems(task) == []
    assert with_ordered_weights(task).class_weights == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ("equal", "not known; accepted: none, balanced"),
        (None, "task.class_weights=null: not known"),
        (True, "not known"),
        (3, "not known"),
        ([], "no numbers"),
        ([1, 2], "has 2 numbers for the 3 labels ham, spam, other"),
        ([1, 2, 0], "0 is no number from 1e-6 to 1e6"),
        ([1, 2, -1.5], "-1.5 is no number from 1e-6 to 1e6"),
        ([1, 2, float("inf")], "inf is no number from 1e-6 to 1e6"),
        ([1, 2, 10**400], "no number from 1e-6 to 1e6"),
        ([1, 2, 1e39], "1e+39 is no number from 1e-6 to 1e6"),  # infinite in float32
        ([1, 2, 1e-46], "1e-46 is no number from 1e-6 to 1e6"),  # 0 in float32
        ([1, 2, "3"], "'3' is no number from 1e-6 to 1e6"),
        ([1, 2, True], "True is no number from 1e-6 to 1e6"),
        ({"ham": 1, "spam": 2}, "has no number for 'other'"),
        ({"ham": 1, "spam": 2, "othr": 3}, "did you mean other?"),
    ],
)
def test_refused_weights(given: object, part: str) -> None:
    (problem,) = cross_task_problems(replace(TASK, class_weights=given))
    assert problem.startswith("task.class_weights=")
    assert part in problem


def test_kinds_without_classes_refuse_both_at_once() -> None:
    for task in ("stsb", "squad"):
        config = composed(f"task={task}", "model=minilm", "task.class_weights=balanced", "train.label_smoothing=0.1")
        problems = "\n".join(value_problems(config))
        assert "has no classes to weigh" in problems
        assert "has no labels to smooth" in problems


def test_a_kind_with_another_loss_takes_none_of_them() -> None:
    class Hinge(Classification):
        def loss(self, output: Any, batch: Any, labels: torch.Tensor) -> torch.Tensor:
            return torch.zeros(len(labels))

    class Same(Classification):
        pass

    assert (Hinge.weighs_classes, Hinge.smooths_labels) == (False, False)
    assert (Same.weighs_classes, Same.smooths_labels) == (True, True)


def test_only_weights_and_smoothing_that_change_the_loss_count() -> None:
    words = ("task=cola", "model=minilm")
    plain = identity_values(composed(*words))
    assert identity_values(composed(*words, "task.class_weights=none", "train.label_smoothing=0")) == plain
    changed = identity_values(composed(*words, "task.class_weights=[1,5]", "train.label_smoothing=0.1"))
    assert changed["task"]["class_weights"] == [1, 5]
    assert changed["train"]["label_smoothing"] == 0.1
