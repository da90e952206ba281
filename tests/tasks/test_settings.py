"""What a task kind says about its settings: the same checks for the built-in kinds and for a plug-in's."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import ClassVar

import pytest

from gelora_cli.config.checks import cross_task_problems, frozen_problems
from gelora_cli.config.complete import with_task
from gelora_cli.config.schema import RunConfig, TaskConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import METRICS, SIGNALS, TASK_KINDS
from gelora_cli.metrics.base import Metric
from gelora_cli.metrics.definitions import accuracy
from gelora_cli.tasks.question_answering import QuestionAnswering
from gelora_cli.tasks.regression import Regression

FINGERPRINTS = {"model": "m", "train": "t"}
LABELS = TaskConfig(name="it", columns=["text"], labels=["a", "b", "c"], metric="accuracy")
QUESTIONS = TaskConfig(
    name="it",
    kind="question_answering",
    source="squad",
    columns=["question", "context"],
    metric="squad",
    max_length=384,
)


@pytest.fixture(autouse=True)
def _registries_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget after the test what it registers."""
    for registry in (METRICS, TASK_KINDS):
        for name in registry.names():
            registry.get(name)
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))


def test_importing_every_task_kind_imports_no_torch() -> None:
    # The checks of a configuration ask the kinds, so `gelora ls` and `gelora run --help` import them.
    code = (
        "import sys; from gelora_cli.core.registries import TASK_KINDS as kinds; [*map(kinds.get, kinds.names())]; "
        "print({'torch', 'transformers', 'hydra'} & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"


def test_problems_come_in_the_order_of_the_keys_and_all_at_once() -> None:
    task = replace(QUESTIONS, max_length=64, unanswerable=True, columns=["question"], standardize=True, eval_splits=[])
    keys = [problem.split("=")[0] for problem in cross_task_problems(task)]
    assert keys == ["task.max_length", "task.unanswerable", "task.columns", "task.standardize", "task.eval_splits"]


def test_an_unknown_kind_is_left_to_the_check_of_its_key() -> None:
    task = replace(LABELS, kind="clasification", labels=[], columns=[])
    assert not cross_task_problems(task)
    assert not frozen_problems(RunConfig(task=task))[1:]


def test_a_plug_ins_metric_is_held_to_its_number_of_labels() -> None:
    @METRICS.register
    class ThreeWay(Metric):
        name = "toy_three"
        target = "labels"
        reported = "accuracy"
        scores: ClassVar = {"accuracy": accuracy}
        hub_types: ClassVar = {}
        max_labels = 3

    task = replace(LABELS, metric="toy_three")
    assert not cross_task_problems(task)
    too_many = replace(task, labels=["a", "b", "c", "d"])
    assert cross_task_problems(too_many) == [
        "task.labels=[a, b, c, d]: task.metric=toy_three needs 2 to 3 different labels"
    ]


def test_a_metric_that_no_labels_satisfy_is_refused() -> None:
    with pytest.raises(GeloraError, match="max_labels=1; accepted: 2 or more"):

        class OneWay(Metric):
            max_labels = 1


def test_a_plug_ins_kind_gets_the_care_of_the_kind_it_extends() -> None:
    @TASK_KINDS.register
    class Trivia(QuestionAnswering):
        name = "toy_trivia"

    task = replace(QUESTIONS, kind="toy_trivia")
    config = RunConfig(task=task)
    assert not cross_task_problems(task)
    assert "take task.max_length=197 or more" in cross_task_problems(replace(task, max_length=196))[0]
    assert "take task.metric=squad_v2" in cross_task_problems(replace(task, unanswerable=True))[0]
    other_stride = RunConfig(task=replace(task, stride=64))
    idim = SIGNALS.get("idim")
    assert idim.sharing_hash(config, FINGERPRINTS) != idim.sharing_hash(other_stride, FINGERPRINTS)


def test_the_stride_changes_no_profile_of_a_kind_without_windows() -> None:
    config, other = RunConfig(task=LABELS), RunConfig(task=replace(LABELS, stride=64))
    idim = SIGNALS.get("idim")
    assert idim.sharing_hash(config, FINGERPRINTS) == idim.sharing_hash(other, FINGERPRINTS)


def test_a_plug_ins_scores_can_be_standardized() -> None:
    @TASK_KINDS.register
    class Ordinal(Regression):
        name = "toy_ordinal"

    task = TaskConfig(name="it", kind="toy_ordinal", columns=["text"], standardize=True)
    assert not cross_task_problems(task)
    assert with_task(RunConfig(task=task)).task.standardize is True
    assert "only scores are standardised" in cross_task_problems(replace(LABELS, standardize=True))[0]
