"""What is to be said about a kind of model, by the `model_type` of its config.json; no torch.

A new kind is one file that registers a subclass of `EncoderKind` or `DecoderKind`:

    @MODEL_KINDS.register
    class DistilBert(EncoderKind):
        name = "distilbert"
        blocks = "transformer.layer"
        linears = {"query": "attention.q_lin", "key": "attention.k_lin", ...}
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from gelora_cli.core.artifacts.model_map import ModelMap
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import MODEL_KINDS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ROLES = ("query", "key", "value", "qkv", "output", "up", "gate", "gate_up", "down")
"""What a linear may be in its block. A fused projection, such as `Wqkv`, is a role of its own and gets one rank."""


class ModelKind(ABC):
    """A kind of model: one entry of `MODEL_KINDS`.

    Attributes:
        name: `model_type` of config.json.
        blocks: the list of blocks, by its name below the base model.
        linears: role to the name of a linear inside a block, in the order in which the map lists them.
        is_decoder: whether a token sees only those before it.
    """

    name: ClassVar[str]
    blocks: ClassVar[str]
    linears: ClassVar[Mapping[str, str]]
    is_decoder: ClassVar[bool]

    def __init__(self) -> None:
        """Refuse a declaration that no model could be mapped with, when it is registered."""
        unknown = [role for role in self.linears if role not in ROLES]
        if unknown:
            raise GeloraError(f"model kind {self.name}: roles are {', '.join(ROLES)}, not {', '.join(unknown)}")
        if not self.blocks:
            raise GeloraError(f"model kind {self.name} names no list of blocks")
        if not any(role in ModelMap.ATTENTION_ROLES for role in self.linears):
            raise GeloraError(
                f"model kind {self.name} names no linear of the attention: at least one of "
                f"{', '.join(ModelMap.ATTENTION_ROLES)} is needed"
            )

    @abstractmethod
    def prepare_tokenizer(self, tokenizer: PreTrainedTokenizerBase, source: str) -> None:
        """Check the special tokens of the model's tokenizer, and give it a padding token where the kind lacks one.

        Raises:
            GeloraError: a token is missing or isn't added; `source` names the model.
        """

    @abstractmethod
    def longest_input(self, config: Mapping[str, Any]) -> int | None:
        """Return the number of tokens that the model's table of positions has rows for; None if there is no table.

        `config` is what config.json holds.
        """


class EncoderKind(ModelKind):
    """A kind whose tokens see each other, with `CLS` and `SEP` around its texts and a table of positions."""

    is_decoder = False

    def prepare_tokenizer(self, tokenizer: PreTrainedTokenizerBase, source: str) -> None:
        """Refuse a tokenizer that doesn't write `CLS text SEP` and `CLS text SEP text SEP`."""
        check_special_tokens(tokenizer, source)

    def longest_input(self, config: Mapping[str, Any]) -> int | None:
        """Return the rows of the table of positions."""
        rows = config.get("max_position_embeddings")
        return rows if isinstance(rows, int) else None


class DecoderKind(ModelKind):
    """A kind whose tokens see those before them, with rotary positions and often without a padding token."""

    is_decoder = True

    def prepare_tokenizer(self, tokenizer: PreTrainedTokenizerBase, source: str) -> None:
        """Let a tokenizer without padding token pad with its end token."""
        pad_with_end_token(tokenizer, source)

    def longest_input(self, config: Mapping[str, Any]) -> int | None:
        """Return None: rotary positions have no end."""
        return None


class UnlistedKind(EncoderKind):
    """A model type without an entry, whose blocks and linears the user names by hand."""

    name = ""
    blocks = ""
    linears: ClassVar[Mapping[str, str]] = {}

    def __init__(self) -> None:
        """Check nothing: there is nothing declared."""

    def prepare_tokenizer(self, tokenizer: PreTrainedTokenizerBase, source: str) -> None:
        """Take a tokenizer without `CLS` for that of a decoder."""
        if tokenizer.cls_token_id is None:
            pad_with_end_token(tokenizer, source)
        else:
            check_special_tokens(tokenizer, source)

    def longest_input(self, config: Mapping[str, Any]) -> int | None:
        """Return the rows of the table of positions, unless only relative positions are used, as in DeBERTa."""
        return None if config.get("position_biased_input") is False else super().longest_input(config)


def kind_of(model_type: str | None) -> ModelKind:
    """Return the entry of a model type, or that of unlisted ones."""
    if model_type is not None and model_type in MODEL_KINDS:
        return MODEL_KINDS.get(model_type)
    return UnlistedKind()


def pad_with_end_token(tokenizer: PreTrainedTokenizerBase, source: str) -> None:
    """Make the end token the padding token of a tokenizer that has none.

    Raises:
        GeloraError: it has neither.
    """
    if tokenizer.pad_token_id is not None:
        return
    if tokenizer.eos_token_id is None:
        raise GeloraError(
            f"The tokenizer of {source} has neither a padding nor an end token; one of them is needed. "
            "Set pad_token in its tokenizer_config.json."
        )
    tokenizer.pad_token = tokenizer.eos_token


def check_special_tokens(tokenizer: PreTrainedTokenizerBase, source: str) -> None:
    """Refuse a tokenizer that doesn't write `CLS text SEP` and `CLS text SEP text SEP`, which some do in silence.

    Raises:
        GeloraError: what it writes for a pair of texts.
    """
    single, pair = tokenizer("a")["input_ids"], tokenizer("a", "a")["input_ids"]
    start, end = tokenizer.cls_token_id, tokenizer.sep_token_id
    framed = all(len(ids) > 2 and ids[0] == start and ids[-1] == end for ids in (single, pair))
    if start is None or end is None or not framed or end not in pair[2:-2]:
        raise GeloraError(
            f"The tokenizer of {source} doesn't add its special tokens: a pair of texts becomes "
            f"{tokenizer.convert_ids_to_tokens(pair)}; {tokenizer.cls_token or 'CLS'} first and "
            f"{tokenizer.sep_token or 'SEP'} after each text are needed. Take the tokenizer.json of the original "
            "model, or another version of transformers."
        )
