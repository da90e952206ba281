"""Which profiles lie in a directory of them, such as `runs/.profiles`; no torch."""

from __future__ import annotations

from pathlib import Path

from gelora_cli.core.artifacts.profile import DEFAULT_PRECISION, IdProfile
from gelora_cli.core.codec import read_artifact
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import SIGNALS

LISTED = 20
"""Profiles that are listed."""


def check_path(path: Path) -> None:
    """Refuse a path that is not there, and a directory that holds nothing itself but profiles one level below.

    Raises:
        GeloraError: with the profiles.
    """
    if not path.exists():
        raise GeloraError(
            f"{path}: no such file or directory; give a profile.json, or the directory of a run or profile "
            "that holds one. gelora ls lists the runs, gelora profile measures a profile"
        )
    if not path.is_dir() or any((path / SIGNALS.get(name).artifact.FILE).exists() for name in SIGNALS.names()):
        return
    profiles: dict[Path, IdProfile] = {}
    for file in sorted(path.glob(f"*/{IdProfile.FILE}"), key=lambda file: -file.stat().st_mtime):
        try:
            profiles[file.parent] = read_artifact(IdProfile, file)
        except GeloraError:  # a damaged one is none to choose
            continue
    if not profiles:
        return
    lines = [f"  {below}: {_describe(profile)}" for below, profile in profiles.items()]
    if len(lines) > LISTED:
        lines = [*lines[:LISTED], f"  and {len(lines) - LISTED} older ones"]
    raise GeloraError("\n".join([f"{path} holds profiles; give one of them, here the newest first:", *lines]))


def _describe(profile: IdProfile) -> str:
    """Return task, model, number of texts, and how a profile was measured."""
    settings = profile.settings
    scales = "scales" if any(layer.scales for layer in profile.layers) else ""
    tokens = f"tokens={settings.tokens}" if settings.tokens else settings.pooling
    precision = settings.precision if settings.precision != DEFAULT_PRECISION else ""
    dtype = f"model.dtype={settings.dtype}" if settings.dtype != DEFAULT_PRECISION else ""
    facts = (profile.task, profile.model, dtype, settings.control, tokens, settings.estimator, precision, scales)
    return " ".join([*filter(None, facts), f"N={profile.examples_used}"])
