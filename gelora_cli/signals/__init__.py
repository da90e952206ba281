"""Measurements that allocators read: one file each, registered by name in `core.registries.SIGNALS`."""
