"""Variants of LoRA's update: one file each, registered by name in `core.registries.VARIANTS`."""
