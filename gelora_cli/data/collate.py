"""Rows of an encoded split as padded tensors on a device."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from gelora_cli.data.splits import EncodedSplit


@dataclass(frozen=True)
class Batch:
    """B examples padded to their longest: `inputs` for the model, each (B, T) int64; `labels` (B,); `rows` (B,)."""

    inputs: dict[str, torch.Tensor]
    labels: torch.Tensor | None
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)


def collate(split: EncodedSplit, rows: NDArray[np.int64], pad_token_id: int, device: torch.device) -> Batch:
    """Pad the rows on the right to the longest of them and move them to the device."""
    lengths = split.lengths[rows]
    mask = np.arange(lengths.max())[None, :] < lengths[:, None]  # (B, T)
    flat = np.concatenate([np.arange(split.offsets[row], split.offsets[row + 1]) for row in rows])
    inputs = {"input_ids": _padded(split.tokens[flat], mask, pad_token_id), "attention_mask": mask.astype(np.int64)}
    if split.types is not None:
        inputs["token_type_ids"] = _padded(split.types[flat], mask, 0)
    labels = None if split.labels is None else torch.from_numpy(split.labels[rows]).to(device, non_blocking=True)
    tensors = {name: torch.from_numpy(values).to(device, non_blocking=True) for name, values in inputs.items()}
    return Batch(tensors, labels, rows)


def _padded(values: NDArray[np.int32] | NDArray[np.int8], mask: NDArray[np.bool_], fill: int) -> NDArray[np.int64]:
    padded = np.full(mask.shape, fill, dtype=np.int64)
    padded[mask] = values
    return padded
