"""A task kind and a metric of the user's own, in two files: they run as the built-in ones do, or are refused whole."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from gelora_cli.core import run_files
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import METRICS, TASK_KINDS
from gelora_cli.metrics.base import Metric
from gelora_cli.report.predictions import read_predictions
from gelora_cli.tasks.text import TextKind
from tests.helpers.bench import Bench, predictions, result_of
from tests.helpers.registries import forget_entries_afterwards

KIND = '''
"""Classification by a hinge loss, with a file of its own."""
from gelora_cli.core.registries import TASK_KINDS
from gelora_cli.tasks.classification import Classification

LOSSES = []


@TASK_KINDS.register
class Hinge(Classification):
    """Which label a text has, by the margin of its logit."""

    name = "toy_hinge"

    def loss(self, output, batch, labels):
        from torch.nn.functional import multi_margin_loss

        LOSSES.append(len(batch))
        return multi_margin_loss(output.logits.float(), labels, reduction="none")

    def files(self, task, decoded):
        return {"margins.json": {str(row): float(abs(margin[0] - margin[1])) for row, margin in enumerate(decoded)}}
'''

METRIC = '''
"""The mean of the classes' recalls."""
import numpy as np
from gelora_cli.core.registries import METRICS
from gelora_cli.metrics.base import Metric


def balanced_accuracy(predicted, true, weights):
    recalls = [
        ((predicted == label) & (true == label)) @ weights.T / (weights @ (true == label)) for label in np.unique(true)
    ]
    return np.mean(recalls, axis=0).T


@METRICS.register
class BalancedAccuracy(Metric):
    """The mean of the classes' recalls, 0 to 1."""

    name = "toy_balanced"
    target = "labels"
    reported = "balanced_accuracy"
    scores = {"balanced_accuracy": balanced_accuracy}
    hub_types = {"balanced_accuracy": "balanced_accuracy"}
'''


@pytest.fixture(autouse=True)
def _registries_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget after the test what it registers."""
    for registry in (METRICS, TASK_KINDS):
        forget_entries_afterwards(monkeypatch, registry)


def test_a_kind_and_a_metric_from_a_folder_run_end_to_end(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "kind.py").write_text(KIND)
    (folder / "metric.py").write_text(METRIC)
    task = ("task=cola", "task.kind=toy_hinge", "task.metric=toy_balanced", "task.reported=balanced_accuracy")
    words: tuple[str, ...] = (*task, "method=lora", "budget=rank:2")
    assert bench.run(*words) == 2
    assert "task.kind=toy_hinge: not known; accepted: classification" in capsys.readouterr().err
    words = (*words, f"plugins={folder}")
    assert bench.run(*words, "task.metric=toy_balance") == 2
    assert "did you mean toy_balanced?" in capsys.readouterr().err
    with monkeypatch.context() as patch:
        patch.setattr(Metric, "compute", lambda *_: {"balanced_accuracy": float("nan")})
        assert bench.run(*words) == 1
    assert "metric toy_balanced: balanced_accuracy is nan" in capsys.readouterr().err
    assert bench.run(*words) == 0
    directory = bench.only()
    result, rows = result_of(directory), predictions(directory)
    predicted = np.array([row["prediction"] == "acceptable" for row in rows])
    true = np.array([row["label"] == "acceptable" for row in rows])
    recalls = [(predicted[true == label] == label).mean() for label in (False, True)]
    assert result.results[0].metrics == {"balanced_accuracy": pytest.approx(np.mean(recalls))}
    assert (directory / "margins.json").exists()
    assert "type: balanced_accuracy" in (directory / run_files.CARD).read_text()
    assert read_predictions(directory).score(predicted[None], true, np.ones((1, len(true))))[0, 0] == result.value


def test_a_task_kind_that_lacks_a_part_is_refused() -> None:
    class Half(TextKind):
        name: ClassVar[str] = "toy_half"

    with pytest.raises(GeloraError, match="lacks arrays, decide, head, loss"):
        TASK_KINDS.register(Half)  # type: ignore[type-abstract]
    assert "toy_half" not in TASK_KINDS.names()


def test_a_kind_offers_the_metrics_of_its_target() -> None:
    offered = {name: TASK_KINDS.get(name).metrics for name in TASK_KINDS.names()}
    assert offered == {
        "classification": ("accuracy", "accuracy_f1", "mcc", "macro_f1"),
        "multilabel": ("multilabel_f1",),
        "regression": ("pearson_spearman",),
        "question_answering": ("squad", "squad_v2"),
        "generation": ("completions",),
    }
