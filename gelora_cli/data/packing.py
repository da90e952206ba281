"""Pack the rows of a batch one behind the other, so that a short row needs no padding up to the longest one.

A decoder keeps packed rows apart where it is given the positions of the tokens, which begin at 0 in every row, and
neither an attention mask nor a cache: transformers then lets no token attend to another row. Beside a mask of ones, or
with a cache, the rows would attend to one another without a word. `pipeline.packing_check` looks at what a model does.

Letters in shapes: B rows of a batch, T tokens of its longest row, P packed sequences of T tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from gelora_cli.core.errors import GeloraError
from gelora_cli.data.batches import pack_rows
from gelora_cli.data.collate import Batch
from gelora_cli.data.encoded_completions import NOT_LEARNED
from gelora_cli.data.encoding import EncodedSplit
from gelora_cli.data.padding import find_tokens


@dataclass(frozen=True, kw_only=True)
class PackedBatch(Batch):
    """Rows of a split, packed into sequences.

    Its inputs are `input_ids` and `position_ids`, (P, T), and its labels are those of tokens in the same places.

    Attributes:
        places: for each token of a row its place in the P * T tokens; 0 behind the end of the row: (B, T).
        present: whether the row has that token, (B, T) bool.
    """

    places: torch.Tensor
    present: torch.Tensor

    def sum_rows(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sum over each row, (B,), of the values of the last K tokens of every sequence, (P, K)."""
        width = self.inputs["input_ids"].shape[1]
        all_values = torch.nn.functional.pad(values, (width - values.shape[1], 0))  # (P, T)
        # Each row picks its values, so that the same numbers are added in the same order in every run, on a GPU too.
        by_row = all_values.flatten()[self.places]  # (B, T)
        return by_row.masked_fill(~self.present, 0.0).sum(dim=1)


def collate_packed(
    split: EncodedSplit, rows: NDArray[np.int64], pad_token_id: int, device: torch.device, width: int | None = None
) -> PackedBatch:
    """Pack the rows into sequences of the longest of them, or of a greater width, and move them to the device.

    A padding token has position 0, which makes it a row of its own that no other token attends to.

    Raises:
        GeloraError: the split does not label tokens.
    """
    lengths = split.lengths[rows]  # (B,)
    sequences, starts = pack_rows(lengths, width)
    shape = (int(sequences.max()) + 1, width or int(lengths.max()))  # (P, T)
    labels = split.batch_labels(rows)  # (B, T)
    present, positions = find_tokens(split, rows)  # (B, T), (tokens,)
    if labels is None or labels.shape != present.shape:
        raise GeloraError(
            f"{split.name}: rows are packed only where each token has a label, as completions have; leave out "
            "train.packing"
        )
    column = np.broadcast_to(np.arange(present.shape[1]), present.shape)  # (B, T)
    places = np.where(present, (sequences * shape[1] + starts)[:, None] + column, 0)  # (B, T)
    # No token of its own row predicts the first one of a row, and the last one of another row must not.
    learned = np.where(column > 0, labels, NOT_LEARNED)  # (B, T)

    def put(values: NDArray[np.int64] | NDArray[np.int32], fill: int) -> NDArray[np.int64]:
        """Return one value for each token of the rows, in order, at its place in (P, T); `fill` at all others."""
        flat = np.full(shape[0] * shape[1], fill, dtype=np.int64)  # (P * T,)
        flat[places[present]] = values
        return flat.reshape(shape)

    def move(array: NDArray[np.int64] | NDArray[np.bool_]) -> torch.Tensor:
        return torch.from_numpy(array).to(device, non_blocking=True)

    packed_labels = put(learned[present], NOT_LEARNED)  # (P, T)
    labelled = np.flatnonzero((packed_labels != NOT_LEARNED).any(axis=0))
    return PackedBatch(
        inputs={
            "input_ids": move(put(split.tokens[positions], pad_token_id)),
            "position_ids": move(put(column[present], 0)),
        },
        labels=move(packed_labels),
        rows=rows,
        first_label=int(labelled[0]) if len(labelled) else 0,
        places=move(places),
        present=move(present),
    )
