"""The common part of the kinds whose rows are texts with one label or score each."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from gelora_cli.config.input_schema import label_columns
from gelora_cli.config.schema import TaskConfig
from gelora_cli.core.errors import RunError
from gelora_cli.core.messages import join_names
from gelora_cli.data.encoding import EncodedSplit
from gelora_cli.metrics.base import metric_of
from gelora_cli.tasks.base import Floats, Row, TaskKind, Verdict, describe_columns

if TYPE_CHECKING:
    import torch

    from gelora_cli.data.collate import Batch


class TextOutput(Protocol):
    """The output of a sequence classification model for a batch."""

    logits: torch.Tensor  # (B, W)


class TextKind(TaskKind[TextOutput, EncodedSplit, Floats]):
    """Texts with a label or score each; the decoded form is the outputs themselves, (n, W)."""

    peft_type: ClassVar[str] = "SEQ_CLS"
    hub_task: ClassVar[str] = "text-classification"
    example_file: ClassVar[str] = "sentences.txt"

    @abstractmethod
    def decide(self, logits: Floats) -> NDArray[Any]:
        """Return the prediction of each row of outputs (n, W): (n,) int64 classes or float32 scores."""

    def decide_for(self, task: TaskConfig, logits: Floats) -> NDArray[Any]:
        """Return the predictions of a kind whose decision depends on the task's settings; `decide` by default."""
        return self.decide(logits)

    @abstractmethod
    def verdict(self, task: TaskConfig, predictions: NDArray[Any], labels: NDArray[Any], value: float) -> Verdict:
        """Compare predictions (n,) with labels (n,), given the reported value."""

    def column_problem(self, task: TaskConfig) -> str | None:
        """Accept one or two columns of text, and another one for the label."""
        of_labels = label_columns(task) if task.source == "text" else ["label"]
        names = [*task.columns, *of_labels]
        if len(task.columns) in (1, 2) and len(set(names)) == len(names):
            return None
        settings = describe_columns(task)
        if task.label_columns:
            settings += f" task.label_columns=[{join_names(task.label_columns)}]"
        elif task.source == "text":
            settings += f" task.label={task.label}"
        return f"{settings}: one or two columns of text and another one for the label are accepted, none of them twice"

    def width(self, task: TaskConfig) -> int:
        """Return the number of labels, or 1 if there are none."""
        return len(task.labels) or 1

    def reduce(self, output: TextOutput, batch: Batch, split: EncodedSplit, task: TaskConfig) -> torch.Tensor:
        """Return the logits, (B, W) float32."""
        return output.logits.float()

    def decode(self, split: EncodedSplit, values: Floats, task: TaskConfig) -> Floats:
        """Return the outputs as they are, (n, W)."""
        return values

    def evaluate(self, task: TaskConfig, split: EncodedSplit, decoded: Floats) -> tuple[dict[str, float], Verdict]:
        """Return the values of the task's metric; outputs that are not finite count as a collapse.

        Raises:
            RunError: the metric gives no finite number.
        """
        predictions, labels = self.decide_for(task, decoded), split.labels
        assert labels is not None
        # Not by `evaluate_metric`, which gives the same values and imports a second's worth of libraries.
        metric = metric_of(task.metric, task.labels)
        dtype = np.float64 if metric.target == "scores" else np.int64
        computed = metric.compute(predictions.astype(dtype), labels.astype(dtype))
        values = {name: float(value) for name, value in computed.items()}
        for name, value in values.items():
            if not np.isfinite(value):
                raise RunError(f"metric {task.metric}: {name} is {value}; a metric gives a finite number for any rows")
        not_finite = int((~np.isfinite(decoded)).any(axis=1).sum())  # rows
        if not_finite:
            remark = f"collapsed: {not_finite:,} of {len(decoded):,} predictions are not finite numbers"
            return values, Verdict(True, remark)
        return values, self.verdict(task, predictions, labels, values[task.reported])

    def rows(self, task: TaskConfig, split: EncodedSplit, decoded: Floats) -> list[Row]:
        """Return the prediction and the label of each text, labels by name."""
        decided = self.decide_for(task, decoded).tolist()
        labels = [None] * len(split) if split.labels is None else split.labels.tolist()
        ids = np.asarray(split.ids).tolist()
        return [
            {
                "id": number,
                "split": split.name,
                "prediction": self.written(task, decision),
                "label": None if label is None else self.written(task, label),
                "scores": scores,
            }
            for number, decision, label, scores in zip(ids, decided, labels, decoded.tolist(), strict=True)
        ]

    def written(self, task: TaskConfig, value: Any) -> Any:
        """Return a decision or a label as `predictions.jsonl` holds it: a class by its name, other values unchanged."""
        return task.labels[int(value)] if task.labels else value
