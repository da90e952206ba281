"""Which method has which of the settings of `MethodConfig`."""

from __future__ import annotations

from gelora_cli.allocation.ranks import PLANNED

LORA_LIKE = (*PLANNED, "eva", "adalora", "sora")


METHOD_KEYS: dict[str, tuple[str, ...]] = {
    "scaling": LORA_LIKE,
    "dropout": LORA_LIKE,
    "start_ratio": ("adalora", "sora"),
    "tinit": ("adalora",),
    "tfinal": ("adalora",),
    "delta_t": ("adalora",),
    "orthogonality": ("adalora",),
    "threshold_total": ("sora",),
    "prune_at": ("sora",),
    "threshold_rule": ("sora",),
    "gate_penalty": ("sora",),
    "layer_norms": ("sora",),
    "rho": ("eva",),
}
"""Setting of a method -> the methods that have it."""
