"""Turn rows of an encoded split into padded tensors on a device.

Letters in shapes: B rows of a batch, T tokens of its longest row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from gelora_cli.data.encoding import EncodedSplit
from gelora_cli.data.padding import fill_rows, find_tokens


@dataclass(frozen=True)
class Batch:
    """Some rows of a split, padded on the right to the longest of them.

    Attributes:
        inputs: arguments of the model by name, each (B, T) int64.
        labels: (B,) classes or scores, (B, C) 0 and 1 of sets of labels, (B, 2) first and last token of an
            answer, (B, T) tokens to generate, or None.
        rows: which rows of the split these are, (B,).
        first_label: the first place that has a label in any row, for labels of tokens; known without asking the device.
    """

    inputs: dict[str, torch.Tensor]
    labels: torch.Tensor | None
    rows: NDArray[np.int64]
    first_label: int = 0

    def __len__(self) -> int:
        return len(self.rows)

    def parts(self, rows: int) -> Iterator[Batch]:
        """Yield the batch in parts of so many rows, with the padding of the whole."""
        for start in range(0, len(self), rows):
            part = slice(start, start + rows)
            inputs = {name: tensor[part] for name, tensor in self.inputs.items()}
            labels = None if self.labels is None else self.labels[part]
            yield Batch(inputs, labels, self.rows[part], self.first_label)

    def sum_rows(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sum over each row, (B,), of the values of its last K tokens, (B, K), padding included."""
        return values.sum(dim=1)


def collate(
    split: EncodedSplit, rows: NDArray[np.int64], pad_token_id: int, device: torch.device, width: int | None = None
) -> Batch:
    """Pad the rows on the right to the longest of them, or to a greater width, and move them to the device."""
    # Both arrays list the tokens row by row, so values at `positions` fill the true places of the mask in order.
    mask, positions = find_tokens(split, rows, width)
    arrays = {
        "input_ids": fill_rows(split.tokens[positions], mask, pad_token_id),  # (B, T)
        "attention_mask": mask.astype(np.int64),  # (B, T)
    }
    if split.types is not None:
        arrays["token_type_ids"] = fill_rows(split.types[positions], mask, 0)  # (B, T)
    inputs = {name: torch.from_numpy(values).to(device, non_blocking=True) for name, values in arrays.items()}
    labels = split.batch_labels(rows, width)
    on_device = None if labels is None else torch.from_numpy(labels).to(device, non_blocking=True)
    return Batch(inputs, on_device, rows, split.first_label(rows))
