"""The idim profile: the intrinsic dimension of every layer's hidden states on a task's texts; no torch on import."""

from __future__ import annotations

from collections.abc import Mapping

from gelora_cli.allocation.base import IDIM
from gelora_cli.config.identity import profile_inputs
from gelora_cli.config.keys import declared_keys
from gelora_cli.config.schema import ProfileConfig, RunConfig, TaskConfig
from gelora_cli.core.artifacts.profile import DEFAULT_PRECISION, FEWEST_POINTS, IdProfile, ProfileSettings
from gelora_cli.core.registries import SIGNALS, TASK_KINDS
from gelora_cli.models.operations import FORWARD_ONLY, model_operations, neighbour_operations
from gelora_cli.models.shapes import read_shapes
from gelora_cli.signals.base import Inputs, Signal, SignalContext


@SIGNALS.register
class Idim(Signal[IdProfile]):
    """Intrinsic dimension by TwoNN at the input of block 1 and the output of every block."""

    name = IDIM
    description = "the intrinsic dimension (idim) of every layer"
    artifact = IdProfile
    settings = tuple(key.name for key in declared_keys(RunConfig) if key.declared.profile)
    contents = ("model", "train")
    fewest_texts = FEWEST_POINTS

    @property
    def title(self) -> str:
        """Return what messages call it."""
        return "profile"

    def inputs(self, config: RunConfig, fingerprints: Mapping[str, str]) -> Inputs:
        """Return the values behind the names of existing profile directories."""
        return profile_inputs(config, fingerprints["model"], fingerprints["train"])

    def untimed(self, profile: ProfileConfig) -> str:
        """Return what a dry run can't time."""
        search = "the neighbour search"
        return f"{search}, of more neighbours for profile.scales=true" if profile.scales else search

    def measure(self, context: SignalContext) -> IdProfile:
        """Return d_0 .. d_L on the drawn rows, from one pass of the model in all processes."""
        from gelora_cli.geometry.controls import control_inputs
        from gelora_cli.geometry.profiling import measure
        from gelora_cli.models.block_map import layer_modules

        settings = profile_settings(context.task, context.profile, context.dtype)
        model, split = control_inputs(
            context.model,
            context.examples(),
            settings.control,
            seed=settings.seed,
            special_ids=context.special_ids,
        )
        measured = measure(
            model,
            layer_modules(model, context.model_map),
            split,
            settings,
            batch_size=context.profile.batch_size,
            pad_token_id=context.pad_token_id,
            accelerator=context.accelerator,
            special_ids=context.special_ids,
            store=context.store,
            with_scales=context.profile.scales,
        )
        return measured.profile(
            model=context.model_name,
            model_fingerprint=context.fingerprints["model"],
            task=context.task.name,
            data_fingerprint=context.fingerprints["train"],
            settings=settings,
            examples_seen=context.rows,
            model_map=context.model_map,
            seconds=round(context.store.seconds, 3),
        )

    def operations(self, context: SignalContext) -> int:
        """Return those of one pass over the distinct texts, and of the search for neighbours in every layer [ours].

        A layer whose texts have equal states costs less than is counted.
        """
        from gelora_cli.data.batches import padded_load, sorted_batches
        from gelora_cli.geometry.pooling import make_pooling

        settings, split = profile_settings(context.task, context.profile, context.dtype), context.examples()
        rows = split.distinct_rows()
        batches = [rows[batch] for batch in sorted_batches(split.lengths[rows], context.profile.batch_size)]
        load = padded_load(split.lengths, batches)
        passes = model_operations(read_shapes(context.model, context.model_map), load, FORWARD_ONLY, head=False)
        pooling = make_pooling(
            settings.pooling, split, tokens=settings.tokens, seed=settings.seed, special_ids=context.special_ids
        )
        points, width = int(pooling.counts(rows).sum()), int(context.model.config.hidden_size)
        return passes + (len(context.model_map.layers) + 1) * neighbour_operations(points, width)


def profile_settings(task: TaskConfig, profile: ProfileConfig, dtype: str = DEFAULT_PRECISION) -> ProfileSettings:
    """Return what the numbers of a profile depend on, besides model and texts; `dtype` is that of `model.dtype`."""
    # None, not the default: profiles of texts that have no windows then stay valid whatever the stride is.
    has_windows = TASK_KINDS.get(task.kind).has_windows
    return ProfileSettings(
        pooling=profile.pooling,
        estimator=profile.estimator,
        discard=profile.discard,
        max_examples=profile.max_examples,
        max_length=task.max_length,
        seed=profile.seed,
        stride=task.stride if has_windows else None,
        max_question_length=task.max_question_length if has_windows else None,
        scale=profile.scale if profile.estimator == "gride" else None,
        tokens=profile.tokens if profile.pooling == "tokens" else None,
        control=profile.control,
        precision=profile.precision,
        dtype=dtype,
    )
