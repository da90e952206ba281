"""Tiny random models of every known kind, with a tokenizer, in the layout of a model directory on the hub.

The weights are those of the backbone or the pretraining task, so that loading for a task draws a new head.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedConfig, PreTrainedTokenizerFast

from tests.helpers.tiny_decoders import MORE_DECODERS, make_decoder_tokenizer
from tests.helpers.tiny_encoders import ENCODER_TOKENIZERS, MORE_ENCODERS
from tests.helpers.tiny_undeclared import UNDECLARED, UNDECLARED_DECODERS
from tests.helpers.tiny_words import SENTENCES, WORDS, byte_pieces, numbered, unigram_pieces, word_pieces

__all__ = ["ALL_KINDS", "DECODERS", "ENCODERS", "KINDS", "SENTENCES", "WORDS", "make_tiny", "make_tokenizer"]

KINDS = ("bert", "roberta", "electra", "deberta-v2", "llama", "mistral", "qwen2")
ENCODERS = KINDS[:4]
DECODERS = KINDS[4:]
ALL_KINDS = (*ENCODERS, *MORE_ENCODERS, *DECODERS, *MORE_DECODERS)
"""Every declared kind; most tests run over `KINDS` alone."""

CONFIGS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "bert": ("BertConfig", "BertModel", {}),
    "roberta": ("RobertaConfig", "RobertaForMaskedLM", {"max_position_embeddings": 514, "type_vocab_size": 1}),
    "electra": ("ElectraConfig", "ElectraForPreTraining", {"embedding_size": 16}),
    "deberta-v2": (
        "DebertaV2Config",
        "DebertaV2Model",
        {
            "relative_attention": True,
            "pos_att_type": ["p2c", "c2p"],
            "share_att_key": True,
            "norm_rel_ebd": "layer_norm",
            "position_buckets": 32,
            "position_biased_input": False,
            "type_vocab_size": 0,
        },
    ),
    "llama": ("LlamaConfig", "LlamaForCausalLM", {"num_key_value_heads": 2}),
    "mistral": ("MistralConfig", "MistralForCausalLM", {"num_key_value_heads": 2}),
    "qwen2": ("Qwen2Config", "Qwen2ForCausalLM", {"num_key_value_heads": 2}),
}
CONFIGS |= MORE_ENCODERS | MORE_DECODERS | UNDECLARED


def make_tiny(
    kind: str,
    directory: Path,
    *,
    seed: int = 0,
    layers: int = 3,
    architecture: str | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Path:
    """Write a random model of `kind` (d = 32, 4 heads, `layers` blocks) with its tokenizer to `directory`.

    `architecture` names another model class than the kind's own, such as `BertForMaskedLM`, which has no pooler.
    `changes` are further values of its configuration.
    """
    tokenizer = make_tokenizer(kind)
    config = tiny_config(kind, tokenizer, layers, changes)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = getattr(transformers, architecture or CONFIGS[kind][1])(config)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def tiny_config(
    kind: str, tokenizer: PreTrainedTokenizerFast, layers: int = 3, changes: Mapping[str, Any] | None = None
) -> PreTrainedConfig:
    """Make the configuration of a tiny model of `kind` with the vocabulary and special tokens of a tokenizer."""
    config_class, _, extra = CONFIGS[kind]
    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 512,
        "initializer_range": 0.1,
    }
    config = getattr(transformers, config_class)(
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        **(sizes | extra | dict(changes or {})),
    )
    for name in ("cls_token_id", "sep_token_id", "mask_token_id"):
        if getattr(config, name, None) is not None:  # few configurations have them
            setattr(config, name, getattr(tokenizer, name))
    return cast(PreTrainedConfig, config)


def make_tokenizer(kind: str) -> PreTrainedTokenizerFast:
    """Make the tokenizer of `kind` over the letters and words of `SENTENCES`: WordPiece, byte-level BPE or Unigram."""
    if kind in MORE_DECODERS:
        return make_decoder_tokenizer(kind, *byte_pieces())
    makers: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
        "roberta": _roberta_tokenizer,
        "deberta-v2": _unigram_tokenizer,
        "llama": _bpe_tokenizer,
        "mistral": _bpe_tokenizer,
        "qwen2": _qwen2_tokenizer,
        **ENCODER_TOKENIZERS,
        **dict.fromkeys(UNDECLARED_DECODERS, _bpe_tokenizer),
    }
    return makers.get(kind, _wordpiece_tokenizer)()


def _wordpiece_tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = word_pieces(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    return transformers.BertTokenizer(vocab=vocabulary, do_lower_case=True, model_max_length=512)


def _unigram_tokenizer() -> PreTrainedTokenizerFast:
    pieces = [*unigram_pieces(["[PAD]", "[CLS]", "[SEP]", "[UNK]"]), ("[MASK]", 0.0)]
    return transformers.DebertaV2Tokenizer(vocab=pieces, unk_id=3, model_max_length=512)


def _roberta_tokenizer() -> PreTrainedTokenizerFast:
    pieces, merges = byte_pieces()
    vocabulary = numbered(["<s>", "<pad>", "</s>", "<unk>", *pieces, "<mask>"])
    return transformers.RobertaTokenizer(vocab=vocabulary, merges=merges, model_max_length=512)


def _qwen2_tokenizer() -> PreTrainedTokenizerFast:
    pieces, merges = byte_pieces()
    return transformers.Qwen2Tokenizer(vocab=numbered([*pieces, "<|endoftext|>"]), merges=merges, model_max_length=512)


def _bpe_tokenizer() -> PreTrainedTokenizerFast:
    """Return byte-level BPE that begins a text with `<s>` and, as for most decoders, has no padding token."""
    pieces, merges = byte_pieces()
    tokenizer = Tokenizer(models.BPE(vocab=numbered(["<s>", "</s>", *pieces]), merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B:1", special_tokens=[("<s>", 0)]
    )
    fast: Any = PreTrainedTokenizerFast
    return cast(
        PreTrainedTokenizerFast,
        fast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", model_max_length=512),
    )
