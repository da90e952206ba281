"""What measuring a signal would cost, from a few of its batches; nothing is written."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gelora_cli.core.registries import SIGNALS
from gelora_cli.data.batches import sorted_batches
from gelora_cli.data.encoding import EncodedSplit
from gelora_cli.pipeline.session import Session

TIMED_BATCHES = 4
"""Batches that are timed: enough to average over short and long rows, and seconds even on a CPU."""


@dataclass(frozen=True)
class SignalCost:
    """What measuring a signal takes.

    Attributes:
        seconds: of its passes over the texts, on one process.
        untimed: the work beside the passes, in words; empty if there is none.
    """

    seconds: float
    untimed: str

    @property
    def text(self) -> str:
        """Return the cost in words."""
        parts = [f"about {self.seconds:.0f} s"] if self.seconds else []
        return " and ".join([*parts, *([self.untimed] if self.untimed else [])]) or "nothing to speak of"


def signal_cost(session: Session, name: str) -> SignalCost:
    """Return the cost of a signal from a few of its batches, on a model that has no adapter yet."""
    signal = SIGNALS.get(name)
    profile = session.config.profile
    untimed = signal.untimed(profile)
    if signal.passes == "none":
        return SignalCost(0.0, untimed)
    from gelora_cli.training.timing import padded_tokens

    split = session.profile_split()
    batches = sorted_batches(split.lengths, profile.batch_size)
    timed = batches[:: max(1, len(batches) // TIMED_BATCHES)][:TIMED_BATCHES]  # spread over all lengths
    start = time.perf_counter()
    for batch in timed:
        _pass(session, split, batch, backward=signal.passes == "backward")
    seconds = time.perf_counter() - start
    share = signal.rows_read(len(split), profile) / len(split)
    return SignalCost(share * seconds * padded_tokens(split, batches) / padded_tokens(split, timed), untimed)


def signal_costs_text(costs: Mapping[str, SignalCost]) -> str:
    """Return a line for each signal that is still to be measured."""
    if not costs:
        return "profile: nothing to measure"
    return "\n".join(f"{SIGNALS.get(name).title}: {cost.text}" for name, cost in costs.items())


def _pass(session: Session, split: EncodedSplit, batch: NDArray[np.int64], *, backward: bool) -> None:
    """Run the blocks on rows of a split; backward needs the memory of all their activations."""
    import torch

    from gelora_cli.data.collate import collate

    body = session.loaded.model.base_model
    inputs = collate(split, batch, session.pad_token_id, session.accelerator.device).inputs
    if not backward:
        with torch.inference_mode():
            body(**inputs)
        return
    with torch.enable_grad():
        body(**inputs)[0].float().sum().backward()
    body.zero_grad(set_to_none=True)
