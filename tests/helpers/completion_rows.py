"""Prompts and completions of drawn tokens, and tiny decoders that learn to write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gelora_cli.allocation.ranks import plan_ranks
from gelora_cli.config.schema import LowRankConfig
from gelora_cli.core.budget import parse_budget
from gelora_cli.data.completions import CompletionSplit
from gelora_cli.data.encoded_completions import EncodedCompletions
from gelora_cli.methods.base import AdaptedModel, MethodContext
from gelora_cli.methods.updates.lora import attach_lora
from gelora_cli.models.heads import LanguageHead
from gelora_cli.models.load import LoadedModel, load_model
from gelora_cli.models.locate import resolve_model
from tests.helpers.method_cases import profile_of
from tests.helpers.tiny import make_tokenizer

LENGTHS = (11, 5, 20, 2, 7, 3, 1, 9, 14, 4, 6)
PROMPTS = (4, 0, 15, 1, 7, 1, 0, 2, 6, 1, 3)
"""Tokens of each row, and of its prompt: without a prompt, without a completion, of one token; all unequal."""


def completion_rows(lengths: tuple[int, ...] = LENGTHS, prompts: tuple[int, ...] = PROMPTS) -> EncodedCompletions:
    """Return rows of these lengths with drawn tokens of the tiny models."""
    counts, before = np.array(lengths, np.int64), np.array(prompts, np.int64)
    ids, texts = np.arange(len(counts)), [""] * len(counts)
    return EncodedCompletions(
        "train",
        ids,
        counts - np.minimum(np.maximum(before, 1), counts),
        np.random.default_rng(0).integers(5, 60, int(counts.sum())).astype(np.int32),
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        None,
        source=CompletionSplit("train", ids, texts, texts),
        prompt_lengths=before,
        tokenizer=make_tokenizer("llama"),
        end_ids=(2,),
    )


def load_decoder(directory: Path, dropout: float = 0.0) -> LoadedModel:
    """Load a tiny decoder with the head that it was pretrained with."""
    return load_model(resolve_model(hub=None, path=str(directory)), LanguageHead(), seed=0, dropout=dropout)


def adapted_decoder(directory: Path, dropout: float = 0.0) -> AdaptedModel:
    """Return a tiny decoder with LoRA; `dropout` is the adapter's."""
    loaded = load_decoder(directory)
    plan = plan_ranks(profile_of(loaded.map), parse_budget("auto"), modules="attention")
    return attach_lora(MethodContext(loaded.model, loaded.map, plan, LowRankConfig(dropout=dropout), 0))
