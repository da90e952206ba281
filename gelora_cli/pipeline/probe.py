"""The geometry probe of a run: its examples, its tokens, and the modules that it looks at."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from gelora_cli.data.splits import draw_rows
from gelora_cli.pipeline.session import Session

if TYPE_CHECKING:
    from gelora_cli.geometry.probe import GeometryProbe
    from gelora_cli.methods.base import AdaptedModel


def make_probe(session: Session, attached: AdaptedModel) -> GeometryProbe:
    """Make the probe on rows of the train split drawn with the profile's seed, whatever part trains."""
    from gelora_cli.data.collate import collate
    from gelora_cli.geometry.pooling import make_pooling
    from gelora_cli.geometry.probe import GeometryProbe, probe_tokens
    from gelora_cli.geometry.profiling import pooled_states
    from gelora_cli.geometry.twonn import estimate_idim
    from gelora_cli.methods.updates.checks import plain_model
    from gelora_cli.models.block_map import layer_modules
    from gelora_cli.models.tokenizer import special_ids

    settings, rows, pad_token_id = session.config.profile, session.inputs.splits["train"], session.pad_token_id
    device, model_map = session.accelerator.device, session.loaded.map
    drawn = session.encode(rows.take(draw_rows(len(rows), settings.track_examples, settings.seed)))
    # Equal rows have distance 0, of which TwoNN can make no ratio. Questions give more windows than were drawn.
    split = drawn.take(drawn.distinct_rows()[: settings.track_examples])
    pooling = make_pooling(
        settings.pooling,
        split,
        tokens=settings.tokens,
        seed=settings.seed,
        special_ids=special_ids(session.tokenizer),
    )
    model = plain_model(attached.model)
    layers = layer_modules(model, model_map)
    probes = []
    for row, token in probe_tokens(split.lengths, settings.track_tokens):
        probes.append((collate(split, np.array([row]), pad_token_id, device).inputs, token))  # a batch of one row
    linears = []
    for block in model_map.blocks:
        linears.append([linear.name for linear in block.linears])
    return GeometryProbe(
        model=attached.model,
        body=model.base_model,
        layers=layers,
        # Computed at each measurement, since the weights move in between.
        states=lambda: pooled_states(
            model,
            layers,
            split,
            pooling,
            batch_size=settings.batch_size,
            pad_token_id=pad_token_id,
            accelerator=session.accelerator,
        ),
        estimate=partial(
            estimate_idim,
            estimator=settings.estimator,
            discard=settings.discard,
            scale=settings.scale or 1,  # the same for every layer and every measurement
            seed=settings.seed,
        ),
        probes=probes,
        updates=attached.updates,
        linears=linears,
    )
