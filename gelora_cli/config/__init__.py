"""The configuration: schema, checks, presets, identity, overrides."""
