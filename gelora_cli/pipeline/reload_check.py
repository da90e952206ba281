"""Saving the adapter, and whether it gives the same scores when it is loaded again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gelora_cli.core import run_files
from gelora_cli.core.artifacts.result import ReloadCheck
from gelora_cli.core.errors import RunError
from gelora_cli.core.files import translate_write_errors
from gelora_cli.core.logs import LOGGER
from gelora_cli.data.splits import draw_rows
from gelora_cli.pipeline.description import describe_adapter
from gelora_cli.pipeline.session import Session

if TYPE_CHECKING:
    from gelora_cli.methods.base import AdaptedModel

RELOAD_EXAMPLES = 64
"""Rows that are scored three times, by the trained model, the bare base and the reloaded adapter."""
RELOAD_TOLERANCE = {"float32": 1e-4, "bf16": 2.0**-7}
"""Of the largest score, or of 1. In bf16 it is a rounding step: the open gates that SoRA saves sum in another order."""
RELOAD_ROUNDING = {"float32": 2.0**-23, "bf16": 2.0**-8}
"""Of the largest score, or of 1: an adapter that changes no score by more has moved nothing that can be seen."""


def save_and_reload(session: Session, attached: AdaptedModel, directory: Path) -> ReloadCheck:
    """Save the adapter, load it into a fresh base model, and compare scores on 64 examples.

    They must be nearer to the trained model's than half of what the adapter changes, which is measured too: by the base
    model with the trained head alone. An adapter that changes nothing (a very low learning rate, a single step of
    warm-up) is a finding and not a failure: the result then has a warning.

    Raises:
        RunError: other scores.
    """
    from gelora_cli.methods.updates.checks import head_state

    with session.timed("reload"):
        if session.accelerator.is_main_process:
            with translate_write_errors(directory / run_files.ADAPTER):
                attached.save(directory / run_files.ADAPTER)
                describe_adapter(directory / run_files.ADAPTER, session.inputs, directory)
        session.accelerator.wait_for_everyone()  # all processes read the files that the main one has written
        split = session.inputs.deciding_split
        probe = session.encode(split.take(draw_rows(len(split), RELOAD_EXAMPLES, 0)))
        trained = session.scores(attached.model, probe)
        if session.config.model.dtype != "float32":
            # Such a model may fill a GPU, where a second one would find no room. The check is the last to need it.
            attached.model.to("cpu")
        fresh = session.fresh_model()
        # The bare base first: loading the adapter changes `fresh`.
        with session.accelerator.autocast():  # as the others are scored, so that rounding is no effect
            fresh.model.load_state_dict(head_state(attached.model, fresh.map.head_modules), strict=False)
            base = session.scores(fresh.model, probe)
        again = session.scores(session.with_adapter(fresh, directory), probe)
    empty = attached.ranks()[1] == 0  # a pruning method may have nothing left, which is then all there is to reload
    check = compare_scores(trained, again, base, session.inputs.precision, empty=empty)
    if not check.passed:
        raise RunError(
            f"reload check: the reloaded adapter gives other scores ({check}). The adapter in {directory} is not to be "
            "used."
        )
    LOGGER.info("reload check: %s", check.in_words())
    return check


def compare_scores(
    trained: NDArray[np.float32], again: NDArray[np.float32], base: NDArray[np.float32], precision: str, *, empty: bool
) -> ReloadCheck:
    """Compare scores (n, ...) of the trained model, of the reloaded adapter, and of base model and head alone.

    `empty`: a pruning method has left nothing of the adapter, so that there is no effect to see.
    """
    difference = float(abs(again - trained).max())
    effect = float(abs(base - trained).max())  # of the adapter
    largest = max(1.0, float(abs(trained).max()))
    tolerance = RELOAD_TOLERANCE[precision] * largest
    unmoved = effect <= RELOAD_ROUNDING[precision] * largest
    warning = ""
    if unmoved and not empty:
        warning = (
            f"the adapter moved nothing: without it no score of {len(trained)} examples differs by more than rounding "
            f"({effect:.2g}), so the value is that of the base model and its trained head; raise "
            "train.learning_rate or train for more steps"
        )
    # Half of the effect: a reloaded adapter that lost its weights would differ by all of it. A NaN fails, too.
    allowed = tolerance if empty or unmoved else min(tolerance, effect / 2)
    return ReloadCheck(len(trained), difference, tolerance, effect, difference <= allowed, warning)
