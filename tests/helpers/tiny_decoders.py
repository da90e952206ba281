"""Tiny configurations and tokenizers of the decoders that few tests need; `tests.helpers.tiny` makes models of them.

An entry is kind -> (configuration class, model class, what it sets beside the sizes that all kinds share). The width of
a head differs from `d / heads` where it does so in published models, and windows are shorter than the sentences.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

_GROUPED = {"num_key_value_heads": 2}
_WINDOW = {"sliding_window": 4}
_GEMMA = {**_GROUPED, "head_dim": 16}
_YARN = {
    "rope_type": "yarn",
    "rope_theta": 1e6,
    "factor": 4.0,
    "original_max_position_embeddings": 128,
    "llama_4_scaling_beta": 0.1,
}

MORE_DECODERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "qwen3": ("Qwen3Config", "Qwen3ForCausalLM", {**_GROUPED, "head_dim": 16, "tie_word_embeddings": True}),
    "gemma": ("GemmaConfig", "GemmaForCausalLM", _GEMMA),
    "gemma2": ("Gemma2Config", "Gemma2ForCausalLM", {**_GEMMA, **_WINDOW, "query_pre_attn_scalar": 16}),
    "gemma3_text": (
        "Gemma3TextConfig",
        "Gemma3ForCausalLM",
        {**_GEMMA, **_WINDOW, "query_pre_attn_scalar": 16, "sliding_window_pattern": 2},
    ),
    "phi3": ("Phi3Config", "Phi3ForCausalLM", _GROUPED),
    "smollm3": ("SmolLM3Config", "SmolLM3ForCausalLM", {**_GROUPED, "no_rope_layer_interval": 2}),
    "ministral": ("MinistralConfig", "MinistralForCausalLM", {**_GROUPED, **_WINDOW, "head_dim": 16}),
    "ministral3": ("Ministral3Config", "Ministral3ForCausalLM", {**_GROUPED, "head_dim": 16, "rope_parameters": _YARN}),
    "olmo": ("OlmoConfig", "OlmoForCausalLM", _GROUPED),
    "olmo2": ("Olmo2Config", "Olmo2ForCausalLM", _GROUPED),
    "olmo3": ("Olmo3Config", "Olmo3ForCausalLM", {**_GROUPED, **_WINDOW}),
    "gpt2": ("GPT2Config", "GPT2LMHeadModel", {"n_inner": 64}),
    "starcoder2": ("Starcoder2Config", "Starcoder2ForCausalLM", _GROUPED),
    "glm4": ("Glm4Config", "Glm4ForCausalLM", {**_GROUPED, "head_dim": 16}),
}

Merges = list[tuple[str, str]]


def make_decoder_tokenizer(kind: str, pieces: list[str], merges: Merges) -> PreTrainedTokenizerFast:
    """Make a tokenizer with the special tokens that published models of `kind` have.

    Args:
        kind: a key of `MORE_DECODERS`.
        pieces: the vocabulary of a byte-level BPE, without special tokens.
        merges: its merges.
    """
    return _MAKERS[kind](pieces, merges)


def _qwen3(pieces: list[str], merges: Merges) -> PreTrainedTokenizerFast:
    """Begin with no token, and pad with another token than the end token."""
    vocabulary = _numbered([*pieces, "<|endoftext|>", "<|im_end|>"])
    return transformers.Qwen2Tokenizer(
        vocab=vocabulary, merges=_any(merges), eos_token="<|im_end|>", pad_token="<|endoftext|>", model_max_length=512
    )


def _gpt2(pieces: list[str], merges: Merges) -> PreTrainedTokenizerFast:
    """Begin with no token, and have one special token, which is not for padding."""
    vocabulary = _numbered([*pieces, "<|endoftext|>"])
    return transformers.GPT2Tokenizer(vocab=vocabulary, merges=_any(merges), model_max_length=512)


def _gemma(pieces: list[str], merges: Merges) -> PreTrainedTokenizerFast:
    """Begin with `<bos>`, and mark spaces in the manner of SentencePiece; unknown characters are bytes."""
    specials = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *(f"<0x{byte:02X}>" for byte in range(256))]
    marked = [piece.replace("Ġ", "▁") for piece in pieces]
    pairs = [(left.replace("Ġ", "▁"), right) for left, right in merges]
    # Gemma's tokenizer writes the first word without a mark, so each word is also built without one.
    first = [piece[1:] for piece in marked if piece.startswith("▁") and len(piece) > 2]
    first_pairs = [(left[1:], right) for left, right in pairs if len(left) > 1]
    vocabulary = _numbered(list(dict.fromkeys([*specials, *marked, *first])))
    tokenizer: Any = transformers.GemmaTokenizer(
        vocab=vocabulary, merges=_any([*pairs, *first_pairs]), add_bos_token=True, model_max_length=512
    )
    return cast(PreTrainedTokenizerFast, tokenizer)


def _bytes(
    *, bos: str | None = None, eos: str, pad: str | None = None, unk: str | None = None, prefix: tuple[str, ...] = ()
) -> Callable[[list[str], Merges], PreTrainedTokenizerFast]:
    """Return what makes a byte-level BPE with these special tokens, of which those of `prefix` begin a text."""
    specials = list(dict.fromkeys(token for token in (*prefix, unk, bos, eos, pad) if token is not None))
    names = {"bos_token": bos, "eos_token": eos, "pad_token": pad, "unk_token": unk}

    def make(pieces: list[str], merges: Merges) -> PreTrainedTokenizerFast:
        tokenizer = Tokenizer(models.BPE(vocab=_numbered([*specials, *pieces]), merges=merges))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        if prefix:
            tokenizer.post_processor = processors.TemplateProcessing(
                single=[*prefix, "$A"],
                pair=[*prefix, "$A", "$B:1"],
                special_tokens=[(token, specials.index(token)) for token in prefix],
            )
        fast: Any = PreTrainedTokenizerFast
        named = {name: token for name, token in names.items() if token is not None}
        return cast(PreTrainedTokenizerFast, fast(tokenizer_object=tokenizer, model_max_length=512, **named))

    return make


def _numbered(pieces: list[str]) -> dict[str, int]:
    return {piece: index for index, piece in enumerate(pieces)}


def _any(merges: Merges) -> Any:
    """Return merges as the tokenizers of transformers take them, whose annotation says text."""
    return merges


_MAKERS: dict[str, Callable[[list[str], Merges], PreTrainedTokenizerFast]] = {
    "qwen3": _qwen3,
    "gemma": _gemma,
    "gemma2": _gemma,
    "gemma3_text": _gemma,
    "phi3": _bytes(bos="<s>", eos="<|endoftext|>", pad="<|endoftext|>", unk="<unk>"),
    "smollm3": _bytes(bos="<|begin_of_text|>", eos="<|end_of_text|>"),
    "ministral": _bytes(bos="<s>", eos="</s>", unk="<unk>", prefix=("<s>",)),
    "ministral3": _bytes(bos="<s>", eos="</s>", pad="<pad>", unk="<unk>", prefix=("<s>",)),
    "olmo": _bytes(eos="<|endoftext|>", pad="<|padding|>"),
    "olmo2": _bytes(bos="<|endoftext|>", eos="<|endoftext|>", pad="<|pad|>", unk="<|endoftext|>"),
    "olmo3": _bytes(bos="<|endoftext|>", eos="<|endoftext|>", pad="<|pad|>", unk="<|endoftext|>"),
    "gpt2": _gpt2,
    "starcoder2": _gpt2,
    "glm4": _bytes(eos="<|endoftext|>", pad="<|endoftext|>", prefix=("[gMASK]", "<sop>")),
}
