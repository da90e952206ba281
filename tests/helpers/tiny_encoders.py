"""Tiny configurations and tokenizers of the encoders that few tests need; `tests.helpers.tiny` makes models of them.

A configuration is kind -> (configuration class, model class, what it sets beside the sizes that all kinds share).
The special tokens of a tokenizer are those of the published models, and so is the way in which they are placed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from tests.helpers.tiny_words import byte_pieces, numbered, unigram_pieces, word_pieces

_ROBERTA_SIZES = {"max_position_embeddings": 514, "type_vocab_size": 1}

MORE_ENCODERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "deberta": (
        "DebertaConfig",
        "DebertaForMaskedLM",
        {
            "relative_attention": True,
            "pos_att_type": ["c2p", "p2c"],
            "position_biased_input": False,
            "type_vocab_size": 0,
        },
    ),
    "modernbert": (
        "ModernBertConfig",
        "ModernBertForMaskedLM",
        {"local_attention": 8},
    ),
    "eurobert": ("EuroBertConfig", "EuroBertForMaskedLM", {"num_key_value_heads": 2}),
    "nomic_bert": ("NomicBertConfig", "NomicBertForMaskedLM", {}),
    "gte": ("GteConfig", "GteForMaskedLM", {"type_vocab_size": 1}),
    "xlm-roberta": (
        "XLMRobertaConfig",
        "XLMRobertaForMaskedLM",
        {"max_position_embeddings": 514, "type_vocab_size": 1},
    ),
    "camembert": ("CamembertConfig", "CamembertForMaskedLM", _ROBERTA_SIZES),
    "distilbert": (
        "DistilBertConfig",
        "DistilBertForMaskedLM",
        {"dim": 32, "hidden_dim": 64, "n_layers": 3, "n_heads": 4},
    ),
    "mpnet": ("MPNetConfig", "MPNetForMaskedLM", {"max_position_embeddings": 514}),
    "albert": ("AlbertConfig", "AlbertModel", {"embedding_size": 16}),
}

ALBERT_GROUPS: dict[str, int] = {"num_hidden_groups": 2}
"""What `make_tiny("albert", ..., changes=ALBERT_GROUPS)` gives two blocks: of three passes the last is the second's."""

UNDECLARED_ENCODERS: dict[str, tuple[str, str, dict[str, Any]]] = {"ernie": ("ErnieConfig", "ErnieForMaskedLM", {})}
"""Model types that `gelora_cli` does not declare, for tests of what happens then."""


def _deberta_tokenizer() -> PreTrainedTokenizerFast:
    """Return byte-level BPE with `[CLS] a [SEP] b [SEP]`, as microsoft/deberta-base has it."""
    pieces, merges = byte_pieces()
    vocabulary = numbered(["[PAD]", "[CLS]", "[SEP]", "[UNK]", *pieces, "[MASK]"])
    return transformers.DebertaTokenizer(vocab=vocabulary, merges=merges, model_max_length=512)


def _modernbert_tokenizer() -> PreTrainedTokenizerFast:
    """Return byte-level BPE whose special tokens follow its pieces, as answerdotai/ModernBERT-base has it."""
    pieces, merges = byte_pieces()
    vocabulary = numbered([*pieces, "[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"])
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    names = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]"}
    return _byte_level(tokenizer, names | {"mask_token": "[MASK]"})


def _eurobert_tokenizer() -> PreTrainedTokenizerFast:
    """Return byte-level BPE of Llama 3 with a mask token, as EuroBERT/EuroBERT-210m has it.

    A text begins with the begin token. There is neither `CLS` nor `SEP`, and no padding token but the end token.
    """
    pieces, merges = byte_pieces()
    vocabulary = numbered([*pieces, "<|begin_of_text|>", "<|end_of_text|>", "<|mask|>"])
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin_of_text|> $A",
        pair="<|begin_of_text|> $A <|begin_of_text|>:1 $B:1",
        special_tokens=[("<|begin_of_text|>", vocabulary["<|begin_of_text|>"])],
    )
    end = "<|end_of_text|>"
    names = {"bos_token": "<|begin_of_text|>", "eos_token": end, "pad_token": end, "mask_token": "<|mask|>"}
    return _byte_level(tokenizer, names)


def _byte_level(tokenizer: Tokenizer, names: dict[str, str]) -> PreTrainedTokenizerFast:
    """Give a tokenizer byte-level pieces and the names of its special tokens; it makes no types of tokens."""
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast: Any = PreTrainedTokenizerFast
    made = fast(
        tokenizer_object=tokenizer, model_input_names=["input_ids", "attention_mask"], model_max_length=512, **names
    )
    return cast(PreTrainedTokenizerFast, made)


def _xlm_roberta_tokenizer() -> PreTrainedTokenizerFast:
    """Return Unigram with `<s> a </s></s> b </s>`, as FacebookAI/xlm-roberta-base has it, and mGTE too."""
    pieces = [*unigram_pieces(["<s>", "<pad>", "</s>", "<unk>"]), ("<mask>", 0.0)]
    return transformers.XLMRobertaTokenizer(vocab=pieces, model_max_length=512)


def _camembert_tokenizer() -> PreTrainedTokenizerFast:
    """Return XLM-RoBERTa's Unigram, but unused tokens come first, as almanach/camembert-base has it."""
    unused = ["<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>", "<unk>NOTUSED"]
    pieces = [*unigram_pieces([*unused, "<s>", "</s>"]), ("<mask>", 0.0)]
    return transformers.CamembertTokenizer(vocab=pieces, model_max_length=512)


def _distilbert_tokenizer() -> PreTrainedTokenizerFast:
    """Return BERT's WordPiece without types of tokens, as distilbert/distilbert-base-uncased has it."""
    vocabulary = word_pieces(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    return transformers.BertTokenizer(
        vocab=vocabulary,
        do_lower_case=True,
        model_max_length=512,
        model_input_names=["input_ids", "attention_mask"],
    )


def _mpnet_tokenizer() -> PreTrainedTokenizerFast:
    """Return WordPiece with RoBERTa's special tokens, `<s> a </s></s> b </s>`, as microsoft/mpnet-base has it."""
    vocabulary = word_pieces(["<s>", "<pad>", "</s>", "[UNK]"])
    vocabulary["<mask>"] = len(vocabulary)
    return transformers.MPNetTokenizer(vocab=vocabulary, model_max_length=512)


def _albert_tokenizer() -> PreTrainedTokenizerFast:
    """Return Unigram in lower case with `[CLS] a [SEP] b [SEP]`, as albert/albert-base-v2 has it."""
    pieces = [*unigram_pieces(["<pad>", "<unk>", "[CLS]", "[SEP]"]), ("[MASK]", 0.0)]
    return transformers.AlbertTokenizer(vocab=pieces, model_max_length=512)


ENCODER_TOKENIZERS: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    "deberta": _deberta_tokenizer,
    "modernbert": _modernbert_tokenizer,
    "eurobert": _eurobert_tokenizer,
    "gte": _xlm_roberta_tokenizer,
    "xlm-roberta": _xlm_roberta_tokenizer,
    "camembert": _camembert_tokenizer,
    "distilbert": _distilbert_tokenizer,
    "mpnet": _mpnet_tokenizer,
    "albert": _albert_tokenizer,
}
"""Kinds that are absent have BERT's tokenizer, as NomicBERT and ERNIE do."""
