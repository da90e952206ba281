"""What profiles say under each measured choice: sample, scale, pooling, estimator; no torch, no numpy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gelora_cli.allocation.base import Allocator
from gelora_cli.core.artifacts.profile import DEFAULT_PRECISION, IdProfile, LayerIdim, ScaleIdim
from gelora_cli.core.registries import ALLOCATORS


def measured_choices(profile: IdProfile) -> dict[str, IdProfile]:
    """Return the profile as read at each measured size of the sample, and at each scale of GRIDE, by title.

    `N` is the profile itself, `N/2` the mean idims of its halves, and `n1=4` GRIDE's from the 4th and 8th neighbour.
    All but `N` hold nothing else, so that no stability is claimed of them. What a layer lacks is left out.
    """
    choices = {"N": profile}
    growth: Allocator[IdProfile] = ALLOCATORS.get("growth")
    for sample in growth.smaller_samples(profile):
        choices[f"N/{sample.part}"] = _without_samples(sample.signal)
    for n1 in _common_scales(profile):
        layers = [_at_scale(layer, n1) for layer in profile.layers]
        choices[f"n1={n1}"] = _without_samples(replace(profile, layers=tuple(layers)))
    return choices


def distinguishing_labels(profiles: Sequence[IdProfile]) -> list[tuple[str, ...]]:
    """Return for each profile what tells it from the others, such as its pooling; a number where nothing does."""
    facts = [_facts(profile) for profile in profiles]
    # Columns of facts in which not all profiles are equal, then turned back into a label for each profile.
    differing = [column for column in zip(*facts, strict=True) if len(set(column)) > 1]
    labels: list[tuple[str, ...]] = list(zip(*differing, strict=True)) or [()] * len(facts)
    if len(set(labels)) < len(labels):
        return [(*label, f"#{number}") for number, label in enumerate(labels, start=1)]
    return labels


def _facts(profile: IdProfile) -> tuple[str, ...]:
    """Return everything in which two profiles may differ, in the order in which it is shown; "" for what is unused."""
    settings = profile.settings
    return (
        profile.model,
        profile.task,
        settings.control or "real",
        settings.pooling,
        f"tokens={settings.tokens}" if settings.tokens else "",
        settings.estimator,
        settings.precision,
        f"model.dtype={settings.dtype}" if settings.dtype != DEFAULT_PRECISION else "",
        f"scale={profile.scale}" if profile.scale else "",
        f"discard={settings.discard:g}",
        f"N={profile.examples_used}",
        f"length={settings.max_length}",
        f"seed={settings.seed}",
    )


def _common_scales(profile: IdProfile) -> list[int]:
    """Return the scales that every layer has, in ascending order; an idim of 0 by definition is 0 at any scale."""
    by_layer = [set(layer.idims_by_scale) for layer in profile.layers if not layer.by_definition]
    return sorted(set.intersection(*by_layer)) if by_layer else []


def _at_scale(layer: LayerIdim, n1: int) -> LayerIdim:
    if layer.by_definition:
        return layer
    scale: ScaleIdim = next(scale for scale in layer.scales if scale.n1 == n1)
    return replace(layer, idim=scale.idim, low=scale.low, high=scale.high)


def _without_samples(profile: IdProfile) -> IdProfile:
    """Return a profile without what was measured on other samples of its texts, which belongs to another reading."""
    layers = [replace(layer, half=None, quarter=None, eighth=None, jackknife=(), scales=()) for layer in profile.layers]
    return replace(profile, layers=tuple(layers))
