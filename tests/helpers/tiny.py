"""Tiny random models of every known kind, with a tokenizer, in the layout of a model directory on the hub.

The weights are those of the backbone or the pretraining task, so that loading for a task draws a new head.
"""

from __future__ import annotations

import string
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from tests.helpers.tiny_decoders import MORE_DECODERS, make_decoder_tokenizer
from tests.helpers.tiny_encoders import MORE_ENCODERS

KINDS = ("bert", "roberta", "electra", "deberta-v2", "llama", "mistral", "qwen2")
ENCODERS = KINDS[:4]
DECODERS = KINDS[4:]
ALL_KINDS = (*ENCODERS, *MORE_ENCODERS, *DECODERS, *MORE_DECODERS)
"""Every declared kind; most tests run over `KINDS` alone."""

SENTENCES = (
    "the cat sat on the mat",
    "a dog ran after the small bird",
    "the students who read the book are happy",
    "she said that he has never seen a better film",
    "did the author write this long story himself",
    "one of the keys to the old house is lost",
    "they think it will rain in the city today",
    "which question can you answer with these words",
)
WORDS = tuple(sorted({word for sentence in SENTENCES for word in sentence.split()}))

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
    "distilbert": (
        "DistilBertConfig",
        "DistilBertForMaskedLM",
        {"dim": 32, "hidden_dim": 64, "n_layers": 3, "n_heads": 4},
    ),
}
CONFIGS |= MORE_ENCODERS | MORE_DECODERS


def make_tiny(
    kind: str,
    directory: Path,
    *,
    seed: int = 0,
    layers: int = 3,
    architecture: str | None = None,
) -> Path:
    """Write a random model of `kind` (d = 32, 4 heads, `layers` blocks) with its tokenizer to `directory`.

    `architecture` names another model class than the kind's own, such as `BertForMaskedLM`, which has no pooler.
    """
    tokenizer = make_tokenizer(kind)
    config_class, own_architecture, extra = CONFIGS[kind]
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
        **(sizes | extra),
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = getattr(transformers, architecture or own_architecture)(config)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def make_tokenizer(kind: str) -> PreTrainedTokenizerFast:
    """Make the tokenizer of `kind` over the letters and words of `SENTENCES`: WordPiece, byte-level BPE or Unigram."""
    if kind in MORE_DECODERS:
        return make_decoder_tokenizer(kind, *_byte_pieces())
    makers: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
        "roberta": _roberta_tokenizer,
        "deberta-v2": _unigram_tokenizer,
        "llama": _bpe_tokenizer,
        "mistral": _bpe_tokenizer,
        "qwen2": _qwen2_tokenizer,
    }
    return makers.get(kind, _wordpiece_tokenizer)()


def _wordpiece_tokenizer() -> PreTrainedTokenizerFast:
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *_characters()]
    pieces += ["##" + character for character in _characters()]
    pieces += [word for word in WORDS if len(word) > 1]
    return transformers.BertTokenizer(vocab=_numbered(pieces), do_lower_case=True, model_max_length=512)


def _unigram_tokenizer() -> PreTrainedTokenizerFast:
    pieces = [(token, 0.0) for token in ("[PAD]", "[CLS]", "[SEP]", "[UNK]")]
    pieces += [("▁" + word, -3.0) for word in WORDS]
    pieces += [(character, -10.0) for character in ("▁", *_characters())]
    return transformers.DebertaV2Tokenizer(vocab=[*pieces, ("[MASK]", 0.0)], unk_id=3, model_max_length=512)


def _roberta_tokenizer() -> PreTrainedTokenizerFast:
    pieces, merges = _byte_pieces()
    vocabulary = _numbered(["<s>", "<pad>", "</s>", "<unk>", *pieces, "<mask>"])
    return transformers.RobertaTokenizer(vocab=vocabulary, merges=merges, model_max_length=512)


def _qwen2_tokenizer() -> PreTrainedTokenizerFast:
    pieces, merges = _byte_pieces()
    return transformers.Qwen2Tokenizer(vocab=_numbered([*pieces, "<|endoftext|>"]), merges=merges, model_max_length=512)


def _bpe_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE that begins a text with `<s>` and, as for most decoders, has no padding token."""
    pieces, merges = _byte_pieces()
    tokenizer = Tokenizer(models.BPE(vocab=_numbered(["<s>", "</s>", *pieces]), merges=merges))
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


def _byte_pieces() -> tuple[list[str], list[Any]]:
    """Every byte, and for each word the merges that build it from its leading space, letter by letter."""
    steps = dict.fromkeys(("Ġ" + word[:end], word[end]) for word in WORDS for end in range(len(word)))
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    return [*alphabet, *(left + right for left, right in steps)], list(steps)


def _characters() -> list[str]:
    return [*string.ascii_letters, *string.digits, *string.punctuation]


def _numbered(pieces: list[str]) -> dict[str, int]:
    return {piece: index for index, piece in enumerate(pieces)}
