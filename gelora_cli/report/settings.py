"""The settings of a run that can change a number, as text: what tells the rows of a method apart; no torch."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from gelora_cli.config.files import config_of
from gelora_cli.config.identity import NUMERICS, identity_values
from gelora_cli.config.keys import keys_of
from gelora_cli.config.schema import RunConfig
from gelora_cli.config.tuned import PLAIN_VARIANT
from gelora_cli.core.artifacts.manifest import RunManifest
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.run_reader import RunFiles, artifact_of

Settings = tuple[tuple[str, str], ...]
"""Pairs of key and text, sorted by key."""

SAID_BY_THE_ROW = ("seed", "budget", "method.name", "protocol")
"""Keys that a row has in columns of their own, or averages over."""

VARIANT = "method.variant"
FINGERPRINT_DIGITS = 8
"""Digits of a fingerprint that names show: enough to tell the few of a report apart."""
AS_TYPED = {"True": "true", "False": "false", "None": "null"}
"""Python's words to those of the configuration."""
SEED_AND_HASH = re.compile(r"-?s\d+-[0-9a-f]{8}$")
"""The end of a run directory's name."""


def run_settings(config: RunConfig, manifest: RunManifest, files: RunFiles) -> Settings:
    """Return every setting of a run that can change a number, but for those that its row says anyway.

    Data counts by its fingerprint. `numerics` is that of the run, so that runs of another arithmetic are rows of their
    own. A run that started from another one has that run's settings without its seed, so that a chain of runs over
    seeds is one row; where that run can't be read any more, it counts by its directory.
    """
    values = flatten(identity_values(replace(config, precision=manifest.precision)))
    if values.get(VARIANT) == PLAIN_VARIANT:  # of a plug-in's method that is not loaded; others leave it out
        del values[VARIANT]
    values["numerics"] = str(manifest.numerics)
    for name, fingerprint in manifest.fingerprints.items():
        short = fingerprint[:FINGERPRINT_DIGITS]
        if name == "model":
            # With init_from the weights differ between seeds, so that each seed would be a row of its own.
            if not config.init_from:
                values["weights"] = short
        elif name == "plan":
            values["ranks.plan"] = short
        elif name == "plugins":
            values["plugins"] = short
        elif name in config.method.content_names:
            values["method.path"] = short
        else:
            values[f"data.{name}"] = short
    if config.init_from:
        values |= _start_settings(files.start(config.init_from))
    return as_settings({key: value for key, value in values.items() if key not in SAID_BY_THE_ROW})


def as_settings(values: Mapping[str, str]) -> Settings:
    """Return these values as pairs, sorted by key."""
    return tuple(sorted(values.items()))


def _start_settings(start: RunFiles) -> dict[str, str]:
    """Return the settings of the run that another one started from."""
    name = "/".join(start.place.parts[-4:])  # task/model/method/run, as directories of runs are named
    try:
        config = config_of(start)
        values = dict(run_settings(config, artifact_of(RunManifest, start), start))
    except GeloraError:
        return {"init_from": name}
    values["protocol"] = config.protocol
    return {"init_from": SEED_AND_HASH.sub("", name), **{f"init_from.{key}": value for key, value in values.items()}}


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested mappings as one, with keys such as `a.b.c` and values as text."""
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = AS_TYPED.get(str(value), str(value))
    return flat


@functools.cache
def _default_settings() -> dict[str, str]:
    """Return each key that is no method's own, as an identity names it, with the value where it is not given."""
    config = RunConfig()
    values: dict[str, Any] = {}
    for entry in keys_of(config):
        identity = entry.declared.identity
        values[identity if isinstance(identity, str) else entry.name] = entry.value_in(config)
    return flatten(values)


def describe_differences(settings: Settings, others: Iterable[Settings]) -> str:
    """Return ` (key=value, ...)` of the settings in which a row differs from others; nothing where all are equal.

    A key that only one of two rows has is no difference in itself: a run with a saved plan has none of the keys that
    the plan stands for. It is named where it is all that tells the two apart, at the row with fewer such keys. An
    older arithmetic is always named, and so is a variant of LoRA, which rows of other methods may not have.

    Where both rows have a key and it has its default in this one, it is not named: the other row names its value.
    """
    values = dict(settings)
    defaults = _default_settings()
    differing = set()
    if values.get("numerics", str(NUMERICS)) != str(NUMERICS):
        differing.add("numerics")
    if VARIANT in values:  # plain LoRA is left out of a run's identity
        differing.add(VARIANT)
    for other in map(dict, others):
        shared = values.keys() & other.keys()
        differing |= {key for key in shared if values[key] != other[key] and values[key] != defaults.get(key)}
        extra, lacking = values.keys() - other.keys(), other.keys() - values.keys()
        if extra and (not lacking or len(extra) <= len(lacking)):
            differing |= extra
    if not differing:
        return ""
    pairs = [f"{key}={value}" for key, value in settings if key in differing]
    return f" ({', '.join(pairs)})"
