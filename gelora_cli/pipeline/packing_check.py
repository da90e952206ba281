"""Before a training with `train.packing`: does the model keep packed rows apart?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gelora_cli.core.errors import GeloraError
from gelora_cli.data.encoding import EncodedSplit
from gelora_cli.data.splits import draw_rows
from gelora_cli.pipeline.session import Session

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from gelora_cli.methods.base import AdaptedModel
    from gelora_cli.tasks.generation import CausalOutput

DRAWN_ROWS = 8
"""Training rows of which the longest and the shortest are packed."""
TOLERANCE = {"float32": 1e-4, "bf16": 2.0**-4}
"""Of the largest logit, or of 1. The known decoders differ by 5e-7 and 8e-3; rows that see each other, by about 1."""


def check_packing(session: Session, adapted: AdaptedModel, train: EncodedSplit) -> None:
    """Refuse to pack rows that the model would not keep apart; do nothing without `train.packing`.

    Two rows are put into one sequence, and their logits are compared with those of each row alone. What a model does is
    looked at, whatever its type says: a recurrent layer carries a state into the next row, and a layer may know no
    positions.

    Raises:
        GeloraError: the logits differ, in every process alike.
    """
    if not session.config.train.packing or len(train) < 2:
        return
    from gelora_cli.core.distributed import gather_objects

    rows = draw_rows(len(train), DRAWN_ROWS, 0)
    longest, shortest = rows[train.lengths[rows].argmax()], rows[train.lengths[rows].argmin()]
    pair = np.array([longest, shortest] if longest != shortest else rows[:2], np.int64)  # all are equally long
    difference = max(gather_objects(session.accelerator, packing_difference(session, adapted, train, pair)))
    tolerance = TOLERANCE[session.inputs.precision]
    if not difference <= tolerance:  # a NaN is refused, too
        raise GeloraError(
            f"train.packing=true: {session.inputs.model_name} does not keep packed examples apart: the outputs for two "
            f"in one sequence differ from those for each alone by {difference:.2g} of the largest, and "
            f"{tolerance:.2g} is accepted. So do recurrent layers, and attention that reads no position_ids. Leave "
            "train.packing out: batches hold examples of like length, which need little padding"
        )


def packing_difference(session: Session, adapted: AdaptedModel, train: EncodedSplit, pair: NDArray[np.int64]) -> float:
    """Return by how much the logits of two packed rows (2,) differ from those of each alone.

    It is the largest difference of any logit, relative to the largest logit or to 1.
    """
    import torch

    from gelora_cli.data.packing import collate_packed

    def logits(rows: NDArray[np.int64]) -> torch.Tensor:
        """Return the logits of rows in one sequence, (tokens, V)."""
        width = int(train.lengths[rows].sum())
        batch = collate_packed(train, rows, session.pad_token_id, session.accelerator.device, width)
        output: CausalOutput = adapted.model(**batch.inputs)
        return output.logits[0].float()

    adapted.model.eval()
    with torch.inference_mode(), session.accelerator.autocast():
        # First-fit decreasing puts the longer row first.
        order = pair[np.argsort(-train.lengths[pair], kind="stable")]
        alone = torch.cat([logits(order[:1]), logits(order[1:])])  # (tokens, V)
        return float((logits(order) - alone).abs().max() / alone.abs().max().clamp(min=1.0))
