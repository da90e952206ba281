"""Lay out values of tokens in padded rows; importing this file imports no torch.

Letters in shapes: B rows of a batch, T tokens of its longest row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from gelora_cli.data.encoding import EncodedSplit


def pad_token_values(
    split: EncodedSplit, rows: NDArray[np.int64], values: NDArray[np.integer[Any]], fill: int, width: int | None = None
) -> NDArray[np.int64]:
    """Return a value of each token in the layout of `collate`.

    Args:
        split: the split of the rows.
        rows: the rows of the batch, (B,).
        values: a value, or several, of every token of the split: (tokens, ...).
        fill: what padding gets.
        width: T; None for the longest of the rows.

    Returns:
        The values of these rows, (B, T, ...).
    """
    mask, positions = find_tokens(split, rows, width)
    return fill_rows(values[positions], mask, fill)


def find_tokens(
    split: EncodedSplit, rows: NDArray[np.int64], width: int | None = None
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Return which places of (B, T) hold a token, and the positions of those tokens in `split.tokens`, row by row."""
    lengths = split.lengths[rows]  # (B,)
    mask = np.arange(width or lengths.max())[None, :] < lengths[:, None]  # (B, T)
    positions = np.concatenate([np.arange(split.offsets[row], split.offsets[row + 1]) for row in rows])
    return mask, positions


def fill_rows(values: NDArray[np.integer[Any]], mask: NDArray[np.bool_], fill: int) -> NDArray[np.int64]:
    """Return `values`, one for each true place of the mask, in (B, T, ...), with `fill` at all other places."""
    padded = np.full((*mask.shape, *values.shape[1:]), fill, dtype=np.int64)  # (B, T, ...)
    padded[mask] = values
    return padded
