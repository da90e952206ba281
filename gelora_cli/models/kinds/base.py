"""Declare a kind of model: where its blocks and linear layers are, and what its tokenizer needs; no torch.

A kind is found by the `model_type` of config.json. A new one is one file that registers a subclass of `EncoderKind` or
`DecoderKind`:

    @MODEL_KINDS.register
    class DistilBert(EncoderKind):
        name = "distilbert"
        blocks = "transformer.layer"
        linears = {"query": "attention.q_lin", "key": "attention.k_lin", ...}

A model that computes several projections by one linear layer declares that layer by the role of the fused projection:

        linears = {"qkv": "attn.Wqkv", "output": "attn.Wo", "gate_up": "mlp.Wi", "down": "mlp.Wo"}
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from gelora_cli.core.artifacts.model_map import ModelMap
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import MODEL_KINDS
from gelora_cli.models.operations import RelativePositions
from gelora_cli.models.rotary import ROTARY_LIMIT, longest_with_fixed_positions

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

ROLES = ("query", "key", "value", "qkv", "output", "up", "gate", "gate_up", "down")
"""What a linear layer may be in its block, in the order in which maps list them.

`qkv` and `gate_up` are fused projections. Such a layer is adapted as a whole, by one update of one rank.
"""


class ModelKind(ABC):
    """A kind of model: one entry of `MODEL_KINDS`.

    Attributes:
        name: `model_type` of config.json.
        blocks: name of the list of blocks, below the base model.
        linears: role (see `ROLES`) -> name of a linear layer inside a block.
        is_decoder: whether a token sees only those before it.
        limit: what a message says of `longest_input`.
    """

    name: ClassVar[str]
    blocks: ClassVar[str]
    linears: ClassVar[Mapping[str, str]]
    is_decoder: ClassVar[bool]
    limit: ClassVar[str] = "has positions for 1 to {longest} tokens"

    def __init__(self) -> None:
        """Refuse a declaration by which no model can be mapped, when it is registered.

        Raises:
            GeloraError: an unknown role, no list of blocks, or no linear layer of the attention.
        """
        unknown = [role for role in self.linears if role not in ROLES]
        if unknown:
            raise GeloraError(
                f"model kind {self.name}: accepted roles are {', '.join(ROLES)}, not {', '.join(unknown)}"
            )
        if not self.blocks:
            raise GeloraError(f"model kind {self.name} names no list of blocks: set blocks")
        if not any(role in ModelMap.ATTENTION_ROLES for role in self.linears):
            raise GeloraError(
                f"model kind {self.name} names no linear layer of the attention: linears needs at least one of "
                f"{', '.join(ModelMap.ATTENTION_ROLES)}"
            )

    @abstractmethod
    def prepare_tokenizer(self, tokenizer: PreTrainedTokenizerBase, source: str) -> None:
        """Check the special tokens of a tokenizer, and give it a padding token if such models have none.

        Args:
            tokenizer: the tokenizer of a model of this kind.
            source: how messages name the model.

        Raises:
            GeloraError: a token is missing or isn't added.
        """

    @abstractmethod
    def longest_input(self, config: Mapping[str, Any]) -> int | None:
        """Return the number of tokens of the longest text that the model takes; None if there is no limit.

        Args:
            config: the content of config.json.
        """

    def prepare_model(self, model: PreTrainedModel) -> None:
        """Change in a model that was just loaded what fails as it is; for most kinds nothing.

        Its numbers in float32 and the tensors of its files stay the same.
        """
        return

    def scores_every_token(self, config: Mapping[str, Any]) -> bool:
        """Return whether a classification head reads every token of a text, or one vector of each text.

        Args:
            config: the content of config.json.
        """
        return self.is_decoder

    def passes(self, config: Mapping[str, Any]) -> tuple[tuple[int, ...], ...]:
        """Return the layers, counted from 1, that each block of the list produces; empty if every block runs once.

        Args:
            config: the content of config.json, with the defaults of its class.
        """
        return ()

    def structure_problem(self, config: Mapping[str, Any]) -> str:
        """Return why the blocks of a model of this kind can't get a rank each, in sentences; empty if they can.

        Args:
            config: the content of config.json; keys that have their default may be missing.
        """
        return ""

    def relative_positions(self, config: Mapping[str, Any]) -> RelativePositions | None:
        """Return the products with relative positions in every attention; None if there are none.

        Args:
            config: the content of config.json.
        """
        return None


class EncoderKind(ModelKind):
    """A kind whose tokens see each other. It has `CLS` and `SEP` around its texts, and a table of positions."""

    is_decoder = False

    def prepare_tokenizer(self, tokenizer: PreTrainedTokenizerBase, source: str) -> None:
        """Refuse a tokenizer that doesn't write `CLS text SEP` and `CLS text SEP text SEP`."""
        check_special_tokens(tokenizer, source)

    def longest_input(self, config: Mapping[str, Any]) -> int | None:
        """Return the number of rows of the table of positions."""
        rows = config.get("max_position_embeddings")
        return rows if isinstance(rows, int) else None


class RotaryEncoderKind(EncoderKind):
    """An encoder with rotary positions."""

    limit = ROTARY_LIMIT

    def longest_input(self, config: Mapping[str, Any]) -> int | None:
        """Return the tokens up to which the positions of a text do not depend on others; None without a limit."""
        return longest_with_fixed_positions(config)


class DecoderKind(ModelKind):
    """A kind whose tokens see those before them. It has rotary positions and often no padding token."""

    is_decoder = True
    limit = ROTARY_LIMIT

    def prepare_tokenizer(self, tokenizer: PreTrainedTokenizerBase, source: str) -> None:
        """Let a tokenizer without a padding token pad with its end token."""
        pad_with_end_token(tokenizer, source)

    def longest_input(self, config: Mapping[str, Any]) -> int | None:
        """Return the tokens up to which the positions of a text do not depend on others; None without a limit."""
        return longest_with_fixed_positions(config)


class UnlistedKind(EncoderKind):
    """A model type without a declaration, whose blocks and linear layers the user names by hand."""

    name = ""
    blocks = ""
    linears: ClassVar[Mapping[str, str]] = {}

    def __init__(self) -> None:
        """Check nothing, because nothing is declared."""

    def prepare_tokenizer(self, tokenizer: PreTrainedTokenizerBase, source: str) -> None:
        """Treat a tokenizer without `CLS` as that of a decoder."""
        if tokenizer.cls_token_id is None:
            pad_with_end_token(tokenizer, source)
        else:
            check_special_tokens(tokenizer, source)

    def longest_input(self, config: Mapping[str, Any]) -> int | None:
        """Return the number of rows of the table of positions; None for relative positions, as in DeBERTa."""
        return None if config.get("position_biased_input") is False else super().longest_input(config)

    def scores_every_token(self, config: Mapping[str, Any]) -> bool:
        """Return whether it is a decoder, as far as the configuration says (see `is_causal`)."""
        return is_causal(config)


def kind_of(model_type: str | None) -> ModelKind:
    """Return the declaration of a model type, or `UnlistedKind` if it has none."""
    if model_type is not None and model_type in MODEL_KINDS:
        return MODEL_KINDS.get(model_type)
    return UnlistedKind()


def is_causal(config: Mapping[str, Any]) -> bool:
    """Return whether a token sees only those before it.

    A declaration says so. Without one, that is so if the configuration says `is_decoder`, or if transformers has a
    causal language model of this type and no masked one [ours].

    Args:
        config: the content of config.json.
    """
    kind = str(config.get("model_type"))
    if kind in MODEL_KINDS:
        return MODEL_KINDS.get(kind).is_decoder
    from transformers.models.auto import modeling_auto

    if config.get("is_decoder"):
        return True
    causal, masked = modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    return kind in causal and kind not in masked


def is_decoder_map(model_map: ModelMap) -> bool:
    """Return whether a mapped model is a decoder, whose last token alone has seen the whole text."""
    return kind_of(model_map.kind).is_decoder if model_map.causal is None else model_map.causal


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
    """Refuse a tokenizer that doesn't write `CLS text SEP` and `CLS text SEP text SEP`.

    Some versions of transformers silently leave these tokens out.

    Raises:
        GeloraError: a special token is missing; the message says what the tokenizer writes for a pair of texts.
    """
    single, pair = tokenizer("a")["input_ids"], tokenizer("a", "a")["input_ids"]
    start, end = tokenizer.cls_token_id, tokenizer.sep_token_id
    has_both_ends = all(len(ids) > 2 and ids[0] == start and ids[-1] == end for ids in (single, pair))
    # A pair is `CLS a SEP a SEP` at least, so the separator between the texts is not among the first and last two ids.
    has_end_between = end in pair[2:-2]
    if start is None or end is None or not has_both_ends or not has_end_between:
        raise GeloraError(
            f"The tokenizer of {source} doesn't add its special tokens: a pair of texts becomes "
            f"{tokenizer.convert_ids_to_tokens(pair)}; {tokenizer.cls_token or 'CLS'} first and "
            f"{tokenizer.sep_token or 'SEP'} after each text are needed. Use the tokenizer.json of the original "
            "model, or another version of transformers."
        )
