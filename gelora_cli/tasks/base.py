"""What a task kind is: one object that turns a model's outputs into losses, predictions, metrics and files of a run.

Letters: B rows of a batch, T tokens, C classes, n rows of a split, W numbers kept of each row.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from gelora_cli.config.schema import TaskConfig
from gelora_cli.core.messages import join_names, quote
from gelora_cli.data.encoding import EncodedSplit
from gelora_cli.metrics.base import Target, metrics_of
from gelora_cli.metrics.definitions import Array
from gelora_cli.models.heads import HeadSpec
from gelora_cli.tasks.losses import LossSettings

if TYPE_CHECKING:
    import torch
    from torch import nn

    from gelora_cli.data.collate import Batch
    from gelora_cli.tasks.losses import RowLoss

Floats = NDArray[np.floating[Any]]
Row = dict[str, Any]
"""A line of `predictions.jsonl`: id, split, prediction, label and scores."""
WRONG_ROWS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What task kinds raise of rows that were not written by them: a number for a text, one beyond every float."""
Output = TypeVar("Output")
Encoded = TypeVar("Encoded", bound=EncodedSplit)
Decoded = TypeVar("Decoded")


@dataclass(frozen=True)
class Verdict:
    """Whether predictions say nothing (`collapsed`), and what a reader must know about them, as in `EvalResult`."""

    collapsed: bool = False
    remark: str = ""


class TaskKind(ABC, Generic[Output, Encoded, Decoded]):
    """A kind of task: its head, its loss, and how a model's outputs become predictions, metrics and files.

    Everything that a kind must say is abstract or an attribute without a value, so that a kind that leaves a part out
    is refused when it is registered. `Output` is what the model returns, `Encoded` the form of the token sequences, and
    `Decoded` the form of the predictions.

    Attributes:
        name: the value of `task.kind`.
        target: what its rows are labelled with; it decides how data are read and which metrics are offered.
        peft_type: PEFT's name for the kind.
        hub_task: the model hub's name for the kind.
        example_file: a file to predict that the model card gives as an example.
        has_windows: whether a long context is read in overlapping windows, so that `task.stride` and
            `task.max_question_length` change a profile.
        weighs_classes: whether `training_loss` takes class weights, and `balanced_weights` gives them.
        smooths_labels: whether `training_loss` takes label smoothing.
        model_files: names of files of a model that are read for this kind alone, where the model has them.
        packs_rows: whether several rows may share a sequence (`data.packing`), each with a loss of its own.
    """

    name: ClassVar[str]
    target: ClassVar[Target]
    peft_type: ClassVar[str]
    hub_task: ClassVar[str]
    example_file: ClassVar[str]
    has_windows: ClassVar[bool] = False
    weighs_classes: ClassVar[bool] = False
    smooths_labels: ClassVar[bool] = False
    model_files: ClassVar[tuple[str, ...]] = ()
    packs_rows: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        """Take no weights and no smoothing for a loss that was changed without `training_loss`, which ignores them."""
        super().__init_subclass__()
        if "loss" in vars(cls) and "training_loss" not in vars(cls):
            cls.weighs_classes = cls.smooths_labels = False

    @property
    def metrics(self) -> tuple[str, ...]:
        """Return the metrics that a task of this kind may have, the usual one first."""
        return metrics_of(self.target)

    def setting_problems(self, task: TaskConfig) -> list[str]:
        """Return which of the kind's own settings don't go together, each as a sentence with its fix."""
        return []

    @abstractmethod
    def column_problem(self, task: TaskConfig) -> str | None:
        """Return what is wrong with `task.columns`, or None; also asked about the saved settings of finished runs."""

    def label_problem(self, task: TaskConfig) -> str | None:
        """Return what is wrong with `task.labels`, or None; also asked about the saved settings of finished runs."""
        return None

    def standardizes(self, task: TaskConfig) -> bool:
        """Return whether a task trains on scores of mean 0 and deviation 1; never, for kinds without scores."""
        return False

    def new_tokens(self, task: TaskConfig) -> int:
        """Return the most tokens that are generated behind a row; none by default."""
        return 0

    @abstractmethod
    def head(self, task: TaskConfig) -> HeadSpec:
        """Return the head that the model gets for a task."""

    def model_inputs(self, batch: Batch) -> dict[str, Any]:
        """Return the arguments of the model for a batch; by default its inputs."""
        return batch.inputs

    @abstractmethod
    def loss(self, output: Output, batch: Batch, labels: torch.Tensor) -> torch.Tensor:
        """Return one loss per row, (B,), from the model's output for a batch and the labels (B, ...)."""

    def training_loss(self, settings: LossSettings) -> RowLoss:
        """Return the loss of each row that a training minimises, with the arguments of `loss`, which it is by default.

        A kind that takes class weights or label smoothing says so by `weighs_classes` or `smooths_labels`.
        """
        return self.loss

    def balanced_weights(self, task: TaskConfig, labels: NDArray[Any]) -> tuple[float, ...]:
        """Return the weight of each label for `task.class_weights=balanced`, from the training rows' labels (n, ...).

        Raises:
            GeloraError: a label without a training row.
        """
        raise NotImplementedError(f"{type(self).__name__} takes no class weights")

    @abstractmethod
    def width(self, task: TaskConfig) -> int:
        """Return W, how many numbers `reduce` keeps of a row."""

    @abstractmethod
    def reduce(self, output: Output, batch: Batch, split: Encoded, task: TaskConfig) -> torch.Tensor:
        """Return the numbers of each row from which predictions are made, (B, W) float32."""

    def outputs(self, model: nn.Module, batch: Batch, split: Encoded, task: TaskConfig) -> torch.Tensor:
        """Return what `reduce` keeps of each row, (B, W); a kind that takes more than one forward pass overrides it."""
        return self.reduce(model(**self.model_inputs(batch)), batch, split, task)

    def compared_width(self, task: TaskConfig) -> int:
        """Return W of `compared`."""
        return self.width(task)

    def compared(self, model: nn.Module, batch: Batch, split: Encoded, task: TaskConfig) -> torch.Tensor:
        """Return numbers of each row, (B, W), by which two models are compared, without labels; those of `outputs`."""
        return self.outputs(model, batch, split, task)

    def comparison_scores(self, values: Floats, task: TaskConfig) -> Floats:
        """Return those of the numbers (n, W) of `compared` that are compared; all of them by default."""
        return values

    @abstractmethod
    def decode(self, split: Encoded, values: Floats, task: TaskConfig) -> Decoded:
        """Return the predictions of all rows from their kept numbers (n, W)."""

    @abstractmethod
    def evaluate(self, task: TaskConfig, split: Encoded, decoded: Decoded) -> tuple[dict[str, float], Verdict]:
        """Return the values of the task's metric, and whether the predictions say anything."""

    @abstractmethod
    def rows(self, task: TaskConfig, split: Encoded, decoded: Decoded) -> list[Row]:
        """Return a line of `predictions.jsonl` per example, in the order of the split."""

    def files(self, task: TaskConfig, decoded: Decoded) -> dict[str, dict[str, Any]]:
        """Return the kind's own files by name, each an object by example id; none by default."""
        return {}

    def constant_predictions(self, true: Array) -> Array | None:
        """Return the predictions of a model that looks at no row, (n,), from the true values (n,).

        The value that they reach is the one to beat. None if the kind has no such predictions.
        """
        return None

    def constant_predictions_for(self, task: TaskConfig, true: Array) -> Array | None:
        """Return those for the reported value of a task, for kinds where they depend on it."""
        return self.constant_predictions(true)

    @abstractmethod
    def arrays(self, task: TaskConfig, reported: str, rows: Sequence[Row]) -> tuple[Array, Array]:
        """Return the arguments of the reported value's score from saved rows: `predicted` and `true`, (n,) each.

        Of sets of labels (n, C) each.
        """

    def packed(self, task: TaskConfig, row: Row) -> object:
        """Return what an archive keeps of a row beside its id, label and group, as a JSON value.

        It must be all that `arrays` reads, and no more: scores are the largest part of a run. By default the
        prediction.
        """
        return row["prediction"]

    def unpacked(self, task: TaskConfig, value: Any) -> Row:
        """Return the parts of a row that `packed` has kept, by name.

        Raises:
            ValueError, TypeError: the value is none that `packed` returns; archives come from anywhere.
        """
        return {"prediction": value}

    def card_lines(self, task: TaskConfig) -> list[str]:
        """Return what a model card says of how predictions are made and scored, a line each; nothing by default."""
        return []

    def probabilities(self, task: TaskConfig, row: Row) -> dict[str, Any]:
        """Return the probabilities that `gelora predict` adds to a row, from its scores; none by default.

        The value of the key `probabilities` is a mapping from label to probability, and of any other key a number.
        """
        return {}

    def guess_loss(self, task: TaskConfig) -> float | None:
        """Return the training loss of guesses that prefer no label; None where it is not known, as by default."""
        return None

    def remedies(self, task: TaskConfig, general: list[str], *, standardized: bool) -> list[str]:
        """Return what may help a collapsed run, the likeliest first; `general` is what helps any kind."""
        return general


def label_at(task: TaskConfig, index: object) -> str:
    """Return the label of this number.

    Raises:
        ValueError: it is no number of a label.
    """
    if type(index) is not int or not 0 <= index < len(task.labels):  # -1 would be the last one
        raise ValueError(f"{quote(index)} is no number of the labels {join_names(task.labels)}")
    return task.labels[index]


def describe_columns(task: TaskConfig) -> str:
    """Return `task.columns=[...]` for a message."""
    return f"task.columns=[{join_names(task.columns)}]"


def is_constant(predictions: NDArray[Any], labels: NDArray[Any]) -> bool:
    """Return whether one value is predicted for every row although the labels differ.

    Scores that differ by a few roundings of float32 count as one value, since batches of other lengths sum in another
    order.
    """
    if len(np.unique(labels)) < 2:
        return False
    if predictions.dtype.kind == "f":
        return bool(np.ptp(predictions) <= 4 * np.finfo(np.float32).eps * np.abs(predictions).max())
    return len(np.unique(predictions)) == 1
