"""From the hidden states of a batch to points: one for each text, or several of its tokens.

Letters: B texts of a batch, T tokens of its longest, D columns, P points.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from gelora_cli.data.encoding import EncodedSplit
from gelora_cli.geometry.tokens import draw_tokens

TOKENS = "tokens"
"""The name of the pooling that pools nothing."""


class Pooling:
    """One point per text: the mean of its tokens, the first, or the last (`pool`)."""

    def __init__(self, name: str) -> None:
        self.name = name

    def counts(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many points each of these texts gives, (B,)."""
        return np.ones_like(rows)

    def begin(self, rows: NDArray[np.int64], device: torch.device) -> None:
        """Prepare for a batch, whose layers are pooled one after the other.

        Args:
            rows: which texts of the split these are, (B,).
            device: where the hidden states of the batch are.
        """

    def points(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return the points of the batch in a layer text by text, (P, D) float32.

        Args:
            hidden: (B, T, D).
            mask: (B, T), 1 at real tokens.
        """
        return pool(hidden, mask, self.name)


class TokenPooling(Pooling):
    """Each of `count` drawn tokens of a text is a point (`draw_tokens`): at the same positions in every layer."""

    def __init__(self, split: EncodedSplit, count: int, *, seed: int, special_ids: Sequence[int]) -> None:
        super().__init__(TOKENS)
        self._positions, self._offsets = draw_tokens(split, count, seed=seed, special_ids=special_ids)

    def counts(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many points each of these texts gives, (B,)."""
        return self._offsets[rows + 1] - self._offsets[rows]

    def begin(self, rows: NDArray[np.int64], device: torch.device) -> None:
        """Find where the drawn tokens of these texts are, once for all layers."""
        texts = np.repeat(np.arange(len(rows)), self.counts(rows))  # (P,): places in the batch
        drawn = [self._positions[self._offsets[row] : self._offsets[row + 1]] for row in rows]
        positions = np.concatenate(drawn)  # (P,)
        self._places = torch.from_numpy(texts).to(device), torch.from_numpy(positions).to(device)

    def points(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return the states of the drawn tokens text by text, (P, D) float32."""
        return hidden[self._places].float()  # (P, D)


def make_pooling(
    name: str, split: EncodedSplit, *, tokens: int | None, seed: int, special_ids: Sequence[int]
) -> Pooling:
    """Return the pooling of this name for the texts of a split; `tokens` is the number that `tokens` draws of each."""
    if name != TOKENS:
        return Pooling(name)
    if tokens is None:
        raise ValueError("pooling tokens needs a number of tokens")
    return TokenPooling(split, tokens, seed=seed, special_ids=special_ids)


def pool(hidden: torch.Tensor, mask: torch.Tensor, pooling: str) -> torch.Tensor:
    """Return one vector per example, (B, D) float32, of hidden states (B, T, D) and a mask (B, T).

    `mean` averages the real tokens, `cls` takes the first token, `last` the last real token.
    """
    hidden = hidden.float()  # a mean over many tokens in bfloat16 would keep two or three digits
    if pooling == "cls":
        return hidden[:, 0]  # (B, D)
    if pooling == "last":
        # Rows are padded on the right (`collate`), so the count of real tokens says where the last one is.
        return hidden[torch.arange(len(hidden), device=hidden.device), mask.sum(1) - 1]  # (B, D)
    weights = mask.to(hidden.dtype)[:, :, None]  # (B, T, 1)
    return (hidden * weights).sum(1) / weights.sum(1)  # (B, D)
