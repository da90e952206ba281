"""Rows of an encoded split as padded tensors on a device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gelora_cli.data.encoding import EncodedSplit


@dataclass(frozen=True)
class Batch:
    """B rows padded to their longest: `inputs` for the model, (B, T) int64; `labels` (B,) or (B, 2); `rows` (B,)."""

    inputs: dict[str, torch.Tensor]
    labels: torch.Tensor | None
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)


def collate(split: EncodedSplit, rows: NDArray[np.int64], pad_token_id: int, device: torch.device) -> Batch:
    """Pad the rows on the right to the longest of them and move them to the device."""
    mask, places = _layout(split, rows)
    inputs = {"input_ids": _filled(split.tokens[places], mask, pad_token_id), "attention_mask": mask.astype(np.int64)}
    if split.types is not None:
        inputs["token_type_ids"] = _filled(split.types[places], mask, 0)
    labels = None if split.labels is None else torch.from_numpy(split.labels[rows]).to(device, non_blocking=True)
    tensors = {name: torch.from_numpy(values).to(device, non_blocking=True) for name, values in inputs.items()}
    return Batch(tensors, labels, rows)


def pad_token_values(
    split: EncodedSplit, rows: NDArray[np.int64], values: NDArray[Any], fill: int
) -> NDArray[np.int64]:
    """Values of every token of the split, (tokens, ...), as (B, T, ...) for these rows in the layout of `collate`."""
    mask, places = _layout(split, rows)
    return _filled(values[places], mask, fill)


def _layout(split: EncodedSplit, rows: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Which places of (B, T) hold a token, and where those tokens are in the split."""
    lengths = split.lengths[rows]
    mask = np.arange(lengths.max())[None, :] < lengths[:, None]
    return mask, np.concatenate([np.arange(split.offsets[row], split.offsets[row + 1]) for row in rows])


def _filled(values: NDArray[Any], mask: NDArray[np.bool_], fill: int) -> NDArray[np.int64]:
    found = np.full((*mask.shape, *values.shape[1:]), fill, dtype=np.int64)
    found[mask] = values
    return found
