"""The heads that tasks put on a model: what each needs in config.json, and which saved head it takes over."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from gelora_cli.core.messages import join_names

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

MOST_NAMES = 6
"""Label names in a message."""
MULTI_LABEL: Literal["multi_label_classification"] = "multi_label_classification"
"""The `problem_type` in config.json by which transformers takes the sigmoid of each label's logit."""


@dataclass(frozen=True)
class HeadChoice:
    """What becomes of the head that the weights hold.

    Attributes:
        take_over: whether it is used; else the head is drawn from the seed.
        origin: where the head comes from and why, in words, for the log and the model card.
        order: the order into which its rows are brought; empty if they stay as they are.
    """

    take_over: bool
    origin: str
    order: tuple[int, ...] = ()


class HeadSpec(ABC):
    """The head that a task puts on a model.

    Attributes:
        auto_class: the class of transformers that loads a model with such a head.
        model_type: what a message calls such a model.
        is_pretrained: whether it belongs to the pretrained model. Then it must be in the weights, and nothing is new.
        needs_decoder: whether only a decoder can have it, whatever classes transformers has.
        needs_cache: whether the model must keep the keys and values of earlier tokens, `past_key_values`.
    """

    auto_class: ClassVar[str] = "AutoModelForSequenceClassification"
    model_type: ClassVar[str]
    is_pretrained: ClassVar[bool] = False
    needs_decoder: ClassVar[bool] = False
    needs_cache: ClassVar[bool] = False

    @property
    @abstractmethod
    def rows(self) -> int:
        """Return the number of outputs of the head's last linear layer."""

    @abstractmethod
    def configure(self, config: PreTrainedConfig) -> None:
        """Set the entries of config.json that give a model this head."""

    def loading_arguments(self, config: PreTrainedConfig) -> dict[str, Any]:
        """Return the arguments of `from_pretrained` that give a model the head that `config` describes."""
        return {"num_labels": config.num_labels}

    def choose(self, saved: tuple[str, ...], positional: bool) -> HeadChoice:
        """Decide about a head of the same size in the weights, whose labels are `saved`."""
        return HeadChoice(True, "that of the weights")

    def misfit(self, config: PreTrainedConfig) -> str:
        """Return why the head of weights with this config.json is another kind of head; empty if it may be used."""
        return ""


@dataclass(frozen=True)
class LabelHead(HeadSpec):
    """One output per label, in the order of `label_names`."""

    model_type: ClassVar[str] = "classification"
    label_names: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.label_names) < 2:
            raise ValueError(f"a classification head needs two or more label names, not {self.label_names}")

    @property
    def rows(self) -> int:
        """Return the number of labels."""
        return len(self.label_names)

    def configure(self, config: PreTrainedConfig) -> None:
        """Set the names of the labels."""
        config.id2label = dict(enumerate(self.label_names))
        config.label2id = {name: index for index, name in config.id2label.items()}
        config.problem_type = "single_label_classification"

    def loading_arguments(self, config: PreTrainedConfig) -> dict[str, Any]:
        """Return the names of the labels."""
        return {"id2label": dict(config.id2label or {}), "label2id": dict(config.label2id or {})}

    def choose(self, saved: tuple[str, ...], positional: bool) -> HeadChoice:
        """Take a head over if it names the same labels; `positional` takes its rows as they are."""
        saved_names, task_names = join_names(saved, most=MOST_NAMES), join_names(self.label_names, most=MOST_NAMES)
        if positional:
            names = f"{saved_names or 'no names'} for {task_names}"
            return HeadChoice(True, f"that of the weights by position (model.head=positional): {names}")
        if not saved:
            return HeadChoice(
                False, "drawn from the seed: that of the weights names no labels (model.head=positional keeps it)"
            )
        # Names match whatever their case. A label that the weights lack gets row -1, so the order is no permutation.
        saved_row = {name.strip().casefold(): row for row, name in enumerate(saved)}
        order = tuple(saved_row.get(name.strip().casefold(), -1) for name in self.label_names)
        if sorted(order) != list(range(len(saved))):
            return HeadChoice(False, f"drawn from the seed: that of the weights is for {saved_names}, not {task_names}")
        if list(order) == sorted(order):
            return HeadChoice(True, "that of the weights, whose labels have the same names")
        moved = f"reordered from {saved_names} to {task_names}"
        return HeadChoice(True, f"that of the weights by the names of its labels, its rows {moved}", order)


@dataclass(frozen=True)
class LabelSetHead(LabelHead):
    """One output per label, each of which is decided by itself."""

    model_type: ClassVar[str] = "multi-label classification"

    def configure(self, config: PreTrainedConfig) -> None:
        """Set the names of the labels, and that each has a probability of its own."""
        super().configure(config)
        config.problem_type = MULTI_LABEL

    def loading_arguments(self, config: PreTrainedConfig) -> dict[str, Any]:
        """Return the names of the labels, and that each has a probability of its own."""
        return super().loading_arguments(config) | {"problem_type": MULTI_LABEL}

    def misfit(self, config: PreTrainedConfig) -> str:
        """Return that the saved head was trained to choose one label, whose logits say nothing about each by itself."""
        saved = getattr(config, "problem_type", None)
        if saved == MULTI_LABEL:
            return ""
        return f"that of the weights was not trained for several labels (problem_type={saved} in config.json)"


@dataclass(frozen=True)
class ScoreHead(HeadSpec):
    """One output, the score."""

    model_type: ClassVar[str] = "regression"

    @property
    def rows(self) -> int:
        """Return 1."""
        return 1

    def configure(self, config: PreTrainedConfig) -> None:
        """Set one output that is trained on scores."""
        config.num_labels = 1
        config.problem_type = "regression"


@dataclass(frozen=True)
class SpanHead(HeadSpec):
    """Two outputs per token: whether an answer starts there, and whether it ends there."""

    auto_class: ClassVar[str] = "AutoModelForQuestionAnswering"
    model_type: ClassVar[str] = "question answering"

    @property
    def rows(self) -> int:
        """Return 2."""
        return 2

    def configure(self, config: PreTrainedConfig) -> None:
        """Set two outputs per token."""
        config.num_labels = 2
        config.problem_type = None


@dataclass(frozen=True)
class LanguageHead(HeadSpec):
    """The head of a pretrained decoder that scores the next token: one output for each token of the vocabulary.

    It is part of the pretrained model, with weights of its own or those of the embeddings. An adapter leaves it as it
    is, so nothing of it is trained or saved with one; only `full`, which trains every weight, trains it.
    """

    auto_class: ClassVar[str] = "AutoModelForCausalLM"
    model_type: ClassVar[str] = "text generation"
    is_pretrained: ClassVar[bool] = True
    needs_decoder: ClassVar[bool] = True
    needs_cache: ClassVar[bool] = True

    @property
    def rows(self) -> int:
        """Return 0: a task adds no output to those of the vocabulary."""
        return 0

    def configure(self, config: PreTrainedConfig) -> None:
        """Leave config.json as it is, which describes the pretrained model and so its head."""

    def loading_arguments(self, config: PreTrainedConfig) -> dict[str, Any]:
        """Return none."""
        return {}
