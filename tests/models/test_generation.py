"""Greedy generation in batches gives what one prompt after the other gives, and what transformers' `generate` gives."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import nn

from gelora_cli.core.errors import GeloraError
from gelora_cli.models.generation import NOT_GENERATED, declared_ends, greedy, pad_left
from tests.helpers.tiny import CONFIGS, DECODERS, make_tokenizer, tiny_config
from tests.helpers.tiny_decoders import MORE_DECODERS
from tests.helpers.tiny_undeclared import UNDECLARED_DECODERS

LENGTHS = (11, 5, 2, 9)  # longer and shorter than the windows of tiny models
LIMIT = 12
USUAL = ("llama", "gemma3_text", "gpt2")  # rotary positions, a window in some blocks, a table of positions
OTHERS = tuple(kind for kind in (*DECODERS, *MORE_DECODERS, *UNDECLARED_DECODERS) if kind not in USUAL)


@cache
def decoder(kind: str) -> Any:
    """Make a tiny decoder with weights so large that it doesn't repeat one token."""
    tokenizer = make_tokenizer(kind)
    config = tiny_config(kind, tokenizer)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(1)
        model = getattr(transformers, CONFIGS[kind][1])(config).eval()
        for parameter in model.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.3)
    model.config.use_cache = False  # as models are loaded
    return model


def prompts(model: Any) -> list[np.ndarray[Any, np.dtype[np.int32]]]:
    generator = np.random.default_rng(3)
    return [generator.integers(5, model.config.vocab_size, length).astype(np.int32) for length in LENGTHS]


def generate(model: Any, rows: list[Any], ends: set[int]) -> list[list[int]]:
    tokens, mask = pad_left(rows, 0, torch.device("cpu"))
    with torch.inference_mode():
        generated = greedy(model, tokens, mask, end_ids=ends, limit=LIMIT, pad=0)
    assert generated.shape == (len(rows), LIMIT)
    lines: list[list[int]] = generated.tolist()
    texts = []
    for line in lines:  # nothing comes behind the end
        count = sum(token != NOT_GENERATED for token in line)
        assert line[count:] == [NOT_GENERATED] * (LIMIT - count)
        texts.append(line[:count])
    return texts


def of_transformers(model: Any, row: Any, ends: set[int]) -> list[int]:
    tokens = torch.from_numpy(row.astype(np.int64))[None]
    settings: dict[str, Any] = {"do_sample": False, "max_new_tokens": LIMIT, "pad_token_id": 0, "use_cache": True}
    generated = model.generate(tokens, attention_mask=torch.ones_like(tokens), eos_token_id=sorted(ends), **settings)
    new: list[int] = generated[0, tokens.shape[1] :].tolist()
    return new


def test_a_model_that_returns_no_cache_is_refused_before_it_sees_one_token_alone() -> None:
    class NoCache(nn.Module):
        def forward(self, input_ids: torch.Tensor, **others: Any) -> Any:
            return transformers.modeling_outputs.CausalLMOutput(logits=torch.eye(4)[input_ids])

    tokens = torch.tensor([[1, 2]])
    assert greedy(NoCache(), tokens, torch.ones_like(tokens), end_ids=[2], limit=9, pad=0)[0, 0] == 2
    with pytest.raises(GeloraError, match="NoCache returned no past_key_values"):
        greedy(NoCache(), tokens, torch.ones_like(tokens), end_ids=[3], limit=9, pad=0)


@pytest.mark.parametrize("kind", [*USUAL, *(pytest.param(kind, marks=pytest.mark.slow) for kind in OTHERS)])
def test_a_batch_gives_the_tokens_of_single_prompts_and_of_transformers(kind: str) -> None:
    model = decoder(kind)
    rows = prompts(model)
    free = [of_transformers(model, row, {model.config.vocab_size}) for row in rows]  # an end that never comes
    ends = {free[0][3], free[1][6]}  # so rows end after different numbers of tokens
    batched = generate(model, rows, ends)
    assert batched == [generate(model, [row], ends)[0] for row in rows]
    assert batched == [of_transformers(model, row, ends) for row in rows]
    assert len({len(line) for line in batched}) > 1
    assert generate(model, rows, {model.config.vocab_size}) == free


def test_ends_that_a_checkpoint_declares() -> None:
    model = decoder("llama")
    for declared, ends in (([7, 9], (7, 9)), (7, (7,)), (None, ())):
        model.generation_config.eos_token_id = declared
        assert declared_ends(model) == ends
