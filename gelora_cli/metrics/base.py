"""What a metric is: one object per `task.metric`, registered under its name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import METRICS
from gelora_cli.metrics.definitions import Array, Score, of_all

if TYPE_CHECKING:
    import evaluate

Target = Literal["labels", "scores", "answers", "label_sets", "completions"]
"""What a row is labelled with and what is predicted for it: a class, a number, a text of the context, any number of
labels (0 or 1 for each), or a text that continues a prompt."""

LINE_FIELDS = frozenset(("step", "epoch", "split", "examples", "seconds", "examples_per_second", "ranks", "track"))
"""What a line of `metrics.jsonl` holds beside the values of a metric, which can't have these names."""


class Metric(ABC):
    """A metric of a task, with every value that it computes.

    A metric of labels or scores declares its attributes and needs no method. One whose rows are not single numbers,
    such as answers to questions, also overrides `evaluate_metric`.

    Attributes:
        name: the value of `task.metric`.
        target: what the predictions are; task kinds with this target may be evaluated with the metric.
        reported: the value that a task reports if it names none.
        scores: every value that can be reported, in the order in which they are computed and written, with its numpy
            definition over resamples (shapes as in `definitions`).
        hub_types: values that the model hub knows, with their names there.
        max_labels: the largest number of labels for which it is defined; None for any.
        names_labels: whether it also has values of each label, whose names follow from those of the labels.
        digits: digits after the decimal point in tables.
    """

    name: ClassVar[str]
    target: ClassVar[Target]
    reported: ClassVar[str]
    scores: ClassVar[Mapping[str, Score]]
    hub_types: ClassVar[Mapping[str, str]]
    max_labels: ClassVar[int | None] = None
    names_labels: ClassVar[bool] = False
    digits: ClassVar[int] = 4

    def __init_subclass__(cls) -> None:
        """Refuse a metric that reports by default what it doesn't compute, or that no labels can satisfy.

        Names of values that lines of `metrics.jsonl` use otherwise are refused, too.
        """
        super().__init_subclass__()
        if taken := sorted(LINE_FIELDS & set(getattr(cls, "scores", ()))):
            raise GeloraError(
                f"{cls.__qualname__}: values can't be called {', '.join(taken)}, since lines of metrics.jsonl use these"
                " names for something else; take other names"
            )
        if hasattr(cls, "scores") and hasattr(cls, "reported") and cls.reported not in cls.scores:
            raise GeloraError(
                f"{cls.__qualname__}: reported={cls.reported} is none of its scores ({', '.join(cls.scores)})"
            )
        if cls.max_labels is not None and cls.max_labels < 2:
            raise GeloraError(f"{cls.__qualname__}: max_labels={cls.max_labels}; accepted: 2 or more, or None")

    def points_factor(self, value: str) -> float | None:
        """Return what a value is multiplied by to be in points, 0 to 100; None of one without such a scale."""
        return 100.0

    def for_labels(self, names: Sequence[str]) -> Metric:
        """Return the metric of a task with labels of these names; the same one, unless it has values of each label."""
        return self

    def all_scores(self) -> Mapping[str, Score]:
        """Return `scores`, and those of each label where the labels are known (`for_labels`)."""
        return self.scores

    def label_values(self) -> Mapping[str, str]:
        """Return the name of each label -> the name of its own value, such as `f1_spam`; empty where there are none."""
        return {}

    def hub_entry(self, value: str) -> dict[str, Any]:
        """Return how the hub's `model-index` names a value: its type there and, if need be, its arguments."""
        return {"type": self.hub_types.get(value, value)}

    def values(self) -> tuple[str, ...]:
        """Return the values that a task may report, the usual one first."""
        return tuple(dict.fromkeys([self.reported, *self.all_scores()]))

    def accepts_labels(self, names: Sequence[str]) -> bool:
        """Return whether the metric is defined for labels of these names: different, two or more, not too many."""
        most = len(names) if self.max_labels is None else self.max_labels
        return 2 <= len(set(names)) == len(names) <= most

    def needed_labels(self) -> str:
        """Return in words which labels the metric is defined for."""
        if self.max_labels is None:
            return "two or more different labels"
        return "two different labels" if self.max_labels == 2 else f"2 to {self.max_labels} different labels"

    def compute(self, predictions: Array, references: Array) -> dict[str, float]:
        """Return every value of two (n,) arrays, (n, C) of sets of labels, n above 0.

        Raises:
            GeloraError: the metric isn't defined for these values.
        """
        return {name: float(of_all(score, predictions, references)[0]) for name, score in self.all_scores().items()}

    def evaluate_metric(self) -> evaluate.Metric:
        """Return a fresh `evaluate.Metric`, to which predictions are added batch by batch."""
        from gelora_cli.metrics.evaluate_metrics import NumberMetric

        return NumberMetric(self)


class AnswerMetric(Metric):
    """A metric of answers, which gives each question's text points, 0 to 1; its scores are means of these points.

    Attributes:
        unanswerable: whether it is for questions that may have no answer, `task.unanswerable`.
    """

    target = "answers"
    digits = 2
    unanswerable: ClassVar[bool] = False

    def points_factor(self, value: str) -> float | None:
        """Return 1: these values are in points already."""
        return 1.0

    @abstractmethod
    def points(self, value: str, texts: Sequence[str], golds: Sequence[Sequence[str]]) -> Array:
        """Return the points of each question's text for a value of the metric, (n,), before "no answer" is decided."""

    @abstractmethod
    def evaluate_metric(self) -> evaluate.Metric:
        """Return a fresh `evaluate.Metric` of rows with an id and a text."""


def metric_of(name: str, labels: Sequence[str]) -> Metric:
    """Return the metric of a task by its name and the names of the task's labels, which may be none.

    Raises:
        GeloraError: there is no such metric.
    """
    return METRICS.get(name).for_labels(labels)


def load_metric(name: str, labels: Sequence[str] = ()) -> evaluate.Metric:
    """Return a fresh `evaluate.Metric` by its name in a task's YAML, and the names of the labels if they count.

    Raises:
        GeloraError: there is no such metric.
    """
    return metric_of(name, labels).evaluate_metric()


def metrics_of(target: Target) -> tuple[str, ...]:
    """Return the metrics of predictions of one form, the usual one first."""
    return tuple(name for name in METRICS.names() if METRICS.get(name).target == target)
