"""Metrics of answers to questions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from gelora_cli.core.registries import METRICS
from gelora_cli.metrics.base import AnswerMetric
from gelora_cli.metrics.definitions import Array, mean_points, question_points

if TYPE_CHECKING:
    import evaluate


@METRICS.register
class Squad(AnswerMetric):
    """SQuAD v1.1: exact match and F1 of the words, 0 to 100; every question has an answer."""

    name = "squad"
    reported = "f1"
    scores: ClassVar = {"exact_match": mean_points, "f1": mean_points}
    hub_types: ClassVar = {"exact_match": "exact_match", "f1": "f1"}

    def points(self, value: str, texts: Sequence[str], golds: Sequence[Sequence[str]]) -> Array:
        """Return exact match or F1 of each text for its best gold answer, (n,)."""
        return question_points(self.name, value, texts, golds)

    def evaluate_metric(self) -> evaluate.Metric:
        """Return a fresh metric of rows with an id and a text."""
        from gelora_cli.metrics.evaluate_metrics import SquadMetric

        return SquadMetric(self)


@METRICS.register
class SquadV2(Squad):
    """SQuAD v2.0: exact match and F1 where a question may have no answer, 0 to 100."""

    name = "squad_v2"
    unanswerable = True

    def evaluate_metric(self) -> evaluate.Metric:
        """Return a fresh metric of rows with an id, a text and a score for "no answer"."""
        from gelora_cli.metrics.evaluate_metrics import SquadV2Metric

        return SquadV2Metric(self)
