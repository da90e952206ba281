"""Turn rows of an encoded split into padded tensors on a device.

Letters in shapes: B rows of a batch, T tokens of its longest row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gelora_cli.data.encoding import EncodedSplit


@dataclass(frozen=True)
class Batch:
    """Some rows of a split, padded on the right to the longest of them.

    Attributes:
        inputs: arguments of the model by name, each (B, T) int64.
        labels: (B,) classes or scores, (B, C) 0 and 1 of sets of labels, (B, 2) first and last token of an
            answer, or None.
        rows: which rows of the split these are, (B,).
    """

    inputs: dict[str, torch.Tensor]
    labels: torch.Tensor | None
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)


def collate(
    split: EncodedSplit, rows: NDArray[np.int64], pad_token_id: int, device: torch.device, width: int | None = None
) -> Batch:
    """Pad the rows on the right to the longest of them, or to a greater width, and move them to the device."""
    # Both arrays list the tokens row by row, so values at `positions` fill the true places of the mask in order.
    mask, positions = _find_tokens(split, rows, width)
    arrays = {
        "input_ids": _fill_rows(split.tokens[positions], mask, pad_token_id),  # (B, T)
        "attention_mask": mask.astype(np.int64),  # (B, T)
    }
    if split.types is not None:
        arrays["token_type_ids"] = _fill_rows(split.types[positions], mask, 0)  # (B, T)
    inputs = {name: torch.from_numpy(values).to(device, non_blocking=True) for name, values in arrays.items()}
    labels = None
    if split.labels is not None:
        labels = torch.from_numpy(split.labels[rows]).to(device, non_blocking=True)
    return Batch(inputs, labels, rows)


def pad_token_values(
    split: EncodedSplit, rows: NDArray[np.int64], values: NDArray[np.integer[Any]], fill: int
) -> NDArray[np.int64]:
    """Return a value of each token in the layout of `collate`.

    Args:
        split: the split of the rows.
        rows: the rows of the batch, (B,).
        values: a value, or several, of every token of the split: (tokens, ...).
        fill: what padding gets.

    Returns:
        The values of these rows, (B, T, ...).
    """
    mask, positions = _find_tokens(split, rows)
    return _fill_rows(values[positions], mask, fill)


def _find_tokens(
    split: EncodedSplit, rows: NDArray[np.int64], width: int | None = None
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Return which places of (B, T) hold a token, and the positions of those tokens in `split.tokens`, row by row."""
    lengths = split.lengths[rows]  # (B,)
    mask = np.arange(width or lengths.max())[None, :] < lengths[:, None]  # (B, T)
    positions = np.concatenate([np.arange(split.offsets[row], split.offsets[row + 1]) for row in rows])
    return mask, positions


def _fill_rows(values: NDArray[np.integer[Any]], mask: NDArray[np.bool_], fill: int) -> NDArray[np.int64]:
    """Return `values`, one for each true place of the mask, in (B, T, ...), with `fill` at all other places."""
    padded = np.full((*mask.shape, *values.shape[1:]), fill, dtype=np.int64)  # (B, T, ...)
    padded[mask] = values
    return padded
