"""Models with drawn weights and rows of drawn tokens, for the benchmark of memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from gelora_cli.data.completions import CompletionSplit
from gelora_cli.data.encoded_completions import EncodedCompletions
from gelora_cli.data.encoding import EncodedSplit


def drawn_model(width: int, blocks: int, inner: int, vocabulary: int, *, encoder: bool) -> tuple[Any, tuple[str, ...]]:
    """Return a Llama with its language head, or a BERT with one for two labels, and the modules of a new head."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    heads = max(2, width // 32)
    sizes: dict[str, Any] = {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": blocks,
        "num_attention_heads": heads,
    }
    if encoder:
        return BertForSequenceClassification(BertConfig(**sizes)), ("classifier",)
    config = LlamaConfig(**sizes, num_key_value_heads=heads // 2, tie_word_embeddings=True, use_cache=False)
    return LlamaForCausalLM(config), ()


def drawn_rows(rows: int, longest: int, vocabulary: int, *, encoder: bool) -> EncodedSplit:
    """Return rows of drawn tokens, all but one as long as the longest, so that there is a mask."""
    generator = np.random.default_rng(0)
    lengths = np.full(rows, longest, dtype=np.int64)
    lengths[-1] -= 2
    tokens = generator.integers(3, vocabulary, int(lengths.sum())).astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    ids = np.arange(rows)
    if encoder:
        return EncodedSplit("train", ids, ids % 2, tokens, offsets, None)
    prompts = np.ones(rows, dtype=np.int64)
    texts = [""] * rows
    stand_in: Any = None  # nothing is written
    return EncodedCompletions(
        "train",
        ids,
        lengths - prompts,
        tokens,
        offsets,
        None,
        source=CompletionSplit("train", ids, texts, texts),
        prompt_lengths=prompts,
        tokenizer=stand_in,
        end_ids=(),
    )
