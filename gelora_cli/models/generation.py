"""Greedy generation with a decoder, in batches that are padded on the left.

Letters in shapes: B rows of a batch, T tokens of its longest prompt, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from gelora_cli.core.errors import GeloraError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

SCORES_AT_ONCE = 2**27
"""Scores over the vocabulary that an evaluation computes at once: 1.1 GB in float32, with their logarithms 1.3 GB."""
NOT_GENERATED = -1
"""Fills the places behind the last generated token of a row."""


def greedy(
    model: nn.Module, prompts: torch.Tensor, mask: torch.Tensor, *, end_ids: Collection[int], limit: int, pad: int
) -> torch.Tensor:
    """Return the most likely token again and again, until an end token or `limit` tokens.

    Keys and values of earlier tokens are cached. Positions count the tokens of a row without its padding, so that a row
    gives the same tokens in every batch. Where two tokens are equally likely up to rounding, which is not rare in bf16,
    it may give either. The generation settings of a checkpoint, such as sampling or a penalty of repetitions, are not
    read.

    Args:
        model: a decoder with a language head. It is called once for the prompts and once for each token more.
        prompts: the tokens of each prompt, padded on the left, (B, T) int64.
        mask: 1 for a token and 0 for padding, (B, T) int64; each row has a token.
        end_ids: tokens that end a text; none of them: every row is `limit` tokens long.
        limit: the most new tokens of a row, 1 or more.
        pad: what stands behind the end of a row while others go on; no row attends to it.

    Returns:
        The new tokens, with the end token, and `NOT_GENERATED` behind it: (B, limit) int64.

    Raises:
        GeloraError: the model keeps no cache.
    """
    generated = torch.full((len(prompts), limit), NOT_GENERATED, dtype=torch.int64, device=prompts.device)
    ends = torch.tensor(sorted(end_ids), dtype=torch.int64, device=prompts.device)
    ended = torch.zeros(len(prompts), dtype=torch.bool, device=prompts.device)
    tokens, positions, cache = prompts, (mask.cumsum(1) - 1).clamp(min=0), None  # (B, T), then (B, 1)
    for step in range(limit):
        output = model(
            input_ids=tokens,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,  # explicitly: models are loaded with use_cache=False
            logits_to_keep=1,
        )
        likeliest = output.logits[:, -1].argmax(-1)  # (B, 1, V) to (B,)
        generated[:, step] = torch.where(ended, NOT_GENERATED, likeliest)
        tokens = torch.where(ended, pad, likeliest)[:, None]
        ended |= torch.isin(likeliest, ends)
        if bool(ended.all()):  # the one wait for the device of each token; it ends the passes of short texts
            break
        cache, positions = getattr(output, "past_key_values", None), positions[:, -1:] + 1
        if cache is None:  # the next call would see one token alone
            raise GeloraError(f"{type(model).__name__} returned no past_key_values, without which no text is generated")
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
    return generated


def rows_scored_at_once(positions: int, vocabulary: int) -> int:
    """Return how many rows with so many scored positions an evaluation passes through the model at once, 1 or more.

    The scores of a whole batch would take 17 GB for 64 rows of 512 tokens and a vocabulary of 128,000.
    """
    return max(1, SCORES_AT_ONCE // max(1, positions * vocabulary))


def pad_left(
    sequences: Sequence[NDArray[np.int32]], pad: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return token sequences padded on the left to the longest of them, and the mask of their tokens, (B, T) each."""
    width = max(map(len, sequences))
    tokens = np.full((len(sequences), width), pad, np.int64)
    mask = np.zeros((len(sequences), width), np.int64)
    for row, sequence in enumerate(sequences):
        tokens[row, width - len(sequence) :] = sequence
        mask[row, width - len(sequence) :] = 1
    return torch.from_numpy(tokens).to(device), torch.from_numpy(mask).to(device)


def declared_ends(model: nn.Module) -> tuple[int, ...]:
    """Return the tokens that end a text by the checkpoint's generation settings; of chat models often several."""
    settings = getattr(model, "generation_config", None)
    declared = getattr(settings, "eos_token_id", None)
    if declared is None:
        return ()
    return tuple(map(int, declared)) if isinstance(declared, list | tuple) else (int(declared),)
