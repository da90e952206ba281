"""The run's method put on its model, with a check that nothing has changed before the first step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.errors import GeloraError, RunError
from gelora_cli.core.messages import quote
from gelora_cli.core.registries import METHODS
from gelora_cli.data.batches import epoch_batches, own_parts, padded_load
from gelora_cli.data.encoding import EncodedSplit
from gelora_cli.data.splits import draw_rows
from gelora_cli.models.operations import UpdateWork, model_operations
from gelora_cli.models.recompute import recomputing
from gelora_cli.pipeline.gradient_check import check_gradients
from gelora_cli.pipeline.packing_check import check_packing
from gelora_cli.pipeline.session import Session
from gelora_cli.pipeline.stage_settings import train_settings

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from gelora_cli.methods.base import AdaptedModel
    from gelora_cli.training.settings import TrainSettings

CHECKED_EXAMPLES = 8
TOLERANCE = 1e-5
"""Accepted difference of outputs, relative to the largest output or to 1: rounding in float32."""


def attach_method(session: Session, plan: RankPlan, train: EncodedSplit) -> AdaptedModel:
    """Put the run's method on the model, as planned.

    Args:
        session: the run's model and configuration; its model is changed.
        plan: ranks, modules and scaling.
        train: the rows that will be trained on, which some methods look at first.

    Raises:
        RunError: the adapted model gives other outputs than the base model, from which every method starts; or a tensor
            of the adapter has no gradient.
        GeloraError: the method returned something else, or the model does not keep packed rows apart.
    """
    from gelora_cli.methods.base import AdaptedModel, MethodContext

    config, model = session.config, session.loaded.model
    settings, device = train_settings(session), session.accelerator.device
    split = session.inputs.splits["train"]
    # Rows by a fixed seed, so that the check looks at the same ones in every run and in every process.
    probe = session.encode(split.take(draw_rows(len(split), CHECKED_EXAMPLES, 0)))
    before = session.scores(model, probe)  # before attaching, which changes `model` in place
    gradients = FirstGradients(session, train, settings)
    context = MethodContext(
        model,
        session.loaded.map,
        plan,
        config.method,
        config.seed,
        total_steps=settings.total_steps(len(train)),
        keep_start=config.profile.track,
        batches=lambda tokens: EpochInputs(train, settings, session.pad_token_id, device, tokens),
        gradients=gradients,
        once=session.compute_once,
    )
    with session.timed("attach"):
        adapted = METHODS.get(config.method.name).attach(context)
    if not isinstance(adapted, AdaptedModel):
        raise GeloraError(
            f"method {config.method.name}: attach() returned {quote(adapted)}; accepted: an AdaptedModel. Correct it"
        )
    difference = float(abs(session.scores(adapted.model, probe) - before).max())
    if not difference <= TOLERANCE * max(1.0, float(abs(before).max())):  # a NaN is refused, too
        raise RunError(f"the outputs differ from the base model's by {difference:.3g} before the first step")
    with session.timed("attach"):
        check_packing(session, adapted, train)
        check_gradients(session, adapted, train)
    return replace(adapted, attach_operations=adapted.attach_operations + gradients.operations)


class FirstGradients:
    """The mean gradient over the first rows that training sees, and the operations that measuring it took.

    Args:
        session: the run's model, before an adapter.
        split: the training rows.
        settings: of the training.
    """

    def __init__(self, session: Session, split: EncodedSplit, settings: TrainSettings) -> None:
        self.session, self.split, self.settings = session, split, settings
        self.operations = 0

    def __call__(self, names: Sequence[str], examples: int) -> dict[str, torch.Tensor]:
        """Return the gradient (out, in) of every named linear's weight."""
        from gelora_cli.training.gradients import first_batches, mean_gradients

        session, settings = self.session, self.settings
        processes = session.accelerator.num_processes
        parts: list[NDArray[np.int64]] = []
        for batch in first_batches(self.split, settings, examples):
            for process in range(processes):
                parts += own_parts(batch, process, processes, settings.micro_batch_size)
        # As if the weights of all linears of the blocks had a gradient, not only those that are named [ours].
        work = UpdateWork(trains_weights=True, trains_head=False)
        self.operations += model_operations(session.shapes, padded_load(self.split.lengths, parts), work)
        with recomputing(session.recomputed_blocks()):
            return mean_gradients(
                session.loaded.model,
                self.split,
                settings,
                names,
                examples,
                pad_token_id=session.pad_token_id,
                accelerator=session.accelerator,
            )


class EpochInputs:
    """The model's inputs for the global batches of the first epoch, made when they are asked for.

    A method may run through them more than once: each iteration starts at the first batch.

    Args:
        split: the training rows.
        settings: batch size and seed.
        pad_token_id: the token that pads shorter rows.
        device: where the tensors go.
        tokens: larger batches, of about this many tokens; 0 leaves the batch size as it is.
    """

    def __init__(
        self, split: EncodedSplit, settings: TrainSettings, pad_token_id: int, device: torch.device, tokens: int = 0
    ) -> None:
        rows_for_tokens = math.ceil(tokens / int(split.lengths.mean()))
        # The batches that the first epoch trains on, where `tokens` asks for no larger ones.
        self.batches = epoch_batches(split.lengths, max(settings.batch_size, rows_for_tokens), settings.seed, 1)
        self.split, self.pad_token_id, self.device = split, pad_token_id, device

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        from gelora_cli.data.collate import collate

        for rows in self.batches:
            yield collate(self.split, rows, self.pad_token_id, self.device).inputs
