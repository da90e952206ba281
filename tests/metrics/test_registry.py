"""One entry per metric: what it may report is what it computes, and what an entry lacks is refused."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, ClassVar

import numpy as np
import pytest

from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import METRICS
from gelora_cli.metrics.base import Metric, load_metric, metrics_of
from gelora_cli.metrics.definitions import Array, accuracy, of_all


def test_every_metric_gives_what_may_be_reported() -> None:
    for name in ("accuracy", "accuracy_f1", "mcc", "macro_f1", "pearson_spearman"):
        values = load_metric(name).compute(predictions=[0, 1, 1, 0], references=[0, 1, 0, 0])
        assert set(METRICS.get(name).values()) == set(values)
        assert list(METRICS.get(name).scores) == list(values)


def test_the_usual_value_comes_first() -> None:
    usual = {name: METRICS.get(name).values() for name in METRICS.names()}
    assert usual == {
        "accuracy": ("accuracy",),
        "accuracy_f1": ("f1", "accuracy"),
        "mcc": ("matthews_correlation",),
        "macro_f1": ("macro_f1", "accuracy"),
        "multilabel_f1": ("macro_f1", "micro_f1", "exact_match"),
        "pearson_spearman": ("pearson_spearman_mean", "pearson", "spearman"),
        "squad": ("f1", "exact_match"),
        "squad_v2": ("f1", "exact_match"),
        "completions": ("log_likelihood", "exact_match"),
    }
    assert metrics_of("labels") == ("accuracy", "accuracy_f1", "mcc", "macro_f1")
    assert metrics_of("scores") == ("pearson_spearman",)
    assert metrics_of("label_sets") == ("multilabel_f1",)
    assert metrics_of("answers") == ("squad", "squad_v2")
    assert metrics_of("completions") == ("completions",)


def test_a_metric_that_lacks_a_part_is_refused() -> None:
    class NoScores(Metric):
        name = "toy_without_scores"
        target = "labels"
        reported = "accuracy"

    with pytest.raises(GeloraError, match="lacks hub_types, scores"):
        METRICS.register(NoScores)
    with pytest.raises(GeloraError, match="reported=f1 is none of its scores"):

        class OtherValue(Metric):
            name = "toy_other_value"
            target = "labels"
            reported = "f1"
            scores: ClassVar = {"accuracy": accuracy}
            hub_types: ClassVar = {}

    with pytest.raises(GeloraError, match="values can't be called step, since lines"):

        class Step(Metric):
            name = "toy_step"
            target = "labels"
            reported = "step"
            scores: ClassVar = {"step": accuracy}
            hub_types: ClassVar = {}

    assert not {"toy_without_scores", "toy_other_value"} & set(METRICS.names())


def test_entries_need_neither_torch_nor_evaluate() -> None:
    code = (
        "import sys; from gelora_cli.core.registries import METRICS; [METRICS.get(n) for n in METRICS.names()]; "
        "sys.exit(sum(name in sys.modules for name in ('torch', 'evaluate', 'datasets')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("value", [0.5, np.array([0.5]), np.ones((2, 1))])
def test_a_score_of_another_shape_is_refused(value: Any) -> None:
    def shares(predicted: Array, true: Array, weights: Array) -> Any:
        return value

    with pytest.raises(GeloraError, match=r"the score shares gives values of shape .* accepted: .*\(1, 1\)"):
        of_all(shares, np.zeros(3), np.zeros(3))
